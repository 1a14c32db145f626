"""Models whose dimensions their makers publish, and backends around those and all others."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from embedsvc.core.model import Space
from embedsvc.core.spec import Spec
from embedsvc.embedding._remote import Ask, RemoteBackend, Translate, probed_dimensions
from embedsvc.errors import InvalidInput, ProviderRejected
from embedsvc.ports import Calls

Asking = Callable[[int | None], Ask]
"""Requests for so many dimensions; None where the model's own are wanted, and nothing is sent."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a provider documents of a model: dimensions, and the tokens of a text that it reads.

    `others` are the dimensions it can have besides.
    """

    dimensions: int
    window: int | None = None
    others: Collection[int] = ()

    @property
    def able(self) -> set[int]:
        """All dimensions that it can have."""
        return {self.dimensions, *self.others}


@dataclass(frozen=True, slots=True)
class Asked:
    """A model as a spec names it, once its name and dimensions have been checked."""

    spec: Spec
    known: Known | None


def asked_for(spec: Spec, models: Mapping[str, Known], name: str | None = None) -> Asked:
    """Look the model up in `models`, there by the name `name`. Raises InvalidInput."""
    if not spec.model:
        raise InvalidInput(f"{spec.provider}: which model? write {spec.provider}:MODEL")
    known = models.get(name or spec.model)
    if known is not None:
        check_dimensions(spec, known)
    return Asked(spec, known)


def check_dimensions(spec: Spec, known: Known) -> None:
    """Refuse dimensions that a known model cannot have. Raises InvalidInput."""
    wanted = spec.dimensions
    if wanted is not None and wanted not in known.able:
        raise InvalidInput(f"{spec}: {wanted} dimensions; this model has {_able(known)}")


async def check_shorter(spec: Spec, natural: int, ask: Ask, translate: Translate) -> None:
    """Refuse dimensions that a model does not give when `ask` asks for them.

    Raises InvalidInput.
    """
    try:
        found = await probed_dimensions(ask, translate, str(spec))
    except ProviderRejected as error:
        raise only(spec, natural) from error
    if found != spec.dimensions:
        raise only(spec, natural)


def only(spec: Spec, natural: int) -> InvalidInput:
    """The error of a model that has its own dimensions and no others."""
    return InvalidInput(f"{spec}: {spec.dimensions} dimensions; this model has {natural}")


async def backend(
    asked: Asked,
    calls: Calls,
    asking: Asking,
    translate: Translate,
    close: Callable[[], Awaitable[None]],
    *,
    shortens: bool = True,
    unknown_window: int | None = None,
    query_prompt: str = "",
    document_prompt: str = "",
) -> RemoteBackend:
    """The backend; a model that is not known is asked once for its dimensions.

    Many models refuse to be told how many dimensions they have anyway, so a provider is told only
    of others than its own; where not `shortens`, it cannot be told. Raises InvalidInput.
    """
    spec, known = asked.spec, asked.known
    try:
        natural = (
            known.dimensions
            if known is not None
            else await probed_dimensions(asking(None), translate, str(spec))
        )
        wanted = spec.dimensions or natural
        ask = asking(None if wanted == natural else wanted)
        if wanted != natural and not shortens:
            raise only(spec, natural)
        if wanted != natural and known is None:
            await check_shorter(spec, natural, ask, translate)
    except BaseException:
        await close()
        raise
    space = Space(
        spec.provider,
        spec.model,
        wanted,
        max_tokens=unknown_window if known is None else known.window,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        options=urlencode(sorted(spec.options.items())),
    )
    return RemoteBackend(space, calls, ask, translate, close)


def _able(known: Known) -> str:
    if isinstance(known.others, range):
        return f"{known.others.start} to {known.others.stop - 1}"
    return ", ".join(map(str, sorted(known.able)))
