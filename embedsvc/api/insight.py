"""/v1/collections/{c}/duplicates and /v1/collections/{c}/topics."""

from datetime import datetime
from typing import Annotated

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, UnsetType

from embedsvc.api.errors import documented
from embedsvc.api.schema import Answered, JsonObject, Request, time_of
from embedsvc.core.filters import Filter, parse_filter
from embedsvc.services.duplicates import Group, Kind
from embedsvc.services.service import Service
from embedsvc.services.topics import MOST_CLUSTERS, Topic


class DuplicatesIn(Request):
    """How much of their text documents must share, from 0.3 to 1; how many groups to tell."""

    threshold: Annotated[float, Meta(ge=0.3, le=1)] = 0.7
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100
    filter: JsonObject | None = None


class DuplicateOut(Answered):
    """A document of a group."""

    id: str
    title: str | None
    created_at: datetime


class PairOut(Answered):
    """Two documents: how much of their text they share, and how near their meanings are.

    `exact`: the texts are the same; `near`: they share as much as was asked for.
    """

    ids: list[str]
    kind: Kind
    overlap: float
    cosine: float | UnsetType = UNSET


class GroupOut(Answered):
    """Documents linked by pairs, the oldest first; `keep` is its id.

    The first hundred of `size` are listed, with the pairs among them.
    """

    kind: Kind
    size: int
    keep: str
    documents: list[DuplicateOut]
    pairs: list[PairOut]


class DuplicatesOut(Answered):
    """The largest of `total` groups, among so many documents.

    `redundant` documents could go if one of each group is kept. `complete` is false where there
    were more likely pairs than are compared.
    """

    groups: list[GroupOut]
    total: int
    redundant: int
    documents: int
    complete: bool
    version: int
    took_ms: float


class TopicsIn(Request):
    """How many topics (chosen from the data if left out), and what to tell of each."""

    clusters: Annotated[int, Meta(ge=1, le=MOST_CLUSTERS)] | None = None
    terms: Annotated[int, Meta(ge=1, le=50)] = 8
    examples: Annotated[int, Meta(ge=0, le=100)] = 3
    filter: JsonObject | None = None


class TermOut(Answered):
    """A word, and its weight beside the topic's most telling one."""

    term: str
    weight: float


class ExampleOut(Answered):
    """A document, and its cosine to the centre of its topic."""

    id: str
    title: str | None
    score: float


class TopicOut(Answered):
    """A group of documents, named by its words, with those nearest to its centre."""

    label: str
    terms: list[TermOut]
    size: int
    share: float
    documents: list[ExampleOut]


class TopicsOut(Answered):
    """The topics, the largest first.

    `unassigned` documents have no vectors, or no other document near them. `sampled` documents
    shaped the topics, and all others went to the nearest. `separation` is the silhouette, -1 to 1.
    """

    topics: list[TopicOut]
    documents: int
    unassigned: int
    sampled: int
    version: int
    took_ms: float
    separation: float | UnsetType = UNSET


@post(
    "/v1/collections/{collection:str}/duplicates",
    operation_id="duplicates",
    tags=["insight"],
    status_code=200,
    responses=documented(404, 413, 415),
)
async def duplicates(
    collection: FromPath[str], data: JSONBody[DuplicatesIn], service: NamedDependency[Service]
) -> DuplicatesOut:
    """Documents whose texts are the same, or nearly."""
    where = _where(data.filter)
    found = await service.duplicates.find(collection, data.threshold, data.limit, where)
    return DuplicatesOut(
        groups=[_group_out(group) for group in found.groups],
        total=found.total,
        redundant=found.redundant,
        documents=found.documents,
        complete=found.complete,
        version=found.version,
        took_ms=found.took_ms,
    )


@post(
    "/v1/collections/{collection:str}/topics",
    operation_id="topics",
    tags=["insight"],
    status_code=200,
    responses=documented(404, 413, 415),
)
async def topics(
    collection: FromPath[str], data: JSONBody[TopicsIn], service: NamedDependency[Service]
) -> TopicsOut:
    """What the documents are about, in groups that are named by their words."""
    where = _where(data.filter)
    found = await service.topics.find(collection, data.clusters, data.terms, data.examples, where)
    return TopicsOut(
        topics=[_topic_out(topic) for topic in found.topics],
        documents=found.documents,
        unassigned=found.unassigned,
        sampled=found.sampled,
        separation=UNSET if found.separation is None else found.separation,
        version=found.version,
        took_ms=found.took_ms,
    )


def _where(given: JsonObject | None) -> Filter | None:
    return None if given is None else parse_filter(given)


def _group_out(group: Group) -> GroupOut:
    return GroupOut(
        kind=group.kind,
        size=group.size,
        keep=group.keep,
        documents=[
            DuplicateOut(id=one.id, title=one.title, created_at=time_of(one.created_at))
            for one in group.documents
        ],
        pairs=[
            PairOut(
                ids=list(pair.ids),
                kind=pair.kind,
                overlap=pair.overlap,
                cosine=UNSET if pair.cosine is None else pair.cosine,
            )
            for pair in group.pairs
        ],
    )


def _topic_out(topic: Topic) -> TopicOut:
    return TopicOut(
        label=topic.label,
        terms=[TermOut(term=term.term, weight=term.weight) for term in topic.terms],
        size=topic.size,
        share=topic.share,
        documents=[
            ExampleOut(id=one.document.id, title=one.document.title, score=one.score)
            for one in topic.documents
        ],
    )


ROUTES = [duplicates, topics]
