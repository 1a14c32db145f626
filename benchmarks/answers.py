"""What the extractive answerer answers, what it leaves open, and whether its quotes are exact.

    .venv/bin/python benchmarks/answers.py
    .venv/bin/python benchmarks/answers.py --documents 20 --questions 20 --other-questions 10

Questions of xquad/en are asked over REST, one after the other, to a collection of all its
paragraphs: how many answers contain a gold span (case and white space aside), how many are
"no_answer", how many citations are verified and stand letter by letter in the document. Then the
same questions are asked to a collection of another subject (SciFact abstracts), where no_answer is
right. With --clapnq also questions that its passages answer, and questions that they do not.

For the choice of the answerer's floor, the evidence that it found is computed again here from the
sources in the answers, by the functions that it uses: quantiles in and out of the domain, and what
each floor would leave. The last line compares them with what the service did.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import (
    Server,
    percentile,
    print_table,
    read_documents,
    read_lines,
    require_data,
    stop_on_sigterm,
    write_result,
)
from rest import Api

from embedsvc.app import create_backend
from embedsvc.chat import extractive
from embedsvc.core.extraction import candidates, cosines, rank
from embedsvc.ports import EmbeddingBackend
from embedsvc.settings import Settings

QUESTIONS, OTHER_QUESTIONS, OTHER_DOCUMENTS, CLAPNQ_QUESTIONS = 300, 100, 200, 100
OTHERS = ("scifact", "clapnq")
SOURCES = 8
QUANTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
FLOORS = tuple(round(0.10 + 0.02 * n, 2) for n in range(26))

Json = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A question, and the spans of which a right answer contains one (none: not known)."""

    text: str
    gold: Sequence[str] = ()


@dataclass(frozen=True)
class Asked:
    """What came of one question."""

    question: Question
    answer: Json
    seconds: float

    @property
    def answered(self) -> bool:
        """Whether there is an answer at all."""
        return bool(self.answer["state"] == "answered")

    @property
    def right(self) -> bool:
        """Whether it contains a gold span."""
        return self.answered and contains(self.answer["answer"], self.question.gold)


@dataclass(frozen=True)
class Evidence:
    """The best evidence for a question, and the answer that it would give without a floor."""

    best: float
    right: bool


def contains(text: str, spans: Iterable[str]) -> bool:
    """Whether a span stands in the text, case and white space aside."""
    return any(_plain(span) in _plain(text) for span in spans)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """`count` items evenly from the whole list; 0 or too many: all."""
    if not 0 < count < len(items):
        return list(items)
    return [items[n * len(items) // count] for n in range(count)]


# Over REST


def ask_all(api: Api, collection: str, questions: Sequence[Question]) -> list[Asked]:
    """Ask one after the other."""
    found = []
    for question in questions:
        start = time.perf_counter()
        body = {"question": question.text, "limit": SOURCES}
        answer = api.call("POST", f"/v1/collections/{collection}/ask", body)
        found.append(Asked(question, answer, time.perf_counter() - start))
    return found


def check_citations(api: Api, collection: str, asked: Sequence[Asked]) -> Json:
    """How many citations are called verified, and how many are exact in the stored document."""
    texts: dict[str, str] = {}
    total = verified = exact = 0
    for citation in (c for one in asked for c in one.answer["citations"]):
        name = citation["document_id"]
        if name not in texts:
            texts[name] = api.text_of(collection, name)
        total += 1
        verified += citation["status"] == "verified"
        if citation["start"] is not None:
            exact += texts[name][citation["start"] : citation["end"]] == citation["quote"]
    return {"citations": total, "verified": verified, "exact": exact}


def summary(asked: Sequence[Asked], checked: Json) -> Json:
    """Shares and latency of one collection."""
    seconds = [one.seconds for one in asked]
    known = any(one.question.gold for one in asked)
    return {
        "questions": len(asked),
        "answered": share(one.answered for one in asked),
        "no_answer": share(not one.answered for one in asked),
        "right": share(one.right for one in asked) if known else None,
        "median_ms": 1000 * statistics.median(seconds),
        "p95_ms": 1000 * percentile(seconds, 95),
        **checked,
    }


def share(flags: Iterable[bool]) -> float:
    """Which part of them is true."""
    found = list(flags)
    return sum(found) / len(found)


# The evidence again, in this process


class Examiner:
    """Takes the steps of `embedsvc.chat.extractive`, embedding each sentence once."""

    def __init__(self, backend: EmbeddingBackend) -> None:
        self._backend = backend
        self._runner = asyncio.Runner()
        self._known: dict[str, Any] = {}

    def examine(self, asked: Sequence[Asked]) -> list[Evidence]:
        """The evidence for each question from the sources of its answer."""
        return [self._examine(one) for one in asked]

    def close(self) -> None:
        """Stop the model."""
        self._runner.run(self._backend.aclose())
        self._runner.close()

    def _examine(self, one: Asked) -> Evidence:
        sources = one.answer["sources"]
        found = candidates(
            one.question.text, [source["text"] for source in sources], extractive._MOST_EMBEDDED
        )
        if not found:
            return Evidence(0.0, False)
        (asked,) = self._runner.run(self._backend.embed([one.question.text], "query"))
        near = cosines(self._embed([candidate.text for candidate in found]), asked)
        ranked = rank(found, near, [source["score"] for source in sources])
        best = ranked[0][1]
        chosen = [found[i].text for i, found_ in ranked[:2] if found_ >= extractive.SECOND * best]
        return Evidence(best, contains(" ".join(chosen), one.question.gold))

    def _embed(self, texts: Sequence[str]) -> Any:
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            rows = self._runner.run(self._backend.embed(fresh, "document"))
            self._known.update(zip(fresh, rows, strict=True))
        return np.stack([self._known[text] for text in texts])


def show_evidence(ways: dict[str, list[Evidence]]) -> Json:
    """Quantiles of the best evidence, and what each floor leaves."""
    quantiles = {
        way: {str(q): percentile([one.best for one in found], q) for q in QUANTILES}
        for way, found in ways.items()
    }
    print_table(
        ["best evidence, quantile %", *map(str, QUANTILES)],
        [[way, *(f"{value:.3f}" for value in row.values())] for way, row in quantiles.items()],
        "best evidence of a question",
    )
    floors = []
    for floor in FLOORS:
        row: Json = {"floor": floor}
        for way, found in ways.items():
            row[way] = share(one.best >= floor for one in found)
        (first, found), *_ = ways.items()
        row["right"] = share(one.right and one.best >= floor for one in found)
        floors.append(row)
    print_table(
        ["floor", *(f"answered: {way}" for way in ways), f"right: {first}"],
        [
            [f"{row['floor']:.2f}", *(f"{row[way]:.3f}" for way in [*ways, "right"])]
            for row in floors
        ],
        f"what a floor leaves (it is {extractive.FLOOR})",
    )
    return {"quantiles": quantiles, "floors": floors}


# The command


def xquad_questions(documents: Iterable[str]) -> list[Question]:
    """Questions that these paragraphs answer."""
    kept = set(documents)
    return [
        Question(row["question"], [answer["text"] for answer in row["answers"]])
        for row in read_lines("xquad/en", "qa.jsonl")
        if kept.issuperset(row["doc_ids"])
    ]


def clapnq_questions(*, answerable: bool) -> list[Question]:
    """Questions that the passages answer, or do not; their answers are free text."""
    rows = read_lines("clapnq", "qa.jsonl")
    return [Question(row["question"]) for row in rows if row["answerable"] == answerable]


def ask_everything(api: Api, arguments: argparse.Namespace) -> dict[str, tuple[str, list[Asked]]]:
    """By title: the collection and what came of its questions."""
    paragraphs = read_documents("xquad/en")[: arguments.documents or None]
    inside = xquad_questions(document["id"] for document in paragraphs)
    api.add("xquad", paragraphs)
    asked = {"in its domain": ("xquad", ask_all(api, "xquad", spread(inside, arguments.questions)))}
    for other in OTHERS:
        api.add(f"other-{other}", read_documents(other)[: arguments.other_documents])
        questions = spread(inside, arguments.other_questions)
        asked[f"asked to {other}"] = (f"other-{other}", ask_all(api, f"other-{other}", questions))
    if arguments.clapnq:
        api.add("clapnq", read_documents("clapnq"))
        for title, answerable in (("clapnq answerable", True), ("clapnq unanswerable", False)):
            questions = spread(clapnq_questions(answerable=answerable), arguments.clapnq_questions)
            asked[title] = ("clapnq", ask_all(api, "clapnq", questions))
    return asked


def show(rows: dict[str, Json]) -> None:
    """The table of all collections."""
    header = ["", "questions", "gold span", "no_answer", "citations", "verified", "exact"]
    cells = []
    for title, row in rows.items():
        of = row["citations"] or float("nan")
        cells.append(
            [
                title,
                row["questions"],
                "-" if row["right"] is None else f"{row['right']:.3f}",
                f"{row['no_answer']:.3f}",
                row["citations"],
                f"{row['verified'] / of:.3f}",
                f"{row['exact'] / of:.3f}",
                f"{row['median_ms']:.0f}",
                f"{row['p95_ms']:.0f}",
            ]
        )
    print_table([*header, "median ms", "p95 ms"], cells, "the extractive answerer (shares)")


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="of xquad; 0: all")
    parser.add_argument("--documents", type=int, default=0, help="first of xquad; 0: all")
    parser.add_argument("--other-questions", type=int, default=OTHER_QUESTIONS)
    parser.add_argument("--other-documents", type=int, default=OTHER_DOCUMENTS)
    parser.add_argument("--clapnq", action="store_true", help="ask the questions of clapnq too")
    parser.add_argument("--clapnq-questions", type=int, default=CLAPNQ_QUESTIONS, help="of each")
    return parser.parse_args()


def main() -> None:
    """Ask over REST, then examine the evidence with the server stopped."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    with Server() as server:
        api = Api(server.url)
        asked = ask_everything(api, arguments)
        rows = {
            title: summary(found, check_citations(api, collection, found))
            for title, (collection, found) in asked.items()
        }
    show(rows)
    examiner = Examiner(create_backend(Settings(), "local", "all-MiniLM-L6-v2", None))
    ways = {title: examiner.examine(found) for title, (_, found) in asked.items()}
    examiner.close()
    evidence = show_evidence(ways)
    agreed = share(
        (one.best >= extractive.FLOOR) == answer.answered
        for title, (_, answers) in asked.items()
        for one, answer in zip(ways[title], answers, strict=True)
    )
    print(f"\nevidence computed here and state given by the service agree: {agreed:.3f}")
    whole = arguments.questions in (0, QUESTIONS) and not arguments.documents
    whole = whole and arguments.other_questions >= OTHER_QUESTIONS
    path = write_result(
        "answers" if whole else "answers-trial",
        {"options": vars(arguments), "collections": rows, "agreed": agreed, **evidence},
    )
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
