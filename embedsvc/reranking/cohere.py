"""Cohere: cohere:rerank-v3.5; any server of its protocol at CO_API_URL."""

from collections.abc import Sequence

import cohere
import httpx
import numpy as np
from cohere.core.api_error import ApiError
from numpy.typing import NDArray

from embedsvc.core.spec import Spec, refuse_options
from embedsvc.errors import InvalidInput
from embedsvc.failures import late, of_status, unreachable, wrong
from embedsvc.http import http_client
from embedsvc.ports import Calls
from embedsvc.providers import checked_url, destination_of, key
from embedsvc.reranking._answers import in_order
from embedsvc.settings import Settings

URL = "https://api.cohere.com"
CALLS = Calls(texts=1_000, at_once=4, remote=True)
"""Cohere advises against more documents in one request."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """The host of the server, unless it is on this machine."""
    del spec
    return destination_of(_url(settings))


def create(spec: Spec, settings: Settings) -> "CohereReranker":
    """A model of Cohere. Raises MissingKey without a key."""
    refuse_options(spec)
    if not spec.model:
        raise InvalidInput("cohere: which model? write cohere:rerank-v3.5")
    url = _url(settings)
    found = settings.variable("CO_API_KEY")
    needed = found is None and destination_of(url) is not None
    secret = key("COHERE_API_KEY", settings, needed=needed) or found or "none"
    http = http_client(url, settings)
    client = cohere.AsyncClientV2(secret, base_url=url, httpx_client=http)
    return CohereReranker(spec, client, http, secret)


class CohereReranker:
    """A model behind Cohere's own client."""

    def __init__(
        self, spec: Spec, client: "cohere.AsyncClientV2", http: httpx.AsyncClient, secret: str
    ) -> None:
        self.name = str(spec)
        self.calls = CALLS
        self._model = spec.model
        self._client = client
        self._http = http
        self._secrets = [secret]

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.floating]:
        """One request. Raises ProviderError."""
        try:
            answer = await self._client.rerank(
                model=self._model,
                query=query,
                documents=list(texts),
                request_options={"max_retries": 0},  # services/retrying.py repeats
            )
            scores = [(item.index, item.relevance_score) for item in answer.results]
        except ApiError as error:
            said = error.body.get("message") if isinstance(error.body, dict) else error.body
            if error.status_code is None or error.status_code < 400:
                raise wrong("cohere", str(said), secrets=self._secrets) from error
            raise of_status(
                "cohere", error.status_code, str(said), error.headers, self._secrets
            ) from error
        except httpx.TimeoutException as error:
            raise late("cohere") from error
        except httpx.HTTPError as error:
            raise unreachable("cohere", error, self._secrets) from error
        except (AttributeError, TypeError, ValueError) as error:
            raise wrong("cohere", error, secrets=self._secrets) from error
        return in_order(scores, len(texts), self.name)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _url(settings: Settings) -> str:
    return checked_url(settings.variable("CO_API_URL") or URL, "CO_API_URL")
