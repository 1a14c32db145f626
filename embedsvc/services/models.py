"""Every model that is configured, without loading one or calling a provider, and what names mean.

An existing client names a model as its own service does. What is meant is found here: a spec, the
bare name of a model that is configured or lies in the models folder, a model of OpenAI's own, or
`collection:NAME`. For embeddings that is what the collection is embedded with; for a talk what
answers from it, which is the default or the model of `collection:NAME/provider:model`.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedsvc.core.model import Collection, Space
from embedsvc.core.spec import Spec, parse_spec
from embedsvc.errors import EmbedsvcError, InvalidInput, NotFound, UnknownProvider
from embedsvc.plugins import Kind
from embedsvc.providers import OPENAI_SERVERS
from embedsvc.services.collections import checked_name
from embedsvc.services.embedding import Embedders
from embedsvc.services.llms import EXTRACTIVE, links
from embedsvc.services.rerank import COSINE, cosine_embedding
from embedsvc.settings import Settings
from embedsvc.store.store import Store

Type = Literal["embedding", "chat", "rerank", "collection"]
COLLECTION = "collection:"
OPENAI_NAMES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")

_PAGE = 100
_MOST_NAMES = 1_000
_LICENCE = re.compile(r"^licen[sc]e:[ \t]*[\"']?([^\"'#\s]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class About:
    """What an adapter says of a model: where texts are sent (None: nowhere), and its licence."""

    sends_data_to: str | None = None
    licence: str | None = None


Tell = Callable[[Kind, Spec], About]
"""Loads no model and calls nobody, but may import an adapter, so it is called in a thread."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model or collection that requests can name. `created_at` is in microseconds, 0: unknown."""

    id: str
    type: Type
    sends_data_to: str | None
    default: bool = False
    dimensions: int | None = None
    max_tokens: int | None = None
    licence: str | None = None
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class Speaking:
    """Who shall speak: models by their spec (None: the default), from a collection or plainly."""

    collection: Collection | None
    spec: str | None


class Models:
    """What there is, and what a name means."""

    def __init__(self, settings: Settings, store: Store, embedders: Embedders, tell: Tell) -> None:
        self._settings = settings
        self._store = store
        self._embedders = embedders
        self._tell = tell
        self._meant: dict[str, str] = {}  # bare names that were found

    async def list(self) -> list[Model]:
        """The defaults first, then other embeddings of collections, then the collections."""
        collections = [collection async for collection in self._collections()]
        settings = self._settings
        made = [await self._embedding(settings.embedding, collections, default=True)]
        for spec in sorted({c.embedding for c in collections} - {settings.embedding}):
            made.append(await self._embedding(spec, collections))
        for link in links(settings.chat):
            made.append(await self._other("chat", link))
        made.append(await self._other("rerank", settings.rerank))
        told = {model.id: model for model in made if model.type == "embedding"}
        for collection in collections:
            space = (await self._store.space(collection.space_id)).space
            made.append(_of_collection(collection, space, told[collection.embedding]))
        return made

    async def get(self, name: str) -> Model:
        """The model of that id, or bare name. Raises NotFound."""
        found = await self.list()
        for model in found:
            if model.id == name:
                return model
        for model in found:
            if model.type != "collection" and _is_bare(name, model.id):
                return model
        raise not_found(name)

    async def meant(self, name: str) -> str | Collection:
        """The embedding spec, or collection, that a client means. Raises NotFound.

        A spec is not looked at further: it may still name a model that does not exist.
        """
        if name.startswith(COLLECTION):
            return await self._collection(name.removeprefix(COLLECTION))
        if name == self._settings.embedding or ":" in name.partition("?")[0]:
            return name
        if name not in self._meant:
            if len(self._meant) >= _MOST_NAMES:
                self._meant.clear()
            self._meant[name] = await self._bare(name)
        return self._meant[name]

    async def meant_chat(self, name: str) -> Speaking:
        """Who a client means to talk with. Raises NotFound, InvalidInput.

        A spec is not looked at further: it may still name a model that does not exist.
        """
        if not name.startswith(COLLECTION):
            return Speaking(None, await self._chain(name))
        collection, slash, spec = name.removeprefix(COLLECTION).partition("/")
        found = await self._collection(collection)
        return Speaking(found, await self._chain(spec) if slash else None)

    async def _collection(self, name: str) -> Collection:
        try:
            return await self._store.collection(checked_name(name))
        except (NotFound, InvalidInput) as error:
            raise not_found(f"{COLLECTION}{name}", error.detail) from error

    async def _chain(self, names: str) -> str:
        """The specs of models that a chain names."""
        return ",".join([await self._chat(name) for name in links(names)])

    async def _chat(self, name: str) -> str:
        """The spec of a language model, perhaps named without its provider."""
        if name == EXTRACTIVE or ":" in name.partition("?")[0]:
            return name
        for link in links(self._settings.chat):
            if _is_bare(name, link):
                return link
        try:  # such as `echo`, which needs no model
            await asyncio.to_thread(self._tell, "chat", parse_spec(name))
        except UnknownProvider as error:
            raise not_found(name) from error
        except EmbedsvcError as error:  # such as a package that is not installed
            raise not_found(name, error.detail) from error
        return name

    async def _bare(self, name: str) -> str:
        """The spec of a name without a provider."""
        if _is_bare(name, self._settings.embedding):
            return self._settings.embedding
        async for collection in self._collections():
            if _is_bare(name, collection.embedding):
                return collection.embedding
        if name in OPENAI_NAMES:
            if self._settings.variable(OPENAI_SERVERS["openai"].key_variable):
                return f"openai:{name}"
            raise not_found(name, "it is a model of OpenAI, and OPENAI_API_KEY is not set")
        for spec in (name, f"local:{name.rsplit('/', 1)[-1]}"):  # `hash`, or a folder's name
            try:
                await self._embedders.backend(spec)
            except UnknownProvider:
                continue
            return spec
        raise not_found(name)

    async def _embedding(
        self, spec: str, collections: Sequence[Collection], *, default: bool = False
    ) -> Model:
        about = await self._about("embedding", spec)
        space = await self._space(spec, about, collections)
        return Model(
            id=spec,
            type="embedding",
            sends_data_to=about.sends_data_to,
            default=default,
            dimensions=None if space is None else space.dimensions,
            max_tokens=None if space is None else space.max_tokens,
            licence=about.licence,
        )

    async def _space(
        self, spec: str, about: About, collections: Sequence[Collection]
    ) -> Space | None:
        """What is known of a model already; a new one is asked only where that is reading files."""
        if (built := self._embedders.built(spec)) is not None:
            return built.space
        for collection in collections:
            if collection.embedding == spec:
                return (await self._store.space(collection.space_id)).space
        if about.sends_data_to is not None or parse_spec(spec).provider in OPENAI_SERVERS:
            return None
        try:
            return (await self._embedders.backend(spec)).space
        except EmbedsvcError:
            return None

    async def _other(self, kind: Literal["chat", "rerank"], spec: str) -> Model:
        inner = spec
        plugin: Kind = "chat" if kind == "chat" else "reranking"
        if kind == "rerank" and parse_spec(spec).provider == COSINE:
            inner, plugin = cosine_embedding(spec) or self._settings.embedding, "embedding"
        about = About() if spec == EXTRACTIVE else await self._about(plugin, inner)
        return Model(
            id=spec,
            type=kind,
            sends_data_to=about.sends_data_to,
            default=True,
            licence=about.licence,
        )

    async def _about(self, kind: Kind, spec: str) -> About:
        try:
            return await asyncio.to_thread(self._tell, kind, parse_spec(spec))
        except EmbedsvcError:  # such as a package that is not installed any more
            return About(sends_data_to="an unknown place")

    async def _collections(self) -> AsyncIterator[Collection]:
        after: str | None = ""
        while after is not None:
            found = await self._store.collections(after, _PAGE)
            for collection in found:
                yield collection
            after = found[-1].name if len(found) == _PAGE else None


def licence_of(card: Path | None) -> str | None:
    """The licence in the front matter of a model card; None where it does not say."""
    try:
        text = "" if card is None else card.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if not text.startswith("---"):
        return None
    found = _LICENCE.search(text[3:].partition("\n---")[0])
    return found.group(1) if found is not None else None


def not_found(name: str, why: str = "") -> NotFound:
    """A model that does not exist, as OpenAI calls it."""
    hint = why or "see /v1/models, or name one as provider:model"
    return NotFound(f"there is no model {name[:120]!r}: {hint}", code="model_not_found")


def _of_collection(collection: Collection, space: Space, embedding: Model) -> Model:
    return Model(
        id=f"{COLLECTION}{collection.name}",
        type="collection",
        sends_data_to=embedding.sends_data_to,
        dimensions=space.dimensions,
        max_tokens=space.max_tokens,
        licence=embedding.licence,
        created_at=collection.created_at,
    )


def _is_bare(name: str, spec: str) -> bool:
    """Whether a name is that of a spec's model, perhaps with its owner before it."""
    try:
        model = parse_spec(spec).model
    except InvalidInput:
        return False
    return bool(model) and (name == model or name.rsplit("/", 1)[-1] == model)
