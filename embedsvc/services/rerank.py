"""How well texts answer a query: scores by a reranker, of any number of texts.

`cosine` is made here of the embedding models, so that there is always one: it needs no weights of
its own and no key. `cosine:SPEC` takes another embedding than the default.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.batching import batches
from embedsvc.core.fitting import fit
from embedsvc.core.spec import Spec, parse_spec
from embedsvc.core.tokens import approximate_starts
from embedsvc.errors import InvalidInput, ProviderWrong, TooLarge, UnknownProvider
from embedsvc.ports import Reranker
from embedsvc.services.backends import QUERY_SECONDS
from embedsvc.services.embed import Embed
from embedsvc.services.retrying import Retrying, all_or_none

CreateReranker = Callable[[Spec], Awaitable[Reranker]]
"""Raises UnknownProvider, MissingDependency, ConfigError, Forbidden when offline."""

COSINE = "cosine"
MOST_RERANKED = 2_048
MOST_QUERY_CHARACTERS = 20_000
_SLACK = 1e-3
"""How far rounding may take a score out of 0 to 1."""


@dataclass(frozen=True, slots=True)
class Scored:
    """`scores`, shape (texts,): relevance from 0 to 1. `tokens` is None where nobody counted."""

    scores: NDArray[np.float64]
    model: str
    tokens: int | None = None
    cost_usd: float | None = None

    def best(self, most: int | None = None) -> list[tuple[int, float]]:
        """Positions of texts with their scores, the best first; equal ones in their order."""
        order = np.argsort(-self.scores, kind="stable")[:most]
        return [(int(i), float(self.scores[i])) for i in order]


MOST_RERANKERS = 32


class Rerank:
    """The rerankers in use, each built once."""

    def __init__(
        self, embed: Embed, create: CreateReranker, retrying: Retrying, default: str
    ) -> None:
        self._embed = embed
        self._create = create
        self._retrying = retrying
        self._default = default
        self._rerankers: OrderedDict[str, Reranker] = OrderedDict()  # the longest unused first
        self._running: Counter[str] = Counter()
        self._creating = asyncio.Lock()

    async def rerank(
        self,
        query: str,
        texts: Sequence[str],
        model: str | None = None,
        *,
        most_tokens: int | None = None,
        place: str = "documents",
        once: bool = False,
    ) -> Scored:
        """Score each text; of each at most `most_tokens` are read.

        Raises InvalidInput, TooLarge, UnknownProvider, ProviderError. `place` is what errors call
        the texts. With `once` a call that fails is not repeated: somebody waits.
        """
        _check(query, texts, place)
        spec = parse_spec(model or self._default)
        if most_tokens is not None:
            texts = [_cut(text, most_tokens) for text in texts]
        if spec.provider == COSINE:
            return await self._cosines(str(spec), query, texts)
        reranker = await self._built(spec)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike ones together
        together = batches([0] * len(texts), reranker.calls.texts, None)
        places = asyncio.Semaphore(reranker.calls.at_once)

        async def one(batch: Sequence[int]) -> NDArray[np.float64]:
            async with places:
                part = [texts[order[i]] for i in batch]
                return await self._call(reranker, spec, query, part, once)

        scores = np.empty(len(texts))
        self._running[str(spec)] += 1
        try:
            scores[order] = np.concatenate(await all_or_none(map(one, together)))
        finally:
            self._running[str(spec)] -= 1
        return Scored(scores, reranker.name)

    async def check(self, model: str | None = None) -> None:
        """Build the reranker, if there is such a one.

        Raises InvalidInput, UnknownProvider, ConfigError, Forbidden when offline.
        """
        spec = parse_spec(model or self._default)
        if spec.provider != COSINE:
            await self._built(spec)

    async def aclose(self) -> None:
        """Close every reranker."""
        await asyncio.gather(*(reranker.aclose() for reranker in self._rerankers.values()))

    async def _cosines(self, spec: str, query: str, texts: Sequence[str]) -> Scored:
        """Cosines, moved from -1 … 1 to 0 … 1."""
        model = cosine_embedding(spec)
        asked, found = await asyncio.gather(
            self._embed.embed([query], model, role="query"), self._embed.embed(texts, model)
        )
        cosines = found.rows.astype(np.float64) @ asked.rows[0].astype(np.float64)
        costs = (asked.cost_usd, found.cost_usd)
        return Scored(
            scores=np.clip((1 + cosines) / 2, 0, 1),
            model=f"{COSINE}:{found.model}",
            tokens=asked.tokens + found.tokens,
            cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        )

    async def _built(self, spec: Spec) -> Reranker:
        name = str(spec)
        if name not in self._rerankers:
            async with self._creating:
                if name not in self._rerankers:
                    try:
                        self._rerankers[name] = await self._create(spec)
                    except UnknownProvider as error:
                        raise UnknownProvider(
                            f"{error.detail}; always there is {COSINE}"
                        ) from error
                    await self._close_unused()
        self._rerankers.move_to_end(name)
        return self._rerankers[name]

    async def _close_unused(self) -> None:
        """Keep no more than MOST_RERANKERS: requests can name them."""
        idle = [name for name in self._rerankers if not self._running[name]]
        for name in idle[: max(0, len(self._rerankers) - MOST_RERANKERS)]:
            del self._running[name]
            await self._rerankers.pop(name).aclose()

    async def _call(
        self, reranker: Reranker, spec: Spec, query: str, texts: Sequence[str], once: bool
    ) -> NDArray[np.float64]:
        async def call() -> NDArray[np.float64]:
            return _checked(reranker, await reranker.rerank(query, texts), len(texts))

        if not reranker.calls.remote:
            return await call()
        tries = 1 if once else None
        return await self._retrying.call(spec.provider, call, at_most=QUERY_SECONDS, tries=tries)


def cosine_embedding(spec: str) -> str | None:
    """The embedding that `cosine:SPEC` names; None for the default one."""
    return spec.removeprefix(COSINE).removeprefix(":") or None


def _check(query: str, texts: Sequence[str], place: str) -> None:
    if not query.strip():
        raise InvalidInput("query: it is empty")
    if len(query) > MOST_QUERY_CHARACTERS:
        raise InvalidInput(f"query: {len(query)} characters; at most {MOST_QUERY_CHARACTERS}")
    if not texts:
        raise InvalidInput(f"{place}: the list is empty; send at least one")
    if len(texts) > MOST_RERANKED:
        raise TooLarge(f"{place}: {len(texts)}; at most {MOST_RERANKED} are allowed")
    for number, text in enumerate(texts):
        if not text.strip():
            raise InvalidInput(f"{place}[{number}]: it is empty")


def _cut(text: str, most_tokens: int) -> str:
    if len(text) <= most_tokens:  # a token has a character
        return text
    return fit(text, approximate_starts(text), most_tokens, "truncate").parts[0]


def _checked(reranker: Reranker, scores: NDArray[np.floating], count: int) -> NDArray[np.float64]:
    """Scores as they are promised. Raises ProviderWrong for what cannot be right."""
    found = np.asarray(scores, dtype=np.float64)
    if found.shape != (count,):
        raise ProviderWrong(
            f"a wrong answer from {reranker.name}: {found.size} scores for {count} texts"
        )
    wrong = ~((found >= -_SLACK) & (found <= 1 + _SLACK))  # NaN is wrong too
    if wrong.any():
        raise ProviderWrong(
            f"a wrong answer from {reranker.name}: a relevance of {found[wrong][0]}, which is not "
            "from 0 to 1"
        )
    return np.clip(found, 0, 1)
