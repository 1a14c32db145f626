"""The metrics of an evaluation by their names: `ndcg@10`, `recall@100`, `mrr@10`, `map`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from embedsvc.errors import InvalidInput

KINDS: Mapping[str, str] = {
    "ndcg": "nDCG",
    "recall": "R",
    "mrr": "RR",
    "map": "AP",
    "p": "P",
    "success": "Success",
}
"""Our names, and how trec_eval's users and ir-measures call the same."""

DEFAULTS = ("ndcg@10", "recall@10", "recall@100", "mrr@10", "map@100")
MOST_METRICS = 32
MOST_CUTOFF = 1_000

_NEED_CUTOFF = frozenset({"recall", "p", "success"})
_OTHER_NAMES = {"r": "recall", "rr": "mrr", "ap": "map", "precision": "p"}
_FORM = re.compile(r"([a-z]+)(?:@([0-9]{1,9}))?")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, maybe of the first `cutoff` documents alone."""

    kind: str
    cutoff: int | None = None

    def __str__(self) -> str:
        return self.kind if self.cutoff is None else f"{self.kind}@{self.cutoff}"


def parse_metric(name: str) -> Metric:
    """Read a metric's name, in any case. Raises InvalidInput with the nearest known one."""
    found = _FORM.fullmatch(name.strip().lower())
    kind = "" if found is None else _OTHER_NAMES.get(found[1], found[1])
    if found is None or kind not in KINDS:
        raise InvalidInput(f"metrics: {name[:80]!r} is not known{_hint(name)}")
    cutoff = None if found[2] is None else int(found[2])
    if cutoff is None and kind in _NEED_CUTOFF:
        raise InvalidInput(f"metrics: {name!r} needs a cutoff, such as {kind}@10")
    if cutoff is not None and not 1 <= cutoff <= MOST_CUTOFF:
        raise InvalidInput(f"metrics: {name!r}: use a cutoff of 1 to {MOST_CUTOFF}")
    return Metric(kind, cutoff)


def parse_metrics(names: Sequence[str] | None, depth: int) -> list[Metric]:
    """The metrics of a run so deep, without repetitions; the default ones where none is named.

    Raises InvalidInput, also for a metric that looks deeper than the run is.
    """
    if not names:
        known = map(parse_metric, DEFAULTS)
        return [metric for metric in known if metric.cutoff is None or metric.cutoff <= depth]
    if len(names) > MOST_METRICS:
        raise InvalidInput(f"metrics: {len(names)} of them; at most {MOST_METRICS}")
    found = list(dict.fromkeys(map(parse_metric, names)))
    for metric in found:
        if metric.cutoff is not None and metric.cutoff > depth:
            raise InvalidInput(
                f"metrics: {str(metric)!r} looks deeper than the {depth} documents of a run; "
                "raise the limit"
            )
    return found


def _hint(name: str) -> str:
    word, at, cutoff = name.lower().partition("@")
    near = get_close_matches(word.strip(), [*KINDS, *_OTHER_NAMES], n=1, cutoff=0.5)
    known = ", ".join(KINDS)
    if not near:
        return f"; known are {known}, with a cutoff such as ndcg@10"
    kind = _OTHER_NAMES.get(near[0], near[0])
    number = cutoff if cutoff.isdigit() else "10"
    return f"; did you mean {f'{kind}@{number}' if at else kind!r}? Known are {known}"
