"""A state machine against brute force: whatever happens in whatever order, every process finds
exactly what SQL holds.

Two services share one home, as two processes would. Thresholds are shrunk, so that a handful of
documents seals, merges, rewrites and switches to HNSW.
"""

import asyncio
import os
import random
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedsvc.app import build_service
from embedsvc.core.lexical import Statistics, bag, bm25, terms
from embedsvc.core.preparing import Draft, DraftChunk
from embedsvc.errors import NotFound
from embedsvc.index import faiss
from embedsvc.services.search import Query
from embedsvc.services.service import Service
from embedsvc.settings import read_settings
from embedsvc.store.database import sqlite_library

LONG = bool(os.environ.get("SOAK"))
LIMITS = faiss.Limits(seal=3, fan_in=2, approximate=14, dead_share=0.3, exact_within=2)
NAME = "machine"
DIMENSIONS = 16

ids = st.sampled_from([f"d{n}" for n in range(12)])
words = st.sampled_from(["red", "green", "blue", "seven", "eight", "nine", "north", "south"])
texts = st.lists(words, min_size=1, max_size=4).map(" ".join)
which = st.sampled_from([0, 1])


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.home = Path(tempfile.mkdtemp(prefix="embedsvc-machine-"))
        self.documents: dict[str, list[str]] = {}
        self.services = [self.start(), self.start()]
        self.run(self.services[0].collections.put(NAME))

    # -- the two processes ----------------------------------------------------------------------

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    def start(self) -> Service:
        given = read_settings(
            {}, self.home, home=self.home, embedding=f"hash:{DIMENSIONS}", synchronous="normal"
        )
        return build_service(given, engine=partial(faiss.create, limits=LIMITS))

    def stop(self, number: int) -> None:
        service = self.services[number]
        self.run(service.replicas.aclose())
        service.database.close()

    def teardown(self) -> None:
        for number in (0, 1):
            self.stop(number)
        self.runner.close()
        shutil.rmtree(self.home)

    # -- what can happen ------------------------------------------------------------------------

    @rule(via=which, document=ids, chunks=st.lists(texts, min_size=1, max_size=4))
    def add_or_replace(self, via: int, document: str, chunks: list[str]) -> None:
        draft = Draft(document, chunks=[DraftChunk(text) for text in chunks])
        added = self.run(self.services[via].ingest.add(NAME, [draft]))
        assert added.documents[0].status in ("indexed", "unchanged")
        self.documents[document] = chunks

    @rule(via=which, many=st.dictionaries(ids, texts, min_size=2, max_size=8))
    def add_many(self, via: int, many: dict[str, str]) -> None:
        drafts = [Draft(i, chunks=[DraftChunk(text)]) for i, text in many.items()]
        self.run(self.services[via].ingest.add(NAME, drafts))
        self.documents |= {i: [text] for i, text in many.items()}

    @rule(via=which, document=ids)
    def delete(self, via: int, document: str) -> None:
        try:
            self.run(self.services[via].ingest.delete(NAME, document))
            assert document in self.documents
        except NotFound:
            assert document not in self.documents
        self.documents.pop(document, None)

    @rule(via=which, document=ids, text=texts)
    def add_later(self, via: int, document: str, text: str) -> None:
        service = self.services[via]
        draft = Draft(document, chunks=[DraftChunk(text)])
        self.run(service.ingest.add(NAME, [draft], wait="none"))
        while self.run(self.services[1 - via].ingest.work_once()):
            pass
        self.documents[document] = [text]

    @rule(
        via=which,
        query=texts,
        limit=st.integers(1, 30),
        mode=st.sampled_from(["dense", "lexical", "hybrid"]),
    )
    def search(self, via: int, query: str, limit: int, mode: Any) -> None:
        asked = Query(query, limit=limit, mode=mode)
        found = self.run(self.services[via].search.search(NAME, [asked]))
        hits = [(hit.chunk.document_id, hit.chunk.text, hit.score) for hit in found.hits[0]]
        expected = self.brute_force(query, mode)
        assert len(hits) == min(limit, len(expected))
        best = [score for _, _, score in expected[:limit]]
        np.testing.assert_allclose([score for *_, score in hits], best, atol=1e-5)
        for document, text, score in hits:
            assert text in self.documents[document]
            assert any((document, text) == (d, t) and abs(score - s) < 1e-5 for d, t, s in expected)

    @rule(number=which)
    def restart(self, number: int) -> None:
        self.stop(number)
        self.services[number] = self.start()

    @rule(number=which)
    def save(self, number: int) -> None:
        collection = self.run(self.services[number].store.collection(NAME))
        index = self.run(self.services[number].replicas.fresh(collection))
        self.run(index.save())

    @rule(number=which)
    def lose_the_snapshot(self, number: int) -> None:
        self.stop(number)
        shutil.rmtree(self.home / "index", ignore_errors=True)
        self.services[number] = self.start()

    @precondition(lambda self: any((self.home / "index").rglob("*.[ms]*t")))
    @rule(number=which, seed=st.integers(0, 1000), cut=st.booleans())
    def damage_the_snapshot(self, number: int, seed: int, cut: bool) -> None:
        self.stop(number)
        chance = random.Random(seed)
        file = chance.choice(sorted((self.home / "index").rglob("*.[ms]*t")))
        content = bytearray(file.read_bytes())
        place = chance.randrange(len(content))
        if cut:
            del content[place:]
        else:
            content[place] ^= 1 << chance.randrange(8)
        file.write_bytes(content)
        self.services[number] = self.start()

    @rule(number=which)
    def rebuild(self, number: int) -> None:
        assert self.run(self.services[number].verify.repair(NAME)).ok

    # -- what must always hold ------------------------------------------------------------------

    @invariant()
    def sql_holds_what_was_acknowledged(self) -> None:
        assert {(d, t) for d, t, _ in self.rows()} == {
            (document, text) for document, chunks in self.documents.items() for text in chunks
        }

    @invariant()
    def every_index_is_the_truth(self) -> None:
        for service in self.services:
            report = self.run(service.verify.verify(NAME))
            assert report.ok, report

    # -- the oracle -----------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, str, np.ndarray]]:
        """Chunks and vectors, read by plain SQL."""
        connection = sqlite_library().connect(self.home / "embedsvc.db")
        try:
            found = connection.execute(
                "SELECT d.key, c.text, v.data FROM chunk c JOIN document d ON d.id = c.document_id"
                " JOIN vector v ON v.key = c.vector_key"
            ).fetchall()
        finally:
            connection.close()
        return [(key, text, np.frombuffer(data, "<f4")) for key, text, data in found]

    def brute_force(self, query: str, mode: str) -> list[tuple[str, str, float]]:
        backend = self.run(self.services[0].embedders.backend(f"hash:{DIMENSIONS}"))
        vector = self.run(self.services[0].embedders.embed(backend, [query], "query")).rows[0]
        rows = self.rows()
        shares = self.shares(query, [text for _, text, _ in rows])
        scored = []
        for (document, text, row), share in zip(rows, shares, strict=True):
            cosine = float(row @ vector)
            score = {"dense": cosine, "lexical": share, "hybrid": (cosine + share) / 2}[mode]
            if mode != "lexical" or share > 0:
                scored.append((document, text, score))
        return sorted(scored, key=lambda one: -one[2])

    def shares(self, query: str, texts: list[str]) -> list[float]:
        """BM25 of each text among these."""
        bags = [bag(text) for text in texts]
        asked = list(dict.fromkeys(terms(query)))
        holding = {term: sum(term in one.counts for one in bags) for term in asked}
        mean = sum(one.words for one in bags) / max(1, len(bags))
        found: list[float] = bm25(
            asked, Statistics(len(bags), mean, holding), [one.packed() for one in bags]
        ).tolist()
        return found


Machine.TestCase.settings = settings(
    max_examples=400 if LONG else 15,
    stateful_step_count=50 if LONG else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
TestMachine = Machine.TestCase
