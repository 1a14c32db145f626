"""Calibration of an embedding space: learnt once from the shipped examples, kept, shared."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from embedsvc.core.calibrating import Calibration
from embedsvc.core.preparing import Draft
from embedsvc.errors import ProviderRejected
from embedsvc.services.answers import Question
from embedsvc.services.calibration import Calibrations, beforehand, identity, shipped, version
from embedsvc.store.calibrations import StoredCalibrations

Run = Callable[[Any], Any]

SHIPPED = shipped()


def calibrations(service: Any) -> Calibrations:
    return Calibrations(StoredCalibrations(service.database), service.embedders)


async def calibrated(service: Any, made: Calibrations | None = None) -> Calibration:
    await service.collections.put("c")
    collection = await service.collections.get("c")
    backend = await service.embedders.of(collection)
    return await (made or calibrations(service)).of(collection, backend)


async def rows(service: Any, table: str) -> list[Any]:
    statement = text(f"SELECT * FROM {table}")
    found: list[Any] = await service.database.read(lambda tx: tx.execute(statement).all())
    return found


def test_the_examples_are_many_and_every_passage_has_both_kinds_of_question() -> None:
    assert len(SHIPPED.passages) >= 150
    assert len(set(SHIPPED.passages)) == len(SHIPPED.passages)
    texts = [question.text for question in SHIPPED.questions]
    assert len(set(texts)) == len(texts)
    assert all(1 <= len(contents.sentences) <= 7 for contents in SHIPPED.contents)
    kinds = Counter((question.about, question.answered) for question in SHIPPED.questions)
    for about in range(len(SHIPPED.passages)):
        assert kinds[about, True] >= 2
        assert kinds[about, False] >= 1


def test_a_space_is_calibrated_once_and_a_restart_does_not_do_it_again(
    run: Run, opened: Any, scripted: Any, either_settings: Any
) -> None:
    async def work() -> None:
        backend = scripted()
        settings = replace(either_settings, embedding="scripted")
        async with opened(backend=backend, of=settings) as service:
            made = calibrations(service)
            first = await calibrated(service, made)
            read = set(backend.embedded)
            assert read == {
                *SHIPPED.passages,
                *SHIPPED.statements(),
                *(question.text for question in SHIPPED.questions),
            }
            assert await calibrated(service, made) is first
            assert len(await rows(service, "calibration")) == 1
            assert await rows(service, "vector") == []
        again = scripted()
        async with opened(backend=again, of=settings) as service:
            assert await calibrated(service) == first
            assert again.embedded == []

    run(work())


def test_what_cannot_be_kept_is_learnt_once_all_the_same(
    run: Run, opened: Any, scripted: Any, settings: Any
) -> None:
    """Else a full disk would cost 1,300 texts a question, and the answer too."""
    full = text(
        "CREATE TRIGGER full BEFORE INSERT ON calibration "
        "BEGIN SELECT RAISE(ABORT, 'no space left on device'); END"
    )

    async def work() -> None:
        backend = scripted()
        async with opened(backend=backend, of=replace(settings, embedding="scripted")) as service:
            await service.database.write(lambda tx: tx.execute(full))
            made = calibrations(service)
            first = await calibrated(service, made)
            read = len(backend.embedded)
            assert await calibrated(service, made) is first
            assert len(backend.embedded) == read
            assert await rows(service, "calibration") == []

    run(work())


def test_what_was_learnt_from_other_examples_is_learnt_anew(
    run: Run, opened: Any, scripted: Any, either_settings: Any
) -> None:
    async def work() -> None:
        backend = scripted()
        settings = replace(either_settings, embedding="scripted")
        async with opened(backend=backend, of=settings) as service:
            await service.collections.put("c")
            space_id = (await service.collections.get("c")).space_id
            await StoredCalibrations(service.database).keep(space_id, "older", "{}")
            found = await calibrated(service)
            assert backend.embedded
            ((_, stored_version, _, _),) = await rows(service, "calibration")
            assert stored_version == version()
            assert await calibrated(service) == found

    run(work())


def test_questions_at_the_same_time_share_one_calibration(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        backend = scripted()
        async with opened(backend=backend) as service:
            await service.collections.put("c")
            made = calibrations(service)
            found = await asyncio.gather(*(calibrated(service, made) for _ in range(5)))
            assert all(one is found[0] for one in found)
            assert max(Counter(backend.embedded).values()) == 1

    run(work())


def test_one_that_stops_waiting_does_not_stop_it_for_the_others(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await service.collections.put("c")
            made = calibrations(service)
            impatient = asyncio.create_task(calibrated(service, made))
            patient = asyncio.create_task(calibrated(service, made))
            await asyncio.sleep(0.01)
            impatient.cancel()
            assert (await patient).quality.examples > 500
            await made.aclose()

    run(work())


def test_a_provider_that_fails_is_told_and_asked_again_next_time(
    run: Run, opened: Any, scripted: Any
) -> None:
    async def work() -> None:
        def refuse(texts: Any) -> None:
            if SHIPPED.questions[-1].text in texts:
                raise ProviderRejected("the model says no")

        backend = scripted(trouble=refuse)
        async with opened(backend=backend) as service:
            made = calibrations(service)
            with pytest.raises(ProviderRejected, match="says no"):
                await calibrated(service, made)
            assert await rows(service, "calibration") == []
            backend.trouble = lambda _texts: None
            found = await calibrated(service, made)
            assert 0 < found.threshold < 1
            assert len(await rows(service, "calibration")) == 1

    run(work())


def test_words_tell_answers_from_the_rest_where_vectors_say_nothing(run: Run, opened: Any) -> None:
    async def work() -> None:
        async with opened() as service:
            quality = (await calibrated(service)).quality
            assert quality.auc > 0.85
            assert quality.elsewhere > 0.85

    run(work())


def test_calibrating_is_counted_as_use_of_the_model(run: Run, opened: Any, scripted: Any) -> None:
    async def work() -> None:
        async with opened(backend=scripted()) as service:
            await service.collections.put("c")
            await service.ingest.add("c", [Draft("d", text="Some text.")])
            await calibrated(service)
            report = await service.embedders.meter.report(["collection"])
            texts = {row["collection"]: row["texts"] for row in report}
            assert texts["c"] > len(SHIPPED.questions)

    run(work())


def test_what_comes_with_the_package_is_what_would_be_learnt(run: Run, opened: Any) -> None:
    """`make calibrations` makes it anew."""

    async def work() -> None:
        async with opened() as service:
            await service.collections.put("c")
            collection = await service.collections.get("c")
            backend = await service.embedders.of(collection)
            ready = beforehand()[identity(backend.space)]
            assert await calibrated(service) is ready
            assert await rows(service, "calibration") == []
            learnt = await calibrations(service).learn(collection, backend)
            assert learnt.threshold == pytest.approx(ready.threshold, abs=1e-6)
            assert list(learnt.weights) == pytest.approx(list(ready.weights), abs=1e-4)

    run(work())


def test_the_default_model_needs_no_calibration_at_its_first_question(
    run: Run, opened: Any, model: Any
) -> None:
    assert identity(model.space) in beforehand()

    async def work() -> None:
        async with opened(backend=model) as service:
            await service.ingest.add("c", [Draft("a", text="Krill is what the blue whale eats.")])
            answer = await service.ask.ask("c", Question("What does the blue whale eat?"))
            assert answer.state == "answered"
            assert await rows(service, "calibration") == []

    run(work())
