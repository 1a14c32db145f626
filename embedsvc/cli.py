"""The commands. Each speaks the REST contract: to the service that runs, else to one inside this
process that works directly on the same data.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from embedsvc import __version__, cli_answers, cli_eval, cli_insight
from embedsvc.errors import EmbedsvcError, InvalidInput
from embedsvc.settings import read_settings
from embedsvc.terminal import (
    BATCH_DOCUMENTS,
    Json,
    batches,
    filter_option,
    folder,
    home_option,
    json_option,
    lines_of,
    progress,
    say,
    settings_of,
    where,
    with_client,
)

_SUFFIXES = {".txt", ".text", ".md", ".markdown", ".rst"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="embedsvc")
@click.option("--home", callback=folder, help="Folder of database and snapshots.")
@click.option("--server", help="Address of a running service, such as http://127.0.0.1:8000.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON answer of the service.")
@click.pass_context
def cli(context: click.Context, home: Path | None, server: str | None, as_json: bool) -> None:
    """Index documents, search them by meaning, and ask them questions."""
    context.obj = {"home": home, "server": server, "json": as_json}


@cli.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 for a free one.  [default: 8000]")
@click.option("--home", "home_", callback=folder, help="Folder of all data.")
@click.pass_obj
def serve(options: Json, host: str | None, port: int | None, home_: Path | None) -> None:
    """Serve the REST API."""
    from embedsvc.server import run

    run(read_settings(home=home_ or options["home"], host=host, port=port))


@cli.command()
@home_option
@click.pass_obj
def migrate(options: Json, home_: Path | None) -> None:
    """Bring the database to the schema of this version."""
    from embedsvc.store.database import Database
    from embedsvc.store.migrations import HEAD
    from embedsvc.store.migrations import migrate as upgrade

    settings = settings_of(options, home_)
    database = Database(settings.url, synchronous=settings.synchronous)
    try:
        before = upgrade(database, settings.shipped / "alembic")
    finally:
        database.close()
    say(f"database at revision {HEAD}" + ("" if before == HEAD else f" (was {before or 'new'})"))


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-c", "--collection", default="default", show_default=True)
@home_option
@json_option
@click.pass_obj
def add(
    options: Json, paths: tuple[Path, ...], collection: str, home_: Path | None, json_: bool
) -> None:
    """Add files, folders of files, or .jsonl files of documents; those already there are updated.

    A file's document has the file's path, as given, for its id.
    """
    documents = list(_documents(paths))
    if not documents:
        raise InvalidInput(
            f"nothing to add: no {', '.join(sorted(_SUFFIXES))} or .jsonl file there"
        )

    async def work(client: Any) -> list[Json]:
        outcomes: list[Json] = []
        with progress(len(documents), quiet=json_ or options["json"]) as advance:
            for batch in batches(documents):
                outcomes += (await client.add(collection, batch))["documents"]
                advance(len(batch))
        return outcomes

    outcomes = with_client(options, home_, work)
    if json_ or options["json"]:
        say(json.dumps({"documents": outcomes}))
    else:
        _summary(collection, outcomes)
    if any(outcome["status"] == "failed" for outcome in outcomes):
        raise SystemExit(2)


@cli.command()
@click.argument("query")
@click.option("-c", "--collection", default="default", show_default=True)
@click.option("-n", "--limit", default=5, show_default=True)
@filter_option
@click.option("--mode", type=click.Choice(["hybrid", "dense", "lexical"]), help="[default: hybrid]")
@click.option("--rerank", help="A reranker, provider:model; `true` for that of the settings.")
@click.option("--explain", metavar="DOCUMENT", help="Show why DOCUMENT is found, or is not.")
@home_option
@json_option
@click.pass_obj
def search(
    options: Json,
    query: str,
    collection: str,
    limit: int,
    filters: tuple[str, ...],
    mode: str | None,
    rerank: str | None,
    explain: str | None,
    home_: Path | None,
    json_: bool,
) -> None:
    """Find the chunks that fit QUERY best, by meaning and by words."""
    reranker = True if rerank == "true" else rerank
    asked = {"limit": limit, "filter": where(filters), "mode": mode, "rerank": reranker}
    body = {name: value for name, value in asked.items() if value is not None}

    async def work(client: Any) -> Json:
        if explain is not None:
            return await client.explain(collection, query, explain, **body)
        return await client.search(collection, query, **body)

    found = with_client(options, home_, work)
    if json_ or options["json"]:
        say(json.dumps(found))
    elif explain is not None:
        _show_explanation(found)
    else:
        _show_hits(found)


def _show_explanation(found: Json) -> None:
    told = f"rank {found['rank']}" if found["found"] else f"dropped by {found['dropped_by']}"
    click.secho(f"{found['document_id']}: {told}", bold=True)
    for stage in found["stages"]:
        score = "" if stage["score"] is None else f"{stage['score']:.3f}"
        say(f"  {stage['stage']:<12} {score:>6}  {stage['detail']}")


def _show_hits(found: Json) -> None:
    for reason in found["degraded"]:
        click.secho(reason, fg="yellow", err=True)
    for number, hit in enumerate(found["results"], start=1):
        click.secho(f"{number}. {hit['document_id']}", bold=True, nl=False)
        say(f"  {hit['score']:.3f}  {hit['start']}-{hit['end']}")
        say(f"   {_short(hit['text'])}")
    if not found["results"]:
        say("nothing found")


@cli.command()
@home_option
@json_option
@click.pass_obj
def collections(options: Json, home_: Path | None, json_: bool) -> None:
    """List the collections."""
    found = with_client(options, home_, lambda client: client.collections())
    if json_ or options["json"]:
        say(json.dumps({"collections": found}))
        return
    for one in found:
        say(
            f"{one['name']:<24} {one['documents']:>8} documents {one['chunks']:>9} chunks  "
            f"{one['embedding']}"
        )


@cli.command()
@click.argument("texts", nargs=-1)
@click.option("-m", "--model", help="provider:model; the default embedding if left out.")
@click.option("-d", "--dimensions", type=int, help="Where the model can have fewer.")
@click.option("--query", is_flag=True, help="Embed as questions, not as documents.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write a .npy file."
)
@home_option
@click.pass_obj
def embed(
    options: Json,
    texts: tuple[str, ...],
    model: str | None,
    dimensions: int | None,
    query: bool,
    output: Path | None,
    home_: Path | None,
) -> None:
    """Print the vectors of TEXTS, or of the lines of the standard input, as lines of JSON."""
    if output is not None and not output.absolute().parent.is_dir():
        raise InvalidInput(f"--output: there is no folder {str(output.parent)!r}")
    wanted = list(texts) or [line for line in _input_lines() if line.strip()]
    if not wanted:
        raise InvalidInput("nothing to embed: name texts, or send lines to the standard input")
    more = {"model": model, "dimensions": dimensions, "input_type": "query" if query else None}
    asked = {name: value for name, value in more.items() if value is not None}

    async def work(client: Any) -> list[Json]:
        rows: list[Json] = []
        with progress(len(wanted), quiet=options["json"]) as advance:
            for at in range(0, len(wanted), BATCH_DOCUMENTS):
                batch = wanted[at : at + BATCH_DOCUMENTS]
                found = await client.embed(batch, **asked)
                for one in found.get("truncated", []):
                    place = f"text {at + one['index'] + 1}"
                    told = f"{place}: read {one['kept']} of {one['tokens']} tokens"
                    click.secho(told, fg="yellow", err=True)
                rows += found["data"]
                advance(len(batch))
        return rows

    rows = with_client(options, home_, work)
    if output is not None:
        import numpy as np

        vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        with output.open("wb") as stream:
            np.save(stream, vectors)
        say(f"{output}: {vectors.shape[0]} vectors of {vectors.shape[1]} dimensions")
        return
    for text, row in zip(wanted, rows, strict=True):
        say(json.dumps({"text": text, "embedding": row["embedding"]}, ensure_ascii=False))


@cli.command()
@home_option
@json_option
@click.pass_obj
def models(options: Json, home_: Path | None, json_: bool) -> None:
    """List the models in use: dimensions, licence, and where their texts go."""
    found = with_client(options, home_, lambda client: client.models())
    if json_ or options["json"]:
        say(json.dumps({"models": found}))
        return
    for one in found:
        size = f"{one['dimensions']} dimensions" if one.get("dimensions") else ""
        sent = one.get("sends_data_to")
        place = f"sends texts to {sent}" if sent else "stays on this machine"
        told = "  ".join(
            part for part in (one.get("type", ""), size, one.get("licence") or "", place) if part
        )
        say(f"{one['id']:<40} {told}")


@cli.command()
@click.option("--by", default="collection,model", show_default=True, help="day, collection, model")
@home_option
@json_option
@click.pass_obj
def usage(options: Json, by: str, home_: Path | None, json_: bool) -> None:
    """Show what was embedded and what it cost."""
    found = with_client(options, home_, lambda client: client.usage(by))
    if json_ or options["json"]:
        say(json.dumps(found))
        return
    for line in found["usage"]:
        names = " ".join(line.get(word) or "-" for word in by.split(","))
        cost = "price unknown" if line["cost_usd"] is None else f"${line['cost_usd']:.4f}"
        if line["unpriced_tokens"] and line["cost_usd"] is not None:
            cost += f" + {line['unpriced_tokens']} tokens without a price"
        say(f"{names:<40} {line['texts']:>9} texts {line['tokens']:>11} tokens  {cost}")
    if not found["usage"]:
        say("nothing embedded yet")


def _input_lines() -> list[str]:
    return [] if sys.stdin.isatty() else sys.stdin.read().splitlines()


@cli.command()
@click.argument("names", nargs=-1)
@home_option
@json_option
@click.pass_obj
def verify(options: Json, names: tuple[str, ...], home_: Path | None, json_: bool) -> None:
    """Compare index and SQL, id by id and vector by vector; all collections if none is named."""
    _check_indexes(options, names, home_, json_, "verify")


@cli.command()
@click.argument("names", nargs=-1)
@home_option
@json_option
@click.pass_obj
def rebuild(options: Json, names: tuple[str, ...], home_: Path | None, json_: bool) -> None:
    """Build indexes anew from SQL; those of all collections if none is named."""
    _check_indexes(options, names, home_, json_, "repair")


def _check_indexes(
    options: Json, names: tuple[str, ...], home_: Path | None, json_: bool, verb: str
) -> None:
    async def work(client: Any) -> list[Json]:
        wanted = names or [one["name"] for one in await client.collections()]
        with progress(len(wanted), quiet=json_ or options["json"]) as advance:
            found = []
            for name in wanted:
                found.append(await getattr(client, verb)(name))
                advance(1)
            return found

    reports = with_client(options, home_, work)
    if json_ or options["json"]:
        say(json.dumps({"collections": reports}))
    else:
        for report in reports:
            faults = {
                word: len(report[word])
                for word in ("missing", "orphaned", "mismatched", "vectorless")
                if report[word]
            }
            told = ", ".join(f"{count} {word}" for word, count in faults.items()) or "ok"
            say(f"{report['collection']:<24} {report['chunks']:>9} chunks  {told}")
    if not all(report["ok"] for report in reports):
        raise SystemExit(2)


# -- documents from paths -------------------------------------------------------------------------


def _documents(paths: Iterable[Path]) -> Iterator[Json]:
    from embedsvc.core.tokens import storable
    from embedsvc.loaders.text import TextLoader

    loader = TextLoader()
    for path in paths:
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            if file.suffix == ".jsonl":
                yield from lines_of(file)
            elif file.suffix.lower() in _SUFFIXES:
                try:
                    loaded = loader.load(file.read_bytes())
                except EmbedsvcError as error:
                    raise InvalidInput(f"{file}: {error.detail}") from error
                if not storable(str(file)):
                    raise InvalidInput(f"{str(file)!r}: the name is not UTF-8; rename the file")
                document = {"id": str(file), "text": loaded.text, "title": loaded.title}
                yield {**document, "metadata": {"filename": file.name}}
            elif not path.is_dir():
                known = ", ".join(sorted(_SUFFIXES))
                raise InvalidInput(
                    f"{file}: no loader reads {file.suffix!r}; known: {known}, .jsonl"
                )


# -- what people see ------------------------------------------------------------------------------


def _summary(collection: str, outcomes: list[Json]) -> None:
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome["status"]] = counts.get(outcome["status"], 0) + 1
        if outcome["status"] == "failed":
            click.secho(f"{outcome['id']}: {outcome['error']['detail']}", fg="red", err=True)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    chunks = sum(outcome["chunks"] for outcome in outcomes)
    embedded = sum(outcome["embedded"] for outcome in outcomes)
    say(f"{collection}: {told}; {chunks} chunks, {embedded} embedded")


def _short(text: str, most: int = 200) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


for _command in (*cli_answers.COMMANDS, *cli_eval.COMMANDS, *cli_insight.COMMANDS):
    cli.add_command(_command)
