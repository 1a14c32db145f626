"""What the extractive answerer answers, what it leaves open, and whether its quotes are exact.

    .venv/bin/python benchmarks/answers.py            # a sample, some minutes
    .venv/bin/python benchmarks/answers.py --all      # all questions

Questions are asked over REST, one after the other, with the default model and settings:

- XQuAD in English, German and Spanish to a collection of all paragraphs of that language: the share
  of all questions whose answer (at most two sentences) contains a gold span, case and white space
  aside. A question that is left open counts as missed.
- CLAPNQ to a collection of its whole corpus: half of its questions are not answered there, though a
  passage about the same subject is. Leaving a question open is judged against that.
- Questions of one set to a collection of another subject, where leaving open is right.
- Four small collections (`collections/`): this manual, a firm's handbook, private notes, and German
  papers about a flat, with questions as people type them, a third in quite other words than the
  documents, and questions without an answer, most of them about the same things. They were written
  by somebody who did not know how answers are chosen, and nothing was tuned to them.

Of every citation it is looked up whether it is called verified, and whether it stands in the stored
document letter by letter. The first question to a space calibrates it and is timed by itself.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import (
    Server,
    Target,
    percentile,
    print_table,
    print_targets,
    read_documents,
    read_lines,
    read_set,
    require_data,
    stop_on_sigterm,
    write_result,
)
from rest import Api

LANGUAGES = ("en", "de", "es")
SOURCES = 8
OTHER_DOCUMENTS = 1_000
MOST_SENTENCES = 2
SMALL = ("manual", "handbook", "notes", "lease_de")
HERE = Path(__file__).parent

Json = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How many questions of each set are asked; 0: all."""

    xquad: int
    languages: int
    clapnq: int
    others: int


SAMPLE = Sizes(xquad=300, languages=100, clapnq=200, others=100)
ALL = Sizes(xquad=0, languages=0, clapnq=0, others=300)


@dataclass(frozen=True)
class Question:
    """A question: spans of which a right answer contains one, and whether there is an answer."""

    text: str
    gold: Sequence[str] = ()
    answerable: bool = True


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
class Part:
    """Questions that are asked to one collection."""

    title: str
    collection: str
    questions: Sequence[Question]


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


def share(flags: Iterable[bool]) -> float:
    """Which part of them is true."""
    found = list(flags)
    return sum(found) / len(found)


# The questions


def parts(sizes: Sizes) -> list[Part]:
    """All that is asked."""
    xquad = {language: xquad_questions(language) for language in LANGUAGES}
    clapnq = clapnq_questions()
    claims = [Question(text, answerable=False) for text in read_set("scifact")[1].values()]
    english = unanswerable(xquad["en"])
    found = [Part("xquad/en", "xquad-en", spread(xquad["en"], sizes.xquad))]
    for language in LANGUAGES[1:]:
        questions = spread(xquad[language], sizes.languages)
        found.append(Part(f"xquad/{language}", f"xquad-{language}", questions))
    found.append(Part("clapnq", "clapnq", spread(clapnq, sizes.clapnq)))
    for title, collection, questions in (
        ("xquad/en to scifact", "scifact", english),
        ("xquad/de to scifact", "scifact", unanswerable(xquad["de"])),
        ("xquad/en to clapnq", "clapnq", english),
        ("scifact to xquad/en", "xquad-en", claims),
        ("scifact to clapnq", "clapnq", claims),
        ("clapnq to scifact", "scifact", unanswerable(clapnq)),
        ("clapnq to xquad/en", "xquad-en", unanswerable(clapnq)),
    ):
        found.append(Part(title, collection, spread(questions, sizes.others)))
    return found + [Part(f"small/{name}", name, small_questions(name)) for name in SMALL]


def small_questions(name: str) -> list[Question]:
    """The questions of a small collection, those without an answer last."""
    found = read_small(name)
    answered = [Question(row["question"], row["gold"]) for row in found["questions"]]
    return answered + [Question(text, answerable=False) for text in found["unanswerable"]]


def read_small(name: str) -> Json:
    """Documents and questions of a small collection; those of the manual are the samples."""
    file = HERE / "collections" / f"{name}.json"
    found: Json = json.loads(file.read_text(encoding="utf-8"))
    if "documents" not in found:
        samples = sorted((HERE.parent / "data" / "samples").glob("*.md"))
        found["documents"] = [
            {"id": file.name, "text": file.read_text(encoding="utf-8")} for file in samples
        ]
    return found


def xquad_questions(language: str) -> list[Question]:
    """Questions that the paragraphs of this language answer."""
    rows = read_lines(f"xquad/{language}", "qa.jsonl")
    return [Question(row["question"], [one["text"] for one in row["answers"]]) for row in rows]


def clapnq_questions() -> list[Question]:
    """Questions that the passages answer or not; their answers are free text."""
    rows = read_lines("clapnq", "qa.jsonl")
    return [Question(row["question"], answerable=row["answerable"]) for row in rows]


def unanswerable(questions: Sequence[Question]) -> list[Question]:
    """The same questions where nothing answers them."""
    return [Question(question.text, answerable=False) for question in questions]


# Over REST


def add_collections(api: Api) -> None:
    """All collections; of SciFact the first abstracts."""
    for language in LANGUAGES:
        api.add(f"xquad-{language}", read_documents(f"xquad/{language}"))
    api.add("clapnq", read_documents("clapnq"))
    api.add("scifact", read_documents("scifact")[:OTHER_DOCUMENTS])
    for name in SMALL:
        api.add(name, read_small(name)["documents"])


def ask(api: Api, collection: str, question: Question) -> Asked:
    """Ask one."""
    start = time.perf_counter()
    body = {"question": question.text, "limit": SOURCES, "model": "extractive"}
    answer = api.call("POST", f"/v1/collections/{collection}/ask", body)
    return Asked(question, answer, time.perf_counter() - start)


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
    longest = max((len(one.answer["citations"]) for one in asked), default=0)
    return {"citations": total, "verified": verified, "exact": exact, "most_citations": longest}


def summary(asked: Sequence[Asked]) -> Json:
    """Shares and latency of one part."""
    seconds = [one.seconds for one in asked]
    known = [one for one in asked if one.question.gold]
    return {
        "questions": len(asked),
        "answered": share(one.answered for one in asked),
        "right": share(one.right for one in known) if known else None,
        **abstention(asked),
        "median_ms": 1000 * statistics.median(seconds),
        "p95_ms": 1000 * percentile(seconds, 95),
    }


def abstention(asked: Sequence[Asked]) -> Json:
    """Precision, recall and F1 of leaving a question open, where that is sometimes right."""
    kinds = {one.question.answerable for one in asked}
    if len(kinds) < 2:
        return {}
    left = [one for one in asked if not one.answered]
    right = sum(not one.question.answerable for one in left)
    precision = right / max(1, len(left))
    recall = right / sum(not one.question.answerable for one in asked)
    f1 = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"precision": precision, "recall": recall, "f1": f1}


# The command


def show(rows: Mapping[str, Json]) -> None:
    """The table of all parts."""
    header = ["", "questions", "gold span", "no_answer", "citations", "verified", "exact"]
    cells = []
    for title, row in rows.items():
        of = row["citations"] or float("nan")
        cells.append(
            [
                title,
                row["questions"],
                "-" if row["right"] is None else f"{row['right']:.3f}",
                f"{1 - row['answered']:.3f}",
                row["citations"],
                f"{row['verified'] / of:.3f}",
                f"{row['exact'] / of:.3f}",
                f"{row['median_ms']:.0f}",
                f"{row['p95_ms']:.0f}",
            ]
        )
    print_table([*header, "median ms", "p95 ms"], cells, "the extractive answerer (shares)")
    print()
    for title, left in rows.items():
        if "f1" in left:
            print(
                f"left open in {title}: precision {left['precision']:.3f}, "
                f"recall {left['recall']:.3f}, F1 {left['f1']:.3f}"
            )


def targets(rows: Mapping[str, Json]) -> list[Target]:
    """What shall be reached."""
    found = [Target("xquad/en: answers with a gold span", rows["xquad/en"]["right"], least=0.8)]
    found += [
        Target(f"{title}: no_answer", 1 - row["answered"], least=0.9)
        for title, row in rows.items()
        if " to " in title
    ]
    citations = sum(row["citations"] for row in rows.values()) or 1
    for word in ("verified", "exact"):
        part = sum(row[word] for row in rows.values()) / citations
        found.append(Target(f"citations that are {word}", part, least=1.0))
    most = max(row["most_citations"] for row in rows.values())
    found.append(Target("most sentences in an answer", most, most=MOST_SENTENCES))
    return found


def parse_arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="ask all questions")
    parser.add_argument("--questions", type=int, help="of xquad/en; 0: all")
    return parser.parse_args()


def main() -> None:
    """Index, ask, and compare with the targets."""
    stop_on_sigterm()
    arguments = parse_arguments()
    require_data()
    sizes = ALL if arguments.all else SAMPLE
    if arguments.questions is not None:
        sizes = Sizes(arguments.questions, sizes.languages, sizes.clapnq, sizes.others)
    rows: dict[str, Json] = {}
    with Server() as server:
        api = Api(server.url)
        add_collections(api)
        first = ask(api, "xquad-en", Question("What is asked first?")).seconds
        print(f"the first question, which calibrates the space: {first:.1f} s")
        for part in parts(sizes):
            asked = [ask(api, part.collection, question) for question in part.questions]
            rows[part.title] = summary(asked) | check_citations(api, part.collection, asked)
    show(rows)
    reached = targets(rows)
    print_targets(reached)
    result = {
        "options": vars(arguments),
        "first_question_s": first,
        "parts": rows,
        "targets": [target.as_row() for target in reached],
    }
    path = write_result("answers" if arguments.all else "answers-trial", result)
    print(f"written: {path.name}")


if __name__ == "__main__":
    main()
