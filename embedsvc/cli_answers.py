"""Commands about answers: ask a question, look at what was answered and said before."""

import json
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from embedsvc.errors import InvalidInput, Unavailable
from embedsvc.terminal import (
    Json,
    filter_option,
    home_option,
    json_option,
    say,
    where,
    with_client,
)

_COLOURS = {"verified": "green", "unsupported": "yellow", "not_found": "red"}
_LONGEST_QUOTE = 160
_of_collection = click.option("-c", "--collection", help="Those of this collection alone.")
_limit = click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True)


# -- ask ------------------------------------------------------------------------------------------


@click.command()
@click.argument("question")
@click.option("-c", "--collection", default="default", show_default=True)
@click.option("-m", "--model", help="provider:model, a,b,c, or extractive.")
@click.option("-n", "--limit", type=int, help="Sources to look for.  [default: 8]")
@filter_option
@click.option("--mode", type=click.Choice(["hybrid", "dense", "lexical"]), help="[default: hybrid]")
@click.option("--grounding", type=click.Choice(["normal", "strict"]), help="[default: normal]")
@click.option("--expansion", type=click.Choice(["none", "multi_query", "hyde"]))
@click.option("--system", help="Further instructions for the model.")
@click.option("--temperature", type=float)
@click.option("--max-tokens", type=int)
@click.option("--conversation", metavar="ID", help="Go on with this conversation.")
@click.option("-k", "--keep-on", is_flag=True, help="Go on with the last conversation.")
@click.option("--stream/--no-stream", default=None, help="[default: on a terminal]")
@home_option
@json_option
@click.pass_obj
def ask(
    options: Json,
    /,
    question: str,
    collection: str,
    filters: tuple[str, ...],
    conversation: str | None,
    keep_on: bool,
    stream: bool | None,
    home_: Path | None,
    json_: bool,
    **asked: Any,
) -> None:
    """Answer QUESTION from the documents, with checked citations."""
    as_json = json_ or options["json"]
    if conversation is not None and keep_on:
        raise InvalidInput("--keep-on: --conversation names one already; use one of them")
    body = {name: value for name, value in asked.items() if value is not None}
    if (condition := where(filters)) is not None:
        body["filter"] = condition
    streams = not as_json and (sys.stdout.isatty() if stream is None else stream)

    async def work(client: Any) -> Json:
        known = await _last(client, collection) if keep_on else conversation
        if known is not None:
            body["conversation_id"] = known
        if streams:
            return await _streamed(client, collection, question, body)
        return await client.ask(collection, question, **body)

    found = with_client(options, home_, work)
    if as_json:
        say(json.dumps(found))
        return
    if not streams:
        say(_plain(found["answer"]))
    _show_below(found)


async def _last(client: Any, collection: str) -> str:
    """The conversation of the collection that was used last."""
    found = (await client.conversations(collection, limit=1))["conversations"]
    if not found:
        raise InvalidInput(f"--keep-on: there is no conversation in {collection!r}")
    return str(found[0]["id"])


async def _streamed(client: Any, collection: str, question: str, body: Json) -> Json:
    """Show the text as it comes; the whole answer."""
    async with aclosing(client.ask_stream(collection, question, **body)) as events:
        async for name, data in events:
            if name == "delta":
                click.echo(_plain(data["text"]), nl=False)
            elif name == "done":
                click.echo()
                whole: Json = data
                return whole
    click.echo()
    raise Unavailable("the answer broke off before its end; ask again")


def _show_below(found: Json) -> None:
    """The citations of an answer, what is wrong with it, and how to go on."""
    for citation in found["citations"]:
        _show_citation(citation)
    for claim in found["unsupported"]:
        click.secho(f"  no source says: {_short(claim['text'])}", fg="yellow")
    for told in (*found["warnings"], *found["degraded"]):
        click.secho(told, fg="yellow", err=True)
    if (conversation := found["conversation_id"]) is not None:
        click.secho(f"conversation {conversation}, go on with -k", dim=True, err=True)


def _show_citation(citation: Json) -> None:
    place = citation["document_id"] or "no such source"
    if citation["start"] is not None:
        place += f" {citation['start']}-{citation['end']}"
    say(f"  [{citation['marker']}] {_plain(place)}  ", nl=False)
    click.secho(citation["status"], fg=_COLOURS[citation["status"]], nl=False)
    say(f'  "{_short(citation["quote"])}"' if citation["quote"] else "")


# -- answers --------------------------------------------------------------------------------------


@click.group(invoke_without_command=True)
@_of_collection
@click.option("--state", type=click.Choice(["answered", "no_answer"]))
@click.option("--rating", type=click.Choice(["1", "-1"]))
@_limit
@home_option
@json_option
@click.pass_context
def answers(
    context: click.Context, /, home_: Path | None, json_: bool, limit: int, **wanted: str | None
) -> None:
    """List what was answered, the newest first; show, rate or delete one."""
    options = _inner(context, home_, json_)
    if context.invoked_subcommand is not None:
        return
    asked = {name: value for name, value in wanted.items() if value is not None}
    found = with_client(options, home_, lambda client: client.answers(limit=limit, **asked))
    if options["json"]:
        say(json.dumps(found))
        return
    for one in found["answers"]:
        rating = {1: " +1", -1: " -1", None: ""}[one["rating"]]
        _show_line(one["id"], f"{_time(one)}  {one['collection']}  {one['model']}{rating}")
        say(f"   {_short(one['question'])}")
        say(f"   {_short(one['answer'])}")
    _show_count("answer", found["answers"], found["next_cursor"])


@answers.command("show")
@click.argument("answer")
@json_option
@click.pass_obj
def show_answer(options: Json, answer: str, json_: bool) -> None:
    """Show an answer with its citations, its sources and the prompt."""
    found = with_client(options, None, lambda client: client.answer(answer))
    if json_ or options["json"]:
        say(json.dumps(found))
        return
    _show_line(found["id"], f"{_time(found)}  {found['collection']}  {found['model']}")
    click.secho(_plain(found["question"]), bold=True)
    say(_plain(found["answer"]))
    _show_below(found)
    usage = found["usage"]
    cost = f", ${usage['cost_usd']:.6f}" if "cost_usd" in usage else ", price unknown"
    told = f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens{cost}"
    say(f"{told}, {found['took_ms']:.0f} ms")
    if found["rating"] is not None:
        say(f"rated {found['rating']:+d}  {_plain(found['comment'] or '')}")
    for number, source in enumerate(found["sources"], start=1):
        place = f"{source['document_id']} {source['start']}-{source['end']}"
        say(f"source {number}  {_plain(place)}  {source['score']:.3f}")
        say(f"   {_short(source['text'])}")
    for message in found["prompt"] or []:
        click.secho(f"prompt, {message['role']}:", dim=True)
        say(_plain(message["content"]))


@answers.command("rate", context_settings={"ignore_unknown_options": True})
@click.argument("answer")
@click.argument("rating", type=click.Choice(["1", "-1"]))
@click.argument("comment", required=False)
@click.pass_obj
def rate_answer(options: Json, answer: str, rating: str, comment: str | None) -> None:
    """Say that an answer is good (1) or bad (-1), and why."""
    more = {} if comment is None else {"comment": comment}
    with_client(options, None, lambda client: client.feedback(answer, int(rating), **more))
    say(f"rated {answer}")


@answers.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="ANSWER...")
@click.pass_obj
def delete_answers(options: Json, names: Sequence[str]) -> None:
    """Forget answers, with their questions and their turns in a conversation."""

    async def work(client: Any) -> None:
        for name in names:
            await client.delete_answer(name)

    with_client(options, None, work)
    say(_counted(len(names), "answer") + " deleted")


# -- conversations --------------------------------------------------------------------------------


@click.group(invoke_without_command=True)
@_of_collection
@_limit
@home_option
@json_option
@click.pass_context
def conversations(
    context: click.Context, collection: str | None, limit: int, home_: Path | None, json_: bool
) -> None:
    """List the conversations, the last used first; show or delete one."""
    options = _inner(context, home_, json_)
    if context.invoked_subcommand is not None:
        return
    found = with_client(
        options, home_, lambda client: client.conversations(collection, limit=limit)
    )
    if options["json"]:
        say(json.dumps(found))
        return
    for one in found["conversations"]:
        told = f"{_time(one, 'updated_at')}  {one['collection']}  {_counted(one['turns'], 'turn')}"
        _show_line(one["id"], told)
        say(f"   {_short(one['question'])}")
    _show_count("conversation", found["conversations"], found["next_cursor"])


@conversations.command("show")
@click.argument("conversation")
@json_option
@click.pass_obj
def show_conversation(options: Json, conversation: str, json_: bool) -> None:
    """Show what was said in a conversation."""
    found = with_client(options, None, lambda client: client.conversation(conversation))
    if json_ or options["json"]:
        say(json.dumps(found))
        return
    for turn in found["messages"]:
        click.secho(f"{turn['role']}: ", bold=True, nl=False)
        say(_plain(turn["content"]))


@conversations.command("delete")
@click.argument("names", nargs=-1, metavar="[CONVERSATION]...")
@click.option("--all", "all_", is_flag=True, help="All of them.")
@click.option("-c", "--collection", help="With --all: those of this collection alone.")
@click.pass_obj
def delete_conversations(
    options: Json, names: Sequence[str], all_: bool, collection: str | None
) -> None:
    """Forget conversations, and the answers in them."""
    if bool(names) == all_ or (collection is not None and not all_):
        raise InvalidInput("name the conversations to delete, or --all, perhaps with --collection")

    async def work(client: Any) -> int:
        if all_:
            return int((await client.delete_conversations(collection))["deleted"])
        for name in names:
            await client.delete_conversation(name)
        return len(names)

    say(_counted(with_client(options, None, work), "conversation") + " deleted")


COMMANDS = (ask, answers, conversations)


# -- what people see ------------------------------------------------------------------------------


def _inner(context: click.Context, home_: Path | None, json_: bool) -> Json:
    """The options of a group, for its commands too."""
    given: Json = context.obj
    context.obj = {**given, "home": home_ or given["home"], "json": json_ or given["json"]}
    return context.obj


def _show_line(name: str, told: str) -> None:
    click.secho(name, bold=True, nl=False)
    say(f"  {told}")


def _show_count(noun: str, found: Sequence[Json], more: str | None) -> None:
    if not found:
        say(f"no {noun}s")
    elif more is not None:
        say(f"the last {len(found)}; there are more: --limit")


def _time(one: Json, name: str = "created_at") -> str:
    return str(one[name])[:16].replace("T", " ")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _short(text: str) -> str:
    flat = _plain(" ".join(text.split()))
    return flat if len(flat) <= _LONGEST_QUOTE else flat[: _LONGEST_QUOTE - 1] + "…"


def _plain(text: str) -> str:
    """Without what a terminal would obey: documents and models write what they like."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
