"""What an answer is worth against what is known of its question.

Each metric is a share: of each question it knows a part and a whole, and its value over many
questions is the sum of the parts over the sum of the wholes. A question that it says nothing of
has a whole of 0.

`em` and `f1` compare as the evaluation script of SQuAD does (Rajpurkar et al., EMNLP 2016): without
case, punctuation, English articles and extra white space, the best over all gold answers. As in the
script of MLQA (Lewis et al., ACL 2020) punctuation is that of every script, and what is written
without spaces is compared by its characters. On plain English the values are those of SQuAD.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from embedsvc.core.citations import without_marks
from embedsvc.core.scripts import UNSPACED
from embedsvc.errors import InvalidInput

Share = tuple[float, float]
"""A part and its whole."""

NOTHING: Share = (0.0, 0.0)

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_TOKENS = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")
_ASCII = frozenset(string.punctuation)  # some of them are symbols to Unicode


@dataclass(frozen=True, slots=True)
class Gold:
    """What is known of a question: its answers and the documents that hold them.

    One that is not `answerable` must get no answer. Without `document_ids` they are not known.
    """

    answers: Sequence[str] = ()
    document_ids: frozenset[str] = frozenset()
    answerable: bool = True


@dataclass(frozen=True, slots=True)
class Cited:
    """A citation: its document (None when there is no such source) and whether it was verified."""

    document_id: str | None
    verified: bool


@dataclass(frozen=True, slots=True)
class Given:
    """What a question was given: an answer, or none.

    `claims` are the statements of the answer, and `unsupported` those without a verified citation.
    """

    answered: bool
    text: str = ""
    citations: Sequence[Cited] = ()
    sources: frozenset[str] = frozenset()
    claims: int = 0
    unsupported: int = 0


# -- texts ----------------------------------------------------------------------------------------


def plain(answer: str) -> str:
    """The answer without the markers of its citations."""
    return without_marks(answer).strip()


def tokens(text: str) -> list[str]:
    """What is compared of a text: its words, of scripts without spaces the characters."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = "".join(one for one in folded if not _is_punctuation(one))
    return _TOKENS.findall(_ARTICLES.sub(" ", bare))


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """1 when the answer is one of the golds, else 0."""
    found = tokens(answer)
    return float(any(found == tokens(gold) for gold in golds))


def f1(answer: str, golds: Sequence[str]) -> float:
    """The harmonic mean of precision and recall of the words, for the gold that fits best."""
    found = tokens(answer)
    return max((_overlap(found, tokens(gold)) for gold in golds), default=0.0)


def contains(answer: str, golds: Sequence[str]) -> float:
    """1 when one of the golds stands in the answer, whatever its case and white space."""
    text = _folded(answer)
    return float(any(_folded(gold) in text for gold in golds))


def _is_punctuation(one: str) -> bool:
    return one in _ASCII or unicodedata.category(one).startswith("P")


def _overlap(found: Sequence[str], gold: Sequence[str]) -> float:
    if not found or not gold:
        return float(found == gold)
    shared = (Counter(found) & Counter(gold)).total()
    return 2 * shared / (len(found) + len(gold))


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


# -- metrics --------------------------------------------------------------------------------------


def _of_text(compare: Callable[[str, Sequence[str]], float]) -> Callable[[Gold, Given], Share]:
    """A comparison with the golds: no answer to an answerable question counts 0."""

    def share(gold: Gold, given: Given) -> Share:
        if not gold.answerable:
            return NOTHING
        return (compare(plain(given.text), gold.answers) if given.answered else 0.0), 1.0

    return share


def _citation_precision(gold: Gold, given: Given) -> Share:
    if not (gold.answerable and given.answered):
        return NOTHING
    good = sum(_right(one, gold) for one in given.citations)
    return float(good), float(len(given.citations))


def _citation_recall(gold: Gold, given: Given) -> Share:
    if not (gold.answerable and given.answered and gold.document_ids):
        return NOTHING
    return float(any(_right(one, gold) for one in given.citations)), 1.0


def _right(one: Cited, gold: Gold) -> bool:
    return one.verified and (not gold.document_ids or one.document_id in gold.document_ids)


def _verified(_gold: Gold, given: Given) -> Share:
    if not given.answered:
        return NOTHING
    return float(sum(one.verified for one in given.citations)), float(len(given.citations))


def _supported(_gold: Gold, given: Given) -> Share:
    if not given.answered:
        return NOTHING
    claims = max(given.claims, given.unsupported)
    return float(claims - given.unsupported), float(claims)


def _retrieved(gold: Gold, given: Given) -> Share:
    if not (gold.answerable and gold.document_ids):
        return NOTHING
    return float(not gold.document_ids.isdisjoint(given.sources)), 1.0


def _answered(_gold: Gold, given: Given) -> Share:
    return float(given.answered), 1.0


def _rightly_silent(gold: Gold, given: Given) -> float:
    return float(not gold.answerable and not given.answered)


def _abstention_precision(gold: Gold, given: Given) -> Share:
    return _rightly_silent(gold, given), float(not given.answered)


def _abstention_recall(gold: Gold, given: Given) -> Share:
    return _rightly_silent(gold, given), float(not gold.answerable)


def _abstention_f1(gold: Gold, given: Given) -> Share:
    """2 TP over (2 TP + FP + FN): what was silent and what should have been, counted together."""
    return 2 * _rightly_silent(gold, given), float(not given.answered) + float(not gold.answerable)


METRICS: Mapping[str, Callable[[Gold, Given], Share]] = {
    "em": _of_text(exact_match),
    "f1": _of_text(f1),
    "contains": _of_text(contains),
    "citation_precision": _citation_precision,
    "citation_recall": _citation_recall,
    "verified": _verified,
    "supported": _supported,
    "retrieved": _retrieved,
    "answered": _answered,
    "abstention_precision": _abstention_precision,
    "abstention_recall": _abstention_recall,
    "abstention_f1": _abstention_f1,
}
"""By name: the share that one answer adds."""

_OF_ANSWERABLE = ("em", "f1", "contains", "citation_precision")
_OF_DOCUMENTS = ("citation_recall",)
_OF_ALL = ("supported", "answered")
_OF_UNANSWERABLE = ("abstention_precision", "abstention_recall", "abstention_f1")
_OTHER_NAMES = {"exact_match": "em", "exact": "em", "abstention": "abstention_f1"}


def answer_metrics(names: Sequence[str] | None, golds: Sequence[Gold]) -> list[str]:
    """The metrics of these names, each once; without any, those that the golds say something of.

    Raises InvalidInput with the nearest known name.
    """
    if names:
        return list(dict.fromkeys(map(parse_answer_metric, names)))
    answerable = any(gold.answerable for gold in golds)
    documents = any(gold.answerable and gold.document_ids for gold in golds)
    unanswerable = any(not gold.answerable for gold in golds)
    return [
        *(_OF_ANSWERABLE if answerable else ()),
        *(_OF_DOCUMENTS if documents else ()),
        *_OF_ALL,
        *(_OF_UNANSWERABLE if unanswerable else ()),
    ]


def parse_answer_metric(name: str) -> str:
    """Read a metric's name, in any case. Raises InvalidInput with the nearest known one."""
    word = name.strip().lower()
    word = _OTHER_NAMES.get(word, word)
    if word in METRICS:
        return word
    near = get_close_matches(word, [*METRICS, *_OTHER_NAMES], n=1, cutoff=0.5)
    hint = f"; did you mean {_OTHER_NAMES.get(near[0], near[0])!r}?" if near else ";"
    raise InvalidInput(
        f"metrics: {name[:80]!r} is not known of answers{hint} Known are {', '.join(METRICS)}"
    )
