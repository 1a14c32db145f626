"""Google's Gemini models, through the Gemini API and through Vertex AI."""

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from google.genai import Client
from google.genai.errors import APIError
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_google_genai._common import GoogleGenerativeAIError

from embedsvc.chat._langchain import Counted, as_langchain, given, unheard
from embedsvc.chat._line import Line
from embedsvc.chat._named import Named, untaken
from embedsvc.chat._remote import Asking, RemoteModel, taken
from embedsvc.chat._text import turns
from embedsvc.core.model import Message
from embedsvc.errors import ProviderRejected
from embedsvc.ports import Delta
from embedsvc.settings import Settings
from embedsvc.vendors.google import http_options, refine, translated

_LOGGER = "langchain_google_genai.chat_models"


def create_from(
    asked: Named,
    settings: Settings,
    url: str,
    client: Mapping[str, Any],
    model: Mapping[str, Any],
) -> RemoteModel:
    """A model at `url` from the arguments of the SDK's client and of LangChain's model."""
    logging.getLogger(_LOGGER).setLevel(logging.ERROR)  # an empty answer is an error of ours
    provider = asked.spec.provider
    wraps = (GoogleGenerativeAIError, APIError)
    line = Line(provider, settings, url, refine=refine, wraps=wraps)
    made = ChatGoogleGenerativeAI(model=asked.spec.model, max_retries=1, **model)
    made.client = Client(http_options=http_options(line, url, settings), **client)
    made.temperature = None  # its default is not the models'

    def speak(asking: Asking) -> AsyncGenerator[Delta, None]:
        messages = turns(asking.prompt)
        options = given(taken(asking), max_tokens="max_output_tokens")
        return line.streamed(lambda: _streamed(made, messages, options, provider), unheard)

    def translate(error: Exception) -> Exception | None:
        return translated(line, error)

    profile = made.profile
    return RemoteModel(asked.told(profile), speak, translate, line.aclose, untaken(profile))


async def _streamed(
    model: ChatGoogleGenerativeAI,
    messages: Sequence[Message],
    options: Mapping[str, Any],
    provider: str,
) -> AsyncGenerator[Delta, None]:
    counted = Counted()
    async for chunk in model.astream(as_langchain(messages), **options):
        feedback = chunk.response_metadata.get("prompt_feedback") or {}
        if reason := feedback.get("block_reason"):
            word = getattr(reason, "value", reason)
            raise ProviderRejected(f"{provider} does not answer this prompt: {word}")
        yield counted.delta(chunk)
