"""The commands that measure: `eval` and `judge`."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from embedsvc.cli_eval_tables import answers_table, search_table
from embedsvc.errors import EmbedsvcError, InvalidInput
from embedsvc.terminal import (
    Json,
    batches,
    decoded,
    home_option,
    json_option,
    lines_of,
    progress,
    say,
    with_client,
)

PICTURES = {".svg": "svg", ".png": "png"}

KEYS = (
    "name",
    "mode",
    "weights",
    "method",
    "k",
    "rerank",
    "diversity",
    "per_document",
    "filter",
    "model",
    "grounding",
    "limit",
    "expansion",
    "temperature",
    "max_tokens",
    "embedding",
    "dimensions",
    "chunk_size",
    "chunk_overlap",
    "chunk_strategy",
)
_POLL_SECONDS = (0.05, 1.0)
_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a metric has to reach in every configuration."""

    metric: str
    least: float


@click.command("eval")
@click.argument("source", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("-c", "--collection", default="default", show_default=True)
@click.option(
    "--judgements", is_flag=True, help="Measure by the judgements stored for the collection."
)
@click.option("--answers", is_flag=True, help="Evaluate answers, by the questions of SOURCE.")
@click.option("--index", is_flag=True, help="First add the documents of SOURCE/corpus.jsonl.")
@click.option(
    "--config",
    "configs",
    multiple=True,
    metavar="KEY=VALUE,…",
    help="A way to search, such as mode=hybrid,weights=0.5:0.5,rerank=true, or to answer, such as "
    "model=openai:gpt-4o,grounding=strict; give several to compare them with the first.  [default: "
    "dense, lexical and hybrid; the model of the service]",
)
@click.option(
    "--metric", "metrics", multiple=True, help="Such as ndcg@10 or f1; several if repeated."
)
@click.option(
    "--fail-under",
    "least",
    multiple=True,
    metavar="METRIC=NUMBER",
    help="End with status 1 if a configuration is below.",
)
@click.option("--limit-queries", type=click.IntRange(min=1), help="Only the first so many queries.")
@click.option(
    "--depth",
    type=click.IntRange(1, 1000),
    help=f"Documents of each query that are looked at.  [default: {_DEPTH}]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON."
)
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw a .svg or .png file."
)
@home_option
@json_option
@click.pass_obj
def evaluate(options: Json, /, **given: Any) -> None:
    """Compare ways to search, or to answer, by the queries of SOURCE.

    SOURCE is a folder with queries.jsonl and qrels.tsv (or qrels/test.tsv), as BEIR has it, or a
    CSV file with the columns query, document_id and relevance.

    With --answers it is a folder with qa.jsonl (id, question, answers, doc_ids, answerable), or a
    CSV file with the columns question and answer, and maybe document_id and answerable.
    """
    for option in ("output", "picture"):
        _check_folder(f"--{option}", given[option])
    kind = _picture_kind(given["picture"])
    thresholds = [_threshold(one, given["answers"]) for one in given["least"]]
    body = _body(given, thresholds)
    quiet = given["json_"] or options["json"]

    async def work(client: Any) -> Json:
        if given["index"]:
            await _index(client, given["collection"], given["source"], quiet)
        return await _evaluated(client, given["collection"], body, quiet)

    found = with_client(options, given["home_"], work)
    if given["output"] is not None:
        given["output"].write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for warning in found["result"]["warnings"]:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    say(json.dumps(found) if quiet else "\n".join(_table(found)))
    if kind is not None:
        _draw(given["picture"], kind, found)
    if missed := list(_missed(found["result"]["configs"], thresholds)):
        for line in missed:
            click.secho(line, fg="red", err=True)
        raise SystemExit(1)


@click.command()
@click.argument("query")
@click.argument("document")
@click.argument("relevance", type=click.IntRange(0, 3))
@click.option("-c", "--collection", default="default", show_default=True)
@home_option
@json_option
@click.pass_obj
def judge(
    options: Json,
    query: str,
    document: str,
    relevance: int,
    collection: str,
    home_: Path | None,
    json_: bool,
) -> None:
    """Store how well DOCUMENT answers QUERY: 0 not at all, 3 fully."""
    found = with_client(
        options, home_, lambda client: client.judge(collection, query, document, relevance)
    )
    if json_ or options["json"]:
        say(json.dumps(found))
    else:
        say(f"{collection}: {found['document_id']} has relevance {relevance} for {query!r}")


COMMANDS: Sequence[click.Command] = (evaluate, judge)


# -- what was asked for ---------------------------------------------------------------------------


def _body(given: Mapping[str, Any], thresholds: Sequence[Threshold]) -> Json:
    """The request of the contract."""
    body: Json = {"seed": given["seed"]}
    if given["configs"]:
        body["configs"] = [read_config(text) for text in given["configs"]]
    if given["judgements"] == (given["source"] is not None):
        raise InvalidInput("name a folder or a CSV file, or give --judgements; one of them")
    if given["index"] and (given["source"] is None or not given["source"].is_dir()):
        raise InvalidInput("--index: it needs a folder with corpus.jsonl")
    return body | (_answered(given, thresholds) if given["answers"] else _judged(given, thresholds))


def _judged(given: Mapping[str, Any], thresholds: Sequence[Threshold]) -> Json:
    """What belongs to an evaluation of search."""
    from msgspec import to_builtins

    from embedsvc.core.metrics import parse_metrics
    from embedsvc.services.evaluation_files import read_judged

    depth = given["depth"] or _DEPTH
    body: Json = {"limit": depth}
    if given["metrics"] or thresholds:
        wanted = [str(metric) for metric in parse_metrics(given["metrics"], depth)]
        body["metrics"] = _with(wanted, thresholds)
    if given["judgements"]:
        return {**body, "judgements": True}
    judged = read_judged(given["source"]).first(given["limit_queries"])
    return {**body, **to_builtins(judged)}


def _answered(given: Mapping[str, Any], thresholds: Sequence[Threshold]) -> Json:
    """What belongs to an evaluation of answers."""
    from msgspec import to_builtins

    from embedsvc.core.answer_metrics import answer_metrics
    from embedsvc.services.answer_files import read_answered
    from embedsvc.services.answer_request import golds_of

    if given["judgements"] or given["depth"] is not None:
        option = "judgements" if given["judgements"] else "depth"
        raise InvalidInput(f"--{option}: it belongs to evaluations of search; leave out --answers")
    known = read_answered(given["source"]).first(given["limit_queries"])
    body: Json = to_builtins(known)
    if given["metrics"] or thresholds:
        golds = golds_of({query.id: query.text for query in known.queries}, known.answers)
        wanted = answer_metrics(given["metrics"], list(golds.values()))
        body["metrics"] = _with(wanted, thresholds)
    return body


def _with(metrics: Sequence[str], thresholds: Sequence[Threshold]) -> list[str]:
    """The metrics to compute: those, and what is to be reached."""
    return list(dict.fromkeys([*metrics, *(one.metric for one in thresholds)]))


def read_config(text: str) -> Json:
    """A configuration from `key=value,key=value`, or from its JSON. Raises InvalidInput."""
    place = f"--config {text!r}"
    if text.lstrip().startswith("{"):
        found: Json = decoded(text, place)
        return found
    made: Json = {}
    for part in re.split(r",(?=\s*[a-z_]+=)", text):
        key, equals, value = part.strip().partition("=")
        if key not in KEYS or not equals or not value:
            near = get_close_matches(key, KEYS, n=1)
            hint = f"did you mean {near[0]}=…?" if near else f"known are {', '.join(KEYS)}"
            wrong = f"{part.strip()!r} is not KEY=VALUE"
            if equals and value:
                wrong = f"there is no key {key!r}"
            raise InvalidInput(f"{place}: {wrong}; {hint}")
        _put(made, key, value, place)
    return made


def _put(made: Json, key: str, value: str, place: str) -> None:
    match key:
        case "weights":
            dense, colon, lexical = value.partition(":")
            if not colon:
                raise InvalidInput(f"{place}: weights are written DENSE:LEXICAL, such as 0.5:0.5")
            fusion = made.setdefault("fusion", {})
            fusion["dense"] = _number(dense, place)
            fusion["lexical"] = _number(lexical, place)
        case "method" | "k":
            fusion = made.setdefault("fusion", {})
            fusion[key] = _whole(value, place) if key == "k" else value
        case "rerank":
            made[key] = {"true": True, "false": False}.get(value.lower(), value)
        case "filter":
            made[key] = decoded(value, place)
        case "diversity" | "temperature":
            made[key] = _number(value, place)
        case "per_document" | "dimensions" | "limit" | "max_tokens":
            made[key] = _whole(value, place)
        case "chunk_size" | "chunk_overlap":
            chunking = made.setdefault("chunking", {})
            chunking[key.removeprefix("chunk_")] = _whole(value, place)
        case "chunk_strategy":
            made.setdefault("chunking", {})["strategy"] = value
        case _:
            made[key] = value


def _number(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f"{place}: {text!r} is not a number") from error


def _whole(text: str, place: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise InvalidInput(f"{place}: {text!r} is not a whole number") from error


def _threshold(text: str, answers: bool) -> Threshold:
    """What `ndcg@10=0.65` or `f1=0.6` asks for. Raises InvalidInput."""
    from embedsvc.core.answer_metrics import parse_answer_metric
    from embedsvc.core.metrics import parse_metric

    name, equals, value = text.partition("=")
    if not equals:
        such = "f1=0.6" if answers else "ndcg@10=0.65"
        raise InvalidInput(f"--fail-under {text!r}: write METRIC=NUMBER, such as {such}")
    least = _number(value, f"--fail-under {text!r}")
    if not 0 <= least <= 1:
        raise InvalidInput(f"--fail-under {text!r}: metrics are from 0 to 1")
    return Threshold(parse_answer_metric(name) if answers else str(parse_metric(name)), least)


def _picture_kind(file: Path | None) -> str | None:
    if file is None:
        return None
    if file.suffix.lower() not in PICTURES:
        raise InvalidInput(f"--picture: {file.name!r}; use a name that ends with .svg or .png")
    return PICTURES[file.suffix.lower()]


def _check_folder(option: str, file: Path | None) -> None:
    if file is not None and not file.absolute().parent.is_dir():
        raise InvalidInput(f"{option}: there is no folder {str(file.parent)!r}")


# -- what is done ---------------------------------------------------------------------------------


async def _index(client: Any, collection: str, folder: Path, quiet: bool) -> None:
    """Add the corpus; those that are there already are not embedded again."""
    corpus = folder / "corpus.jsonl"
    if not corpus.is_file():
        raise InvalidInput(f"--index: there is no {corpus}")
    with corpus.open("rb") as stream:
        total = sum(1 for line in stream if line.strip())
    failed = 0
    with progress(total, quiet=quiet) as advance:
        for batch in batches(map(_document, lines_of(corpus))):
            for outcome in (await client.add(collection, batch))["documents"]:
                if outcome["status"] == "failed":
                    failed += 1
                    told = f"{outcome['id']}: {outcome['error']['detail']}"
                    click.secho(told, fg="red", err=True)
            advance(len(batch))
    if failed:
        click.secho(f"warning: {failed} documents could not be added", fg="yellow", err=True)


def _document(row: Json) -> Json:
    """A row of corpus.jsonl as the service takes it; what has no text is known by its title."""
    kept = {key: row[key] for key in ("id", "title", "metadata") if row.get(key)}
    return {**kept, "text": row.get("text") or row.get("title") or ""}


async def _evaluated(client: Any, collection: str, body: Json, quiet: bool) -> Json:
    """Start the evaluation and wait until it is done. Raises EmbedsvcError when it fails."""
    found: Json = await client.start_evaluation(collection, **body)
    pause, longest = _POLL_SECONDS
    try:
        with progress(found["total"], quiet=quiet) as advance:
            while found["state"] in ("queued", "running"):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, longest)
                before = found["done"]
                found = await client.evaluation(found["id"])
                advance(found["done"] - before)
    finally:
        if found["state"] in ("queued", "running"):  # Ctrl-C: nobody would look at it
            await client.delete_evaluation(found["id"])
    if found["state"] != "done":
        reason = found.get("error", "it was cancelled")
        raise EmbedsvcError(f"the evaluation {found['state']}: {reason}")
    return found


# -- what people see ------------------------------------------------------------------------------


def _table(found: Json) -> Iterator[str]:
    return answers_table(found) if found["subject"] == "answers" else search_table(found)


def _draw(file: Path, kind: Any, found: Json) -> None:
    from msgspec import convert

    from embedsvc.services.answer_measuring import AnswerResult
    from embedsvc.services.charting import draw
    from embedsvc.services.measuring import Result

    made: type[AnswerResult | Result] = AnswerResult if found["subject"] == "answers" else Result
    file.write_bytes(draw(convert(found["result"], type=made), found["collection"], kind))


def _missed(configs: Sequence[Json], thresholds: Sequence[Threshold]) -> Iterator[str]:
    for config in configs:
        for one in thresholds:
            found = config["metrics"][one.metric]
            if found is None:
                yield f"embedsvc: {config['name']}: no answer says anything of {one.metric}"
            elif found["value"] < one.least:
                value = f"{found['value']:.4f}"
                yield f"embedsvc: {config['name']}: {one.metric} is {value}, under {one.least:g}"
