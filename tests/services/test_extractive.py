"""Sentences that answer, with their exact place in the document, and whether they are enough."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from embedsvc.core.model import Chunking
from embedsvc.core.preparing import Draft
from embedsvc.errors import ProviderRejected
from embedsvc.services.calibration import shipped
from embedsvc.services.extractive import Evidence, SentenceVectors
from embedsvc.services.search import Hit, Query

Run = Callable[[Any], Any]

MANUAL = """# The Aurora boiler

It heats water for a flat of up to 90 m². The boiler was made by Ostmann & Söhne (Łódź) since 1987.

## Start
1. Open the *blue* tap — slowly.
2) Press ▶ until the lamp is green.
- Wait 15 minutes.

```
aurora --reset all
```
If the lamp is red 🔴, the pressure is too low.  Fill in water up to 1.8 bar! 東京の支店に電話。
"""
NEWS = "The council met on Monday. It bought the old brewery for 2.3 million. Nobody objected."
QUESTIONS = [
    "How long do I have to wait?",
    "Who made the boiler?",
    "What does a red lamp mean?",
    "When did the council meet?",
    "How much did the brewery cost?",
    "東京",
    "???",
    "Which taps are there, and of what colour?",
]


def documents() -> list[Draft]:
    return [Draft("manual", title="Aurora", text=MANUAL), Draft("news", text=NEWS)]


async def look(service: Any, question: str, **query: Any) -> tuple[Evidence, Sequence[Hit]]:
    found = await service.search.search("c", [Query(question, limit=8, **query)])
    collection = await service.collections.get("c")
    hits = found.hits[0]
    evidence = await service.ask._extractive.look(question, hits, collection)
    return evidence, hits


@pytest.mark.parametrize("overlap", [0, 8])
def test_every_quote_stands_in_its_document_letter_by_letter(
    run: Run, opened: Any, overlap: int
) -> None:
    texts = {draft.id: str(draft.text) for draft in documents()}

    async def work() -> None:
        async with opened() as service:
            await service.collections.put("c", chunking=Chunking(size=20, overlap=overlap))
            await service.ingest.add("c", documents())
            for question in QUESTIONS:
                for mode in ("hybrid", "dense", "lexical"):
                    evidence, hits = await look(service, question, mode=mode)
                    assert len(evidence.quotes) <= 2
                    assert evidence.quotes or question == "???" or not hits
                    for quote in evidence.quotes:
                        text = texts[hits[quote.source].chunk.document_id]
                        assert text[quote.start : quote.end] == quote.text
                        assert quote.text in hits[quote.source].chunk.text
                        assert not quote.text.startswith(("#", "-", "1.", "2)", "```", "aurora"))
                    assert 0 <= evidence.probability <= 1

    run(work())


def test_the_model_finds_what_answers_and_says_when_nothing_does(
    run: Run, opened: Any, model: Any
) -> None:
    answered = {
        "How long do I have to wait?": "15 minutes",
        "What does a red lamp mean?": "pressure is too low",
        "What did the council pay for the brewery?": "2.3 million",
    }
    unanswered = [
        "Who won the chess championship in Reykjavik?",
        "How do I file a tax return in Brazil?",
        "What is the capital of Mongolia?",
    ]

    async def work() -> None:
        async with opened(backend=model) as service:
            await service.ingest.add("c", documents())
            for question, words in answered.items():
                evidence, _ = await look(service, question)
                assert evidence.enough, question
                assert words in " ".join(quote.text for quote in evidence.quotes)
            for question in unanswered:
                evidence, _ = await look(service, question)
                assert not evidence.enough, question
                assert evidence.quotes  # there all the same
            quality = (await calibration(service)).quality
            assert quality.auc > 0.9
            assert quality.elsewhere > 0.95

    run(work())


async def calibration(service: Any) -> Any:
    collection = await service.collections.get("c")
    backend = await service.embedders.of(collection)
    return await service.ask._extractive._calibrations.of(collection, backend)


def test_without_sources_there_is_no_evidence_and_nothing_is_embedded(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        backend = scripted()
        async with opened(backend=backend) as service:
            await service.collections.put("c")
            collection = await service.collections.get("c")
            evidence = await service.ask._extractive.look("What?", [], collection)
            assert (evidence.probability, evidence.enough, evidence.quotes) == (0.0, False, ())
            assert backend.embedded == []

    run(work())


def test_sentences_are_embedded_once(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        backend = scripted()
        async with opened(backend=backend) as service:
            await service.ingest.add("c", documents())
            first, _ = await look(service, "Who made the boiler?")
            backend.made.clear()
            again, _ = await look(service, "Who made the boiler?")
            assert again == first
            assert set(backend.embedded) == {"Who made the boiler?"}

    run(work())


def test_a_provider_that_fails_is_not_taken_for_missing_evidence(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        backend = scripted()
        async with opened(backend=backend) as service:
            await service.ingest.add("c", documents())
            await look(service, "When did the council meet?")  # calibrates

            def refuse(texts: Sequence[str]) -> None:
                if any("lamp" in text for text in texts if text != "Which lamp is red?"):
                    raise ProviderRejected("no more of this")

            backend.trouble = refuse
            await service.ingest.add("c", [Draft("new", text="Another sentence.")])
            service.ask._extractive._vectors = SentenceVectors(10_000)
            with pytest.raises(ProviderRejected, match="no more"):
                await look(service, "Which lamp is red?")

    run(work())


def test_kept_vectors_stay_within_their_bytes_and_the_longest_unused_goes() -> None:
    kept = SentenceVectors(3_000)
    row = np.ones(100, dtype=np.float32)
    for name in "abcd":
        kept.keep(1, {name: row})
        kept.find(1, ["a"])
    assert len(kept) == 4
    kept.keep(1, dict.fromkeys("efgh", row))
    assert len(kept) == 4
    assert set(kept.find(1, list("abcdefgh"))) == {"e", "f", "g", "h"}
    kept.keep(2, {"e": 2 * row})
    assert kept.find(2, ["e"])["e"][0] == 2
    assert kept.find(1, ["e"]) == {}


def test_the_shipped_passages_answer_their_own_questions(run: Run, opened: Any) -> None:
    """With words alone: half of what is asked is found where it stands."""
    examples = shipped()
    asked = [question for question in examples.questions if question.answered][::8]

    async def work() -> None:
        async with opened() as service:
            drafts = [Draft(str(i), text=text) for i, text in enumerate(examples.passages)]
            await service.ingest.add("c", drafts)
            right = 0
            for question in asked:
                evidence, hits = await look(service, question.text)
                first = hits[evidence.quotes[0].source].chunk.document_id
                right += evidence.enough and first == str(question.about)
            assert right / len(asked) > 0.7

    run(work())
