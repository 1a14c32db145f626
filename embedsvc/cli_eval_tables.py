"""The tables of `embedsvc eval`."""

from collections.abc import Iterator, Sequence

from embedsvc.terminal import Json

_WIDTH = 15
_LONGEST_NAME = 40


def search_table(found: Json) -> Iterator[str]:
    """A row for each configuration: values above, their intervals below."""
    result, metrics = found["result"], found["metrics"]
    configs = result["configs"]
    compared = {one["name"]: one["metrics"] for one in result["comparisons"]}
    wide = max(len("configuration"), *(len(_cut(one["name"])) for one in configs)) + 2
    heads = [*metrics, "median", "p95"]
    yield "configuration".ljust(wide) + "".join(head.ljust(_WIDTH) for head in heads).rstrip()
    for config in configs:
        marks = compared.get(config["name"], {})
        values = [_value(config["metrics"][m], marks.get(m)) for m in metrics]
        times = [f"{config['latency'][name]:.1f} ms" for name in ("median_ms", "p95_ms")]
        cells = "".join(cell.ljust(_WIDTH) for cell in (*values, *times))
        yield _cut(config["name"]).ljust(wide) + cells.rstrip()
        under = "".join(_span(config["metrics"][m]).ljust(_WIDTH) for m in metrics)
        yield " " * wide + under.rstrip()
        yield from _degraded(config)
    asked = "1 query" if result["queries"] == 1 else f"{result['queries']} queries"
    yield f"{asked}; {_legend(configs, compared)}"


def answers_table(found: Json) -> Iterator[str]:
    """A column for each configuration: values above, their intervals below."""
    result = found["result"]
    configs = result["configs"]
    compared = {one["name"]: one["metrics"] for one in result["comparisons"]}
    rows = [("", [_cut(one["name"]) for one in configs])]
    for metric in found["metrics"]:
        marks = [compared.get(one["name"], {}).get(metric) for one in configs]
        values = [one["metrics"][metric] for one in configs]
        rows.append((metric, [_value(v, m) for v, m in zip(values, marks, strict=True)]))
        rows += [("", spans)] if any(spans := [_span(value) for value in values]) else []
    rows += _spent(configs)
    wide = max(len(head) for head, _ in rows) + 2
    widths = [max(len(cells[n]) for _, cells in rows) + 2 for n in range(len(configs))]
    for head, cells in rows:
        line = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield (head.ljust(wide) + line).rstrip()
    for config in configs:
        yield from _degraded(config)
        yield from (f"  failed: {reason} ({n})" for reason, n in config["errors"].items())
    asked = "1 question" if result["queries"] == 1 else f"{result['queries']} questions"
    yield f"{asked}, {result['answerable']} answerable; {_legend(configs, compared)}"


def _spent(configs: Sequence[Json]) -> list[tuple[str, list[str]]]:
    """What the answers took."""
    firsts = [one["first_token"] for one in configs]
    usages = [one["usage"] for one in configs]
    tokens = [one["prompt_tokens"] + one["completion_tokens"] for one in usages]
    marks = ["about " if one["estimated"] else "" for one in usages]
    rows = [
        ("median", [f"{one['latency']['median_ms']:.1f} ms" for one in configs]),
        ("p95", [f"{one['latency']['p95_ms']:.1f} ms" for one in configs]),
        ("first token", ["-" if one is None else f"{one['median_ms']:.1f} ms" for one in firsts]),
    ]
    if any(tokens):
        counts = zip(marks, tokens, strict=True)
        rows.append(("tokens", [f"{mark}{count}" for mark, count in counts]))
        rows.append(("cost", [_money(one["cost_usd"]) for one in usages]))
    if any(one["failed"] for one in configs):
        rows.append(("failed", [str(one["failed"]) for one in configs]))
    return rows


def _money(cost: float | None) -> str:
    return "not known" if cost is None else f"${cost:.4f}"


def _degraded(config: Json) -> Iterator[str]:
    for reason in config["degraded"]:
        yield f"  degraded: {reason}"


def _legend(configs: Sequence[Json], compared: Json) -> str:
    told = "intervals of 95 %"
    if compared:
        told += f"; + better, - worse than {_cut(configs[0]['name'])} (paired, 5 %)"
    return told


def _value(estimate: Json | None, compared: Json | None) -> str:
    if estimate is None:
        return "-"
    mark = ""
    if compared is not None and compared["significant"]:
        mark = " +" if compared["difference"] > 0 else " -"
    return f"{estimate['value']:.4f}{mark}"


def _span(estimate: Json | None) -> str:
    return "" if estimate is None else f"{estimate['low']:.3f}-{estimate['high']:.3f}"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
