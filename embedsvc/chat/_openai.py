"""Every server that speaks OpenAI's protocol, through langchain-openai.

Chat models and plain completion models: `?kind=completion` asks for the latter, which those of
OpenAI are by their names.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx
import openai
from langchain_openai import AzureChatOpenAI, AzureOpenAI, ChatOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk

from embedsvc.chat._langchain import finish_of, given, streamed, unheard
from embedsvc.chat._line import Line, broke_off
from embedsvc.chat._named import Named, named, untaken
from embedsvc.chat._remote import Asking, RemoteModel, taken
from embedsvc.chat._text import as_text, messages_of
from embedsvc.core.spec import Spec
from embedsvc.errors import ProviderError, QuotaExhausted
from embedsvc.failures import of_status
from embedsvc.ports import Delta
from embedsvc.providers import AZURE_VERSION, base_url, destination_of, server_key
from embedsvc.settings import Settings

_COMPLETION = re.compile(r"(gpt-3\.5-turbo-instruct|davinci-002|babbage-002)(-.*)?")
_REASONING = re.compile(r"(o\d|gpt-5(?!.*chat))")
_NOT_OF_REASONING = frozenset({"temperature", "max_tokens"})
"""What OpenAI's reasoning models refuse; they have max_completion_tokens instead."""

MOST_STOPS = 4
"""Of one request; others are looked for here."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """The host of the server, unless it is on this machine."""
    return destination_of(base_url(spec.provider, settings))


def create(spec: Spec, settings: Settings) -> RemoteModel:
    """A model of the server that `spec.provider` names."""
    plain = _COMPLETION.fullmatch(spec.model.rsplit("/", 1)[-1])
    asked = named(spec, kind="completion" if plain else "chat", kinds=("chat", "completion"))
    url = base_url(spec.provider, settings)
    return model_at(asked, settings, url, server_key(spec.provider, settings))


def model_at(asked: Named, settings: Settings, url: str, secret: str | None) -> RemoteModel:
    """A model of the server at that address."""
    provider = asked.spec.provider
    line = Line(provider, settings, url, secret=secret, refine=_refine, wraps=(openai.OpenAIError,))
    unused = httpx.Client(trust_env=False)  # for calls that are not async: there are none
    client = _client(asked, settings, url, secret, line.http, unused)
    if not isinstance(client, _Told):
        _pass_chunks_on(client.root_async_client)

    def speak(asking: Asking) -> AsyncGenerator[Delta, None]:
        options = _options(asking)
        if isinstance(client, _Told):
            text = as_text(asking.prompt)
            return line.streamed(lambda: client.completed(text, options), unheard)
        messages = messages_of(asking.prompt)
        return line.streamed(lambda: streamed(client, messages, options, sums=False), unheard)

    def translate(error: Exception) -> Exception | None:
        if type(error) is openai.APIError:  # an error in the middle of a stream
            return _in_stream(provider, error, secret)
        return line.translate(error)

    async def close() -> None:
        await asyncio.to_thread(unused.close)
        await line.aclose()

    profile = _profile(client, asked)
    refused = untaken(profile)
    if refused or _REASONING.match(asked.spec.model.rsplit("/", 1)[-1]):
        refused |= _NOT_OF_REASONING
    return RemoteModel(asked.told(profile), speak, translate, close, refused)


def _profile(client: Any, asked: Named) -> Mapping[str, Any] | None:
    """What LangChain knows of OpenAI's models; of another server's it knows nothing."""
    own = asked.spec.provider == "openai" and isinstance(client, ChatOpenAI)
    return client.profile if own else None


def _client(
    asked: Named,
    settings: Settings,
    url: str,
    secret: str | None,
    http: httpx.AsyncClient,
    unused: httpx.Client,
) -> "ChatOpenAI | AzureChatOpenAI | _Told":
    shared: dict[str, Any] = {
        "model": asked.spec.model,
        "api_key": secret or "none",
        "max_retries": 0,  # services/retrying.py repeats
        "timeout": float(settings.provider_timeout),  # else none
        "http_async_client": http,
        "http_client": unused,
        "openai_proxy": "",  # else one from the environment, which does not go with our client
    }
    chat: dict[str, Any] = {"stream_chunk_timeout": None, "use_responses_api": False}
    if asked.spec.provider == "azure":
        shared["azure_endpoint"] = url
        shared["azure_deployment"] = asked.spec.model
        shared["api_version"] = settings.variable("OPENAI_API_VERSION") or AZURE_VERSION
        return (
            AzureChatOpenAI(**shared, **chat)
            if asked.kind == "chat"
            else _AzureCompletions(**shared)
        )
    shared["base_url"] = url
    return ChatOpenAI(**shared, **chat) if asked.kind == "chat" else _Completions(**shared)


def _pass_chunks_on(client: openai.AsyncOpenAI) -> None:
    """Have the chunks of a chat left as they were sent.

    OpenAI's client makes a model of each, field by field, and LangChain at once a dictionary of
    that again: a third of what a token costs here.
    """
    as_model = client._process_response_data

    def processed(*, data: Any, cast_to: Any, response: Any) -> Any:
        if cast_to is not ChatCompletionChunk or not isinstance(data, dict):
            return as_model(data=data, cast_to=cast_to, response=response)
        for choice in data.get("choices") or ():
            choice["delta"] = choice.get("delta") or {}  # some servers leave it out at the end
        if not _is_usage(data.get("usage")):  # wrong counts are no reason to lose the answer
            data["usage"] = None
        return data

    client._process_response_data = processed  # type: ignore[method-assign]


def _options(asking: Asking) -> dict[str, Any]:
    """Parameters of a call; old and new servers have different names for the most tokens."""
    options = given(taken(asking))
    most = options.pop("max_tokens", None)
    body: dict[str, Any] = {}
    if most is not None:
        newer = "max_tokens" in asking.refused and "max_completion_tokens" not in asking.refused
        body["max_completion_tokens" if newer else "max_tokens"] = most
    if "stream_options" not in asking.refused:
        options["stream_options"] = {"include_usage": True}
    if "stop" in options:
        options["stop"] = options["stop"][:MOST_STOPS]
    return {**options, "extra_body": body} if body else options


def _is_usage(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(found.get(name), int | None)
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )


class _Told:
    """What LangChain's class for completion models leaves out: counts, and the reason of the end.

    It also sends parameters that nobody asked for.
    """

    async_client: Any
    model_name: str

    async def completed(self, text: str, options: dict[str, Any]) -> AsyncGenerator[Delta, None]:
        """How the text goes on."""
        answer = await self.async_client.create(
            model=self.model_name, prompt=text, stream=True, **options
        )
        async for part in answer:
            choice, usage = part.choices[0] if part.choices else None, part.usage
            yield Delta(
                (choice.text or "") if choice else "",
                usage.prompt_tokens if usage else None,
                usage.completion_tokens if usage else None,
                finish_of(choice.finish_reason) if choice else None,
            )


class _Completions(_Told, OpenAI):
    pass


class _AzureCompletions(_Told, AzureOpenAI):
    pass


def _refine(error: ProviderError, status: int, body: Any) -> ProviderError:
    """Which 429 no waiting helps."""
    inner = body.get("error") if isinstance(body, dict) else None
    code = inner.get("code") if isinstance(inner, dict) else None
    if status == 429 and code == "insufficient_quota":
        return QuotaExhausted(error.detail)
    return error


def _in_stream(provider: str, error: openai.APIError, secret: str | None) -> ProviderError:
    code = error.code
    if isinstance(code, int) or (isinstance(code, str) and code.isdecimal()):  # as vLLM has it
        return of_status(provider, int(code), error.message, secrets=[secret])
    return broke_off(provider, error.message, f"{code} {error.type}", [secret])
