"""Servers that rerank in the shape of Jina: Jina's own, infinity, vLLM, LocalAI, and TEI's.

Some give what the model says, which may be any number, in the place of a relevance from 0 to 1.
LocalAI always does, so its scores go through a sigmoid; those of another server do so from the
first one on that is outside 0 to 1. TEI is asked for relevances. The order stays as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from embedsvc.core.spec import Spec, refuse_options
from embedsvc.errors import InvalidInput
from embedsvc.failures import late, of_status, unreachable, wrong
from embedsvc.http import http_client
from embedsvc.ports import Calls
from embedsvc.providers import OPENAI_SERVERS, Server, base_url, checked_url, destination_of, key
from embedsvc.reranking._answers import in_order
from embedsvc.settings import Settings

JINA = Server("https://api.jina.ai/v1", "JINA_BASE_URL", "JINA_API_KEY", True)
CALLS = Calls(texts=1_000, at_once=4, remote=True)
OTHER_CALLS = Calls(texts=32, at_once=4, remote=True)
"""Servers on one machine take less: text-embeddings-inference 32 texts."""

_SLACK = 1e-3
"""How far rounding may take a relevance out of 0 to 1."""


class _Scored(msgspec.Struct):
    index: int
    relevance_score: float


class _Answer(msgspec.Struct):
    results: list[_Scored]


class _Rank(msgspec.Struct):
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a server gets, beside the query and the texts."""

    url: str
    model: str
    tei: bool
    secret: str | None


def destination(spec: Spec, settings: Settings) -> str | None:
    """The host of the server, unless it is on this machine."""
    return destination_of(_url(spec, settings))


def create(spec: Spec, settings: Settings) -> "JinaReranker":
    """A model of the server that `spec.provider` names. Raises MissingKey without its key."""
    refuse_options(spec)
    tei = spec.provider == "tei"  # it serves one model
    if not spec.model and not tei:
        raise InvalidInput(f"{spec.provider}: which model? write {spec.provider}:MODEL")
    server = _server(spec)
    url = _url(spec, settings)
    secret = key(
        server.key_variable, settings, needed=server.key_needed and destination_of(url) is not None
    )
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    http = http_client(url, settings, headers=headers)
    calls = CALLS if spec.provider == "jina" else OTHER_CALLS
    return JinaReranker(spec, _Asked(f"{url}/rerank", spec.model, tei, secret), calls, http)


class JinaReranker:
    """A model behind such a server."""

    def __init__(self, spec: Spec, asked: _Asked, calls: Calls, http: httpx.AsyncClient) -> None:
        self.name = str(spec)
        self.calls = calls
        self._provider = spec.provider
        self._asked = asked
        self._http = http
        self._raw = spec.provider == "localai"

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.floating]:
        """One request. Raises ProviderError; ProviderRejected for a text that is too long."""
        secrets = [self._asked.secret]
        try:
            answer = await self._http.post(self._asked.url, json=self._body(query, texts))
        except httpx.TimeoutException as error:
            raise late(self._provider) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unreachable(self._provider, error, secrets) from error
        if answer.status_code != 200:
            raise of_status(
                self._provider, answer.status_code, answer.text, answer.headers, secrets
            )
        try:
            scores = self._scores(answer.content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise wrong(self._provider, error, answer.text, secrets) from error
        return self._relevances(in_order(scores, len(texts), self.name))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _body(self, query: str, texts: Sequence[str]) -> dict[str, object]:
        if self._asked.tei:
            return {"query": query, "texts": list(texts), "raw_scores": False, "truncate": False}
        return {
            "model": self._asked.model,
            "query": query,
            "documents": list(texts),
            "top_n": len(texts),
            "return_documents": False,
        }

    def _relevances(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        if not self._asked.tei and ((scores < -_SLACK) | (scores > 1 + _SLACK)).any():
            self._raw = True
        return (1 + np.tanh(scores / 2)) / 2 if self._raw else scores  # the sigmoid

    def _scores(self, content: bytes) -> list[tuple[int, float]]:
        if self._asked.tei:
            ranks = msgspec.json.decode(content, type=list[_Rank])
            return [(rank.index, rank.score) for rank in ranks]
        results = msgspec.json.decode(content, type=_Answer).results
        return [(result.index, result.relevance_score) for result in results]


def _server(spec: Spec) -> Server:
    return JINA if spec.provider == "jina" else OPENAI_SERVERS[spec.provider]


def _url(spec: Spec, settings: Settings) -> str:
    if spec.provider == "jina":
        return checked_url(settings.variable(JINA.url_variable) or JINA.url, JINA.url_variable)
    url = base_url(spec.provider, settings)
    return url.removesuffix("/v1") if spec.provider == "tei" else url
