"""Models whose dimensions their makers publish, and backends around those and all others."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from embedsvc.core.model import Space
from embedsvc.core.spec import Spec
from embedsvc.embedding._langchain import Ask, RemoteBackend, Translate, probed_dimensions
from embedsvc.errors import InvalidInput
from embedsvc.ports import Calls


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

    @property
    def shortened(self) -> int | None:
        """Dimensions that the provider has to be told; None where its own are wanted."""
        wanted = self.spec.dimensions
        return None if self.known is not None and wanted == self.known.dimensions else wanted


def asked_for(spec: Spec, models: Mapping[str, Known], name: str | None = None) -> Asked:
    """Look the model up in `models`, there by the name `name`. Raises InvalidInput."""
    if not spec.model:
        raise InvalidInput(f"{spec.provider}: which model? write {spec.provider}:MODEL")
    known = models.get(name or spec.model)
    wanted = spec.dimensions
    if known is not None and wanted is not None and wanted not in known.able:
        raise InvalidInput(f"{spec}: {wanted} dimensions; this model has {_able(known)}")
    return Asked(spec, known)


async def backend(
    asked: Asked,
    calls: Calls,
    ask: Ask,
    translate: Translate,
    close: Callable[[], Awaitable[None]],
    *,
    query_prompt: str = "",
    document_prompt: str = "",
) -> RemoteBackend:
    """The backend; a model that is not known is asked once for its dimensions."""
    spec, known = asked.spec, asked.known
    try:
        dimensions = (
            spec.dimensions
            or (known and known.dimensions)
            or await probed_dimensions(ask, translate, str(spec))
        )
    except BaseException:
        await close()
        raise
    space = Space(
        spec.provider,
        spec.model,
        dimensions,
        max_tokens=known.window if known else None,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        options=urlencode(sorted(spec.options.items())),
    )
    return RemoteBackend(space, calls, ask, translate, close)


def _able(known: Known) -> str:
    if isinstance(known.others, range):
        return f"{known.others.start} to {known.others.stop - 1}"
    return ", ".join(map(str, sorted(known.able)))
