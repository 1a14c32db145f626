# Set-up, service, tests and benchmarks of embedsvc. `make serve` and `make test` are all one needs.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Processes that share the tests: each loads the models for itself.
WORKERS ?= 2

# uv does not read pip's configuration; hand on where pip looks for wheels, if anywhere.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
export HF_HUB_OFFLINE := 1
export SCARF_NO_ANALYTICS := true

.PHONY: install serve test lint bench quality calibrations bench-peers soak fuzz lock clean

install: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "embedsvc needs Python 3.11 or newer; set PYTHON=…")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock -e '.[local,onnx,openvino,openai,anthropic,gemini,vertex,huggingface,cohere,voyage,mistral,bedrock,eval,postgres,test]'
	touch $@

# Installs, migrates, loads the sample documents and serves. Settings: EMBEDSVC_… in the environment.
serve: $(STAMP)
	$(BIN)/embedsvc migrate
	$(BIN)/embedsvc serve

# Everything that must hold before a change is taken in: style, types, structure, behaviour.
test: lint .venvs/infinity
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# A server of another project that the tests talk to.
.venvs/infinity: tests/providers/requirements-infinity.txt | $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $@
	$(BIN)/uv pip install --quiet --python $@/bin/python -r $<
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache > /dev/null || $(BIN)/lint-imports --no-cache

# What the service reaches; results go to benchmarks/results. About an hour on two cores.
bench: $(STAMP)
	$(BIN)/python benchmarks/runtimes.py
	$(BIN)/python benchmarks/indexing.py
	$(BIN)/python benchmarks/searching.py
	$(BIN)/python benchmarks/hybrid.py
	$(BIN)/python benchmarks/filters.py
	$(BIN)/python benchmarks/index_sizes.py
	$(BIN)/python benchmarks/writes.py
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/streaming.py
	$(BIN)/python benchmarks/doors.py
	$(BIN)/python benchmarks/hostile.py

# Retrieval quality on whole sets against published figures: about 15 minutes on two cores.
quality: $(STAMP)
	$(BIN)/python benchmarks/quality.py

# After a change of the examples that evidence is calibrated by, or of its features.
calibrations: $(STAMP)
	$(BIN)/python benchmarks/calibrations.py

# The same corpus through txtai and Chroma, each in an environment of its own.
bench-peers: $(STAMP)
	$(BIN)/python benchmarks/peers.py

# The long forms of the crash and state machine tests.
soak: $(STAMP)
	SOAK=1 $(BIN)/python -m pytest tests/crash tests/machine --timeout 3600

# The long form of the comparison of filters with plain Python, on both databases: about half an hour.
fuzz: $(STAMP)
	FUZZ=1 $(BIN)/python -m pytest tests/store/test_filters_in_sql.py tests/store/test_matching.py \
		-k "python" --timeout 7200

# After a change of the dependencies in pyproject.toml. torch is pinned there alone: locked, it
# would carry the name of one build of it. bitsandbytes is for machines with CUDA.
lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
		--no-emit-package torch --no-emit-package bitsandbytes --no-header --quiet -o requirements.lock

clean:
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .hypothesis
