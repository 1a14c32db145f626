"""Commands that look at a collection as a whole: near duplicates, and topics."""

import json
from pathlib import Path

import click

from embedsvc.terminal import (
    Json,
    filter_option,
    home_option,
    json_option,
    say,
    where,
    with_client,
)

_collection = click.option("-c", "--collection", default="default", show_default=True)


@click.command()
@_collection
@click.option(
    "-t", "--threshold", type=float, help="Share of their text, 0.3 to 1.  [default: 0.7]"
)
@click.option("-n", "--limit", type=int, help="Groups to show.  [default: 100]")
@filter_option
@home_option
@json_option
@click.pass_obj
def duplicates(
    options: Json,
    collection: str,
    threshold: float | None,
    limit: int | None,
    filters: tuple[str, ...],
    home_: Path | None,
    json_: bool,
) -> None:
    """Find documents whose texts are the same, or nearly; the oldest of each group comes first."""
    asked = _given(threshold=threshold, limit=limit, filter=where(filters))
    found = with_client(options, home_, lambda client: client.duplicates(collection, **asked))
    if json_ or options["json"]:
        say(json.dumps(found))
        return
    for group in found["groups"]:
        click.secho(group["keep"], bold=True)
        for document in group["documents"][1:]:
            say(f"  {document['id']}  {_likeness(document['id'], group['pairs'])}")
        if group["size"] > len(group["documents"]):
            say(f"  and {group['size'] - len(group['documents'])} more")
    say(
        f"{_counted(found['total'], 'group')} among {_counted(found['documents'], 'document')}; "
        f"{_counted(found['redundant'], 'document')} could go"
    )
    if not found["complete"]:
        say("there are more likely pairs than were compared: narrow them by a filter")


@click.command()
@_collection
@click.option("-k", "--clusters", type=int, help="How many; chosen from the data if left out.")
@click.option("--terms", type=int, help="Words of each topic.  [default: 8]")
@click.option("--examples", type=int, help="Documents of each topic.  [default: 3]")
@filter_option
@home_option
@json_option
@click.pass_obj
def topics(
    options: Json,
    collection: str,
    clusters: int | None,
    terms: int | None,
    examples: int | None,
    filters: tuple[str, ...],
    home_: Path | None,
    json_: bool,
) -> None:
    """Show what the documents are about, in groups named by their words."""
    asked = _given(clusters=clusters, terms=terms, examples=examples, filter=where(filters))
    found = with_client(options, home_, lambda client: client.topics(collection, **asked))
    if json_ or options["json"]:
        say(json.dumps(found))
        return
    for number, topic in enumerate(found["topics"], start=1):
        click.secho(f"{number}. {topic['label']}", bold=True, nl=False)
        say(f"  {_counted(topic['size'], 'document')}, {topic['share']:.0%}")
        say(f"   {', '.join(term['term'] for term in topic['terms'])}")
        for one in topic["documents"]:
            title = f"  {one['title']}" if one["title"] else ""
            say(f"   {one['score']:.3f}  {one['id']}{title}")
    told = (
        f"{_counted(len(found['topics']), 'topic')} of {_counted(found['documents'], 'document')}"
    )
    if found["sampled"] + found["unassigned"] < found["documents"]:
        told += f", made from a sample of {found['sampled']}"
    say(told + (f"; {found['unassigned']} in none" if found["unassigned"] else ""))


COMMANDS = (duplicates, topics)


def _given(**values: object) -> Json:
    return {name: value for name, value in values.items() if value is not None}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _likeness(document: str, pairs: list[Json]) -> str:
    """How a document is like the one that it is linked with, an older one if there is."""
    mine = [pair for pair in pairs if document in pair["ids"]]
    if not mine:
        return ""
    pair = min(mine, key=lambda pair: pair["ids"].index(document) == 0)
    other = next(one for one in pair["ids"] if one != document)
    cosine = f", cosine {pair['cosine']:.3f}" if "cosine" in pair else ""
    if pair["kind"] == "exact":
        return f"the same text as {other}{cosine}"
    return f"shares {pair['overlap']:.0%} with {other}{cosine}"
