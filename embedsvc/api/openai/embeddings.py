"""/v1/embeddings, as OpenAI's clients ask for them."""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Literal

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from embedsvc import vocabulary
from embedsvc.api.openai.errors import documented
from embedsvc.api.schema import Answered, Request, TruncatedOut, truncated_out
from embedsvc.core.model import Collection, Matrix, Role, TooLong
from embedsvc.errors import InvalidInput, MissingKey, UnknownProvider
from embedsvc.services.embed import MOST_EMBEDDED, EmbeddedTexts
from embedsvc.services.models import not_found
from embedsvc.services.service import Service

_INLINE = 20_000  # tokens that are read without a detour through a thread

Format = Literal["float", "base64"]


class EmbeddingsIn(Request):
    """Texts, or tokens of cl100k_base, to embed; `user` is ignored."""

    input: str | list[str | int | list[int]]
    model: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    encoding_format: Format | None = None
    dimensions: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    user: str | None = None
    input_type: Role = "document"
    truncate: TooLong = "truncate"


class EmbeddingOut(Answered):
    """A vector of unit length: numbers, or base64 of little-endian 32-bit floats."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Answered):
    """Tokens that the model read, and their price where it is known."""

    prompt_tokens: int
    total_tokens: int
    cost_usd: float | UnsetType = UNSET


class EmbeddingsOut(Answered):
    """Vectors in the order of the texts; `truncated` are those that were not read whole."""

    object: Literal["list"]
    data: list[EmbeddingOut]
    model: str
    usage: EmbeddingUsage
    truncated: list[TruncatedOut] | UnsetType = UNSET


@post(
    "/v1/embeddings",
    operation_id="create_embeddings",
    tags=["openai"],
    status_code=200,
    responses=documented(404, 409, 413, 415, 502, 504),
)
async def embeddings(
    data: JSONBody[EmbeddingsIn], service: NamedDependency[Service]
) -> EmbeddingsOut:
    """Embed texts. Beyond OpenAI's fields, `input_type` says what they are for, and `truncate` what
    becomes of a text that is longer than the model reads.
    """
    texts = await _texts(data.input)
    found = await _embedded(service, data, texts)
    usage = EmbeddingUsage(
        prompt_tokens=found.tokens,
        total_tokens=found.tokens,
        cost_usd=UNSET if found.cost_usd is None else found.cost_usd,
    )
    vectors = _base64(found.rows) if data.encoding_format == "base64" else found.rows.tolist()
    return EmbeddingsOut(
        object="list",
        data=[
            EmbeddingOut(object="embedding", index=index, embedding=vector)
            for index, vector in enumerate(vectors)
        ],
        model=found.model,
        usage=usage,
        truncated=truncated_out(found.truncated),
    )


async def _embedded(service: Service, data: EmbeddingsIn, texts: Sequence[str]) -> EmbeddedTexts:
    try:
        meant = None if data.model is None else await service.models.meant(data.model)
        model, collection = (None, meant) if isinstance(meant, Collection) else (meant, None)
        return await service.embed.embed(
            texts,
            model,
            role=data.input_type,
            dimensions=data.dimensions,
            too_long=data.truncate,
            collection=collection,
        )
    except UnknownProvider as error:
        raise not_found(data.model or "", error.detail) from error
    except MissingKey as error:
        raise InvalidInput(f"model: {error.detail}", code=error.code) from error
    except InvalidInput as error:
        if error.detail.startswith(("input", "dimensions:")):
            raise
        place = "dimensions" if data.dimensions and "dimensions" in error.detail else "model"
        raise InvalidInput(f"{place}: {error.detail}", code=error.code) from error


async def _texts(given: str | list[str | int | list[int]]) -> list[str]:
    """The texts of an input of any kind. Raises InvalidInput naming the place."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(item, int) for item in given):
        return await _decoded([given])
    if len(given) > MOST_EMBEDDED:
        raise InvalidInput(f"input: {len(given)} texts; at most {MOST_EMBEDDED} are allowed")
    texts = [item for item in given if isinstance(item, str)]
    if len(texts) == len(given):
        return texts
    return await _decoded(given)


async def _decoded(given: Sequence[object]) -> list[str]:
    """The texts of lists of tokens."""
    lists = []
    for number, tokens in enumerate(given):
        if not isinstance(tokens, list):
            raise InvalidInput(
                f"input[{number}]: texts, tokens and lists of tokens are mixed; send one kind"
            )
        if not tokens:
            raise InvalidInput(f"input[{number}]: it is empty")
        lists.append(tokens)
    if sum(map(len, lists)) <= _INLINE:
        return [vocabulary.decode(tokens) for tokens in lists]
    return await asyncio.to_thread(lambda: [vocabulary.decode(tokens) for tokens in lists])


def _base64(rows: Matrix) -> list[str]:
    return [b64encode(row).decode("ascii") for row in rows.astype("<f4", copy=False)]


ROUTES = [embeddings]
