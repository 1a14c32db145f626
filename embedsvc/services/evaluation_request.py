"""What an evaluation is asked for: checked, and its configurations named."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self, TypeVar

from embedsvc.core.filters import parse_filter
from embedsvc.core.fusion import Fusion
from embedsvc.core.model import Chunking
from embedsvc.core.preparing import MOST_ID, check_text
from embedsvc.errors import InvalidInput, TooLarge
from embedsvc.services.candidates import Mode
from embedsvc.services.copies import Otherwise
from embedsvc.services.judging import checked_query
from embedsvc.services.measuring import Qrels
from embedsvc.services.search import Query

DEPTH = 100
MOST_ASKED = 20_000
MOST_QRELS = 1_000_000
MOST_RELEVANCE = 1_000
MOST_CONFIGS = 16
MOST_VALUES = 1_000_000
MOST_SEED = 2**63 - 1


class Named(Protocol):
    """A configuration: it has a name, or can be described."""

    @property
    def name(self) -> str:
        """What it is called; empty when nobody named it."""
        ...

    @property
    def described(self) -> str:
        """What it is, in few words."""
        ...

    def called(self, name: str) -> Self:
        """The same by another name."""
        ...


C = TypeVar("C", bound=Named)


@dataclass(frozen=True, slots=True)
class Config:
    """One way to search. What is left out is as in a plain search of the collection.

    `rerank` is the spec of a reranker or "default". With another embedding, dimensions or chunking
    the documents are copied into a collection of that kind.
    """

    name: str = ""
    mode: Mode | None = None
    fusion: Fusion | None = None
    rerank: str | None = None
    diversity: float | None = None
    per_document: int | None = None
    filter: Mapping[str, Any] | None = None
    embedding: str | None = None
    dimensions: int | None = None
    chunking: Chunking | None = None

    @property
    def other(self) -> Otherwise:
        """How its documents differ from those of the collection."""
        return Otherwise(self.embedding, self.dimensions, self.chunking)

    @property
    def described(self) -> str:
        """What it is, such as `hybrid rrf 1:2, rerank`."""
        mode: str = self.mode or "hybrid"
        if (fusion := self.fusion) is not None:
            mode += f" {fusion.method} {fusion.dense:g}:{fusion.lexical:g}"
            mode += f" k={fusion.k}" if fusion.method == "rrf" else ""
        parts = [
            mode,
            "" if self.rerank is None else f"rerank {self.rerank}".removesuffix(" default"),
            "" if self.diversity is None else f"diversity {self.diversity:g}",
            "" if self.per_document is None else f"{self.per_document} per document",
            "" if self.filter is None else "filtered",
            *described(self.other),
        ]
        return ", ".join(part for part in parts if part)

    def called(self, name: str) -> "Config":
        """The same by another name."""
        return replace(self, name=name)

    def query(self, text: str, limit: int) -> Query:
        """The search for a text: the best chunk of each document, unless it says otherwise."""
        return Query(
            text=text,
            limit=limit,
            where=None if self.filter is None else parse_filter(self.filter),
            per_document=self.per_document or 1,
            mode=self.mode,
            fusion=self.fusion or Fusion(),
            rerank=self.rerank,
            diversity=self.diversity,
        )


DEFAULT_CONFIGS = (Config(mode="dense"), Config(mode="lexical"), Config(mode="hybrid"))


@dataclass(frozen=True, slots=True)
class Asked:
    """A query of an evaluation."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Qrel:
    """How well a document answers a query; 0 is not at all."""

    query_id: str
    document_id: str
    relevance: int


@dataclass(frozen=True, slots=True)
class Request:
    """What to evaluate; without `qrels` by the judgements that are stored for the collection."""

    collection: str
    queries: Sequence[Asked] = ()
    qrels: Sequence[Qrel] | None = None
    configs: Sequence[Config] = ()
    metrics: Sequence[str] | None = None
    limit: int = DEPTH
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """What is kept of a request: all but its queries and judgements, which are counted."""

    configs: Sequence[Config]
    metrics: Sequence[str]
    limit: int
    seed: int
    queries: int
    qrels: int
    subject: Literal["search"] = "search"


def named(configs: Sequence[C]) -> list[C]:
    """The configurations, those without a name called after what they are."""
    if len(configs) > MOST_CONFIGS:
        raise TooLarge(f"configs: {len(configs)}; at most {MOST_CONFIGS} are allowed")
    taken: set[str] = set()
    for number, config in enumerate(configs):
        name = config.name
        check_text(f"configs[{number}].name", name)
        if len(name) > MOST_ID or name != name.strip():
            raise InvalidInput(
                f"configs[{number}].name: {name[:80]!r}; use 1 to {MOST_ID} characters, with no "
                "space around them"
            )
        if name and name in taken:
            raise InvalidInput(f"configs[{number}].name: {name!r} comes twice; name them apart")
        taken.add(name)
    named = []
    for config in configs:
        named.append(config if config.name else config.called(_free(config, taken)))
        taken.add(named[-1].name)
    return named


def _free(config: Named, taken: Set[str]) -> str:
    """A name for a configuration that no other has."""
    name = words = config.described[:MOST_ID]
    number = 2
    while name in taken:
        name = f"{words} ({number})"
        number += 1
    return name


def described(other: Otherwise) -> list[str]:
    """How the documents of a configuration differ, in words; empty when they do not."""
    cut = other.chunking
    parts = [
        other.embedding or "",
        "" if other.dimensions is None else f"{other.dimensions} dimensions",
        "" if cut is None else f"chunks of {cut.size}" + f"-{cut.overlap}" * bool(cut.overlap),
    ]
    return [part for part in parts if part]


def check_seed(seed: int) -> None:
    """Raises InvalidInput."""
    if not 0 <= seed <= MOST_SEED:
        raise InvalidInput(f"seed: {seed}; use 0 to {MOST_SEED}")


def check_size(queries: int, configs: int, metrics: int) -> None:
    """Refuse what gives more values than a result holds. Raises InvalidInput."""
    values = queries * configs * metrics
    if values > MOST_VALUES:
        raise InvalidInput(
            f"queries: {queries} with a judgement in {configs} configurations by {metrics} metrics "
            f"are {values} values; at most {MOST_VALUES} are allowed: send fewer metrics, "
            "configurations or queries, or several evaluations"
        )


def texts_of(queries: Sequence[Asked]) -> dict[str, str]:
    """The texts of the queries by id. Raises InvalidInput, TooLarge."""
    if not queries:
        raise InvalidInput("queries: the list is empty; send at least one")
    if len(queries) > MOST_ASKED:
        raise TooLarge(f"queries: {len(queries)}; at most {MOST_ASKED} are allowed")
    texts: dict[str, str] = {}
    for number, query in enumerate(queries):
        place = f"queries[{number}]"
        if not query.id:
            raise InvalidInput(f"{place}.id: it is empty")
        check_text(f"{place}.id", query.id)
        if query.id in texts:
            raise InvalidInput(f"{place}.id: {query.id[:80]!r} comes twice", code="duplicate_id")
        texts[query.id] = checked_query(query.text, f"{place}.text")
    return texts


def relevances(texts: Mapping[str, str], qrels: Sequence[Qrel]) -> Qrels:
    """Relevance by query and document, in the order of the queries. Raises InvalidInput."""
    if not qrels:
        raise InvalidInput("qrels: the list is empty; send at least one")
    if len(qrels) > MOST_QRELS:
        raise TooLarge(f"qrels: {len(qrels)}; at most {MOST_QRELS} are allowed")
    found: dict[str, dict[str, int]] = {query: {} for query in texts}
    for number, one in enumerate(qrels):
        place = f"qrels[{number}]"
        if one.query_id not in found:
            raise InvalidInput(f"{place}.query_id: no query has the id {one.query_id[:80]!r}")
        if not one.document_id or len(one.document_id) > MOST_ID:
            raise InvalidInput(
                f"{place}.document_id: {len(one.document_id)} characters; use 1 to {MOST_ID}"
            )
        check_text(f"{place}.document_id", one.document_id)
        if not 0 <= one.relevance <= MOST_RELEVANCE:
            raise InvalidInput(f"{place}.relevance: {one.relevance}; use 0 to {MOST_RELEVANCE}")
        if one.document_id in found[one.query_id]:
            raise InvalidInput(
                f"{place}: {one.document_id[:80]!r} is judged twice for {one.query_id[:80]!r}",
                code="duplicate_id",
            )
        found[one.query_id][one.document_id] = one.relevance
    return {query: documents for query, documents in found.items() if documents}


def told_of(queries: int, judged: Qrels) -> list[str]:
    """What the figures do not tell of the queries."""
    told = []
    if unjudged := queries - len(judged):
        have, are = ("query has", "is") if unjudged == 1 else ("queries have", "are")
        told.append(f"{unjudged} {have} no judgement and {are} not asked")
    if hopeless := sum(not any(documents.values()) for documents in judged.values()):
        has = "query has" if hopeless == 1 else "queries have"
        counts = "counts" if hopeless == 1 else "count"
        told.append(f"{hopeless} {has} no relevant document and {counts} 0")
    return told
