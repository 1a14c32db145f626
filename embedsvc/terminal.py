"""What all commands share: how they reach the data, read files, and show what they do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from embedsvc.errors import EmbedsvcError, InvalidInput
from embedsvc.settings import Settings, read_settings

BATCH_DOCUMENTS = 64
BATCH_BYTES = 4_000_000

Json = dict[str, Any]


def folder(_context: click.Context, _option: click.Parameter, given: str | None) -> Path | None:
    """The value of an option that names a folder."""
    if given == "":
        raise click.BadParameter("it is empty; name a folder")
    return None if given is None else Path(given)


home_option = click.option("--home", "home_", callback=folder, hidden=True)
filter_option = click.option(
    "-f",
    "--filter",
    "filters",
    multiple=True,
    help='key:value, or a filter as JSON: {"year":{"$gte":2020}}. Several must all hold.',
)
json_option = click.option("--json", "json_", is_flag=True, help="Print the JSON answer.")


# -- how a command reaches the data ---------------------------------------------------------------


def settings_of(options: Json, home_: Path | None) -> Settings:
    """The settings, with the home that was named before or after the command."""
    return read_settings(home=home_ or options["home"])


def with_client(options: Json, home_: Path | None, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run `work` with a client of the service."""

    async def run() -> Any:
        async with open_client(options["server"], settings_of(options, home_)) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except BaseExceptionGroup as group:  # the application inside this process wraps what it meets
        ours = group.subgroup(EmbedsvcError)
        if ours is None:
            raise
        raise next(_leaves(ours)) from None


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@asynccontextmanager
async def open_client(server: str | None, settings: Settings) -> AsyncIterator[Any]:
    """A client of the named or the running service, else of one inside this process."""
    from embedsvc.client.client import Client
    from embedsvc.home import running

    url = server or running(settings.home)
    if url is not None:
        async with Client.connect(url) as client:
            yield client
        return
    from embedsvc.app import build_service, create_app
    from embedsvc.logs import configure

    configure("error")
    application = create_app(build_service(settings), warm=False)
    async with application.lifespan(), Client.inside(application) as client:
        yield client


# -- what commands read ---------------------------------------------------------------------------


def lines_of(file: Path) -> Iterator[Json]:
    """The documents of a file of JSON lines. Raises InvalidInput naming the line."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            found = decoded(line, f"{file}, line {number}")
            if not isinstance(found, dict):
                raise InvalidInput(f"{file}, line {number}: not a JSON object")
            if "_id" in found:  # the layout of BEIR
                found["id"] = found.pop("_id")
            yield found


def decoded(raw: bytes | str, place: str) -> Any:
    """Strict JSON: no NaN, no half of a surrogate pair, nothing nested without end."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"{place}: not JSON: {error}") from error


def where(filters: Sequence[str]) -> Json | None:
    """The filter that all of these options together are; None of none."""
    parts = [_condition(one) for one in filters]
    if len(parts) <= 1:
        return parts[0] if parts else None
    return {"$and": parts}


def _condition(given: str) -> Json:
    if given.lstrip().startswith("{"):
        found: Json = decoded(given, "--filter")
        return found
    key, colon, value = given.partition(":")
    if not colon or not key.strip():
        raise InvalidInput(f"--filter: {given!r} is neither key:value nor JSON")
    try:
        parsed = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError):
        parsed = value  # a plain word
    return {key.strip(): parsed}


def batches(documents: Iterable[Json]) -> Iterator[list[Json]]:
    """The documents in requests of a handy size."""
    batch: list[Json] = []
    size = 0
    for document in documents:
        weight = len(str(document))
        if batch and (len(batch) >= BATCH_DOCUMENTS or size + weight > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += weight
    if batch:
        yield batch


# -- what people see ------------------------------------------------------------------------------


def say(text: str, *, nl: bool = True) -> None:
    """A line on the standard output, or its beginning."""
    click.echo(text, nl=nl)


class progress:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Callable[[int], None]:
        self._bar.start()
        return lambda count: self._bar.advance(self._task, count)

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()
