"""Amazon Bedrock: bedrock:eu.amazon.nova-lite-v1:0, in the region of AWS_REGION.

boto3 waits in threads, and LangChain has nothing else for Bedrock: each stream has its own thread.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from botocore.eventstream import ParserError
from langchain_aws import ChatBedrockConverse
from urllib3.exceptions import HTTPError, ReadTimeoutError

from embedsvc.chat._beside import Put, in_thread
from embedsvc.chat._langchain import given, streamed_in_thread
from embedsvc.chat._named import named, untaken
from embedsvc.chat._remote import Asking, RemoteModel, taken
from embedsvc.chat._sockets import Call, can_hang_up
from embedsvc.chat._text import turns
from embedsvc.core.spec import Spec
from embedsvc.errors import InvalidInput
from embedsvc.failures import late, shown, unreachable, wrong
from embedsvc.ports import Delta
from embedsvc.settings import Settings
from embedsvc.vendors.bedrock import (
    bedrock_client,
    bedrock_destination,
    close_client,
    secrets_of,
    translated,
)

AT_ONCE = 64
"""Streams at the same time; more wait for one to end."""


def destination(spec: Spec, settings: Settings) -> str | None:
    """Amazon's host for the region, unless another address is set."""
    del spec
    return bedrock_destination(settings)


def create(spec: Spec, settings: Settings) -> RemoteModel:
    """A model of Bedrock."""
    asked = named(spec)
    client = bedrock_client(settings, AT_ONCE)
    can_hang_up(client)
    try:
        model = ChatBedrockConverse(
            model=spec.model,
            client=client,
            bedrock_client=client,  # never used: else one more is made
            disable_streaming=False,  # else it is for models that LangChain has not heard of
        )
    except ValueError as error:
        raise InvalidInput(f"{spec}: {shown(str(error))}") from error
    threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="bedrock")
    secrets = secrets_of(settings)

    def speak(asking: Asking) -> AsyncGenerator[Delta, None]:
        messages, options = turns(asking.prompt), given(taken(asking))
        call = Call()

        def work(put: Put, gone: threading.Event) -> None:
            with call.begun():
                streamed_in_thread(model, messages, options, put, lambda: not gone.is_set())

        return in_thread(threads, work, call.hang_up)

    def translate(error: Exception) -> Exception | None:
        if isinstance(error, ReadTimeoutError):
            return late("bedrock")
        if isinstance(error, HTTPError | ConnectionError):  # the latter is LangChain's, at its end
            return unreachable("bedrock", error, secrets)
        if isinstance(error, ParserError):
            return wrong("bedrock", error, secrets=secrets)
        return translated(error, secrets)

    async def close() -> None:
        threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(close_client, client)

    profile = model.profile
    return RemoteModel(asked.told(profile), speak, translate, close, untaken(profile))
