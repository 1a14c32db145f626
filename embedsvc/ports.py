"""What the services need from the outside world. Adapters satisfy these without inheriting."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from embedsvc.core.model import Change, Ids, IndexInfo, Match, Matrix, Prompt, Role, Space

Step = Callable[[str], None]
"""Called with the name of each step that a crash must survive; tests stop the process there."""


def no_step(_name: str) -> None:
    """The step hook of a service in use: does nothing."""


@dataclass(frozen=True, slots=True)
class Calls:
    """How calls are best made: the most texts and tokens in one, and how many run at once.

    `remote` is a backend behind a network: its calls are repeated, and its space may change. Of one
    that `cuts`, fewer dimensions are the first of all: both share one loaded model.
    """

    texts: int = 32
    tokens: int | None = None
    at_once: int = 16
    remote: bool = False
    cuts: bool = False


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a backend made of texts: `rows` of shape (texts, dimensions), in their order.

    `tokens` is what the provider counted, and will bill; None where it does not say.
    """

    rows: NDArray[np.floating]
    tokens: int | None = None


class EmbeddingBackend(Protocol):
    """Turns texts into vectors of one space. Cheap to create; loads its model in `warm`.

    Its module offers `create(spec, settings)`, plain or a coroutine, and
    `destination(spec, settings)`: the address that texts are sent to, None when they stay here.
    """

    space: Space
    calls: Calls

    def token_starts(self, text: str) -> NDArray[np.int64]:
        """Shape (tokens,): the character offset at which each token of `text` begins."""
        ...

    async def warm(self) -> None:
        """Load what `embed` needs; returns at once when that is done. Raises ConfigError."""
        ...

    async def embed(self, texts: Sequence[str], role: Role) -> Embedded:
        """One call, within `calls`; not retried here. Raises ProviderError."""
        ...

    async def aclose(self) -> None:
        """Let go of threads, connections and memory."""
        ...


class Reranker(Protocol):
    """Scores texts by how well they answer a query. Created like an EmbeddingBackend."""

    name: str
    calls: Calls

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.floating]:
        """Shape (len(texts),): relevance from 0 to 1, higher is better. Raises ProviderError."""
        ...

    async def aclose(self) -> None:
        """Let go of threads, connections and memory."""
        ...


class VectorIndex(Protocol):
    """A replica of one collection's vectors that answers nearest-neighbour searches."""

    async def version(self) -> int:
        """The last change applied; 0 when new."""
        ...

    async def apply(self, change: Change) -> None:
        """Take in a change. Idempotent; sets the version last."""
        ...

    async def search(self, queries: Matrix, k: int, within: Ids | None) -> list[list[Match]]:
        """The `k` nearest of each query, best first; with `within`, among those ids alone."""
        ...

    async def vectors(self, ids: Ids) -> tuple[Ids, Matrix]:
        """Those of `ids` that the index holds, with its copy of their vectors."""
        ...

    async def ids(self) -> Ids:
        """Every id that a search can return, ascending."""
        ...

    async def info(self) -> IndexInfo:
        """What the index says of itself."""
        ...

    async def save(self) -> None:
        """Finish background work and write what a restart would otherwise do again."""
        ...

    async def reset(self) -> None:
        """Forget everything, on disk too; the version is 0 again."""
        ...

    async def drop(self) -> None:
        """Reset and let go; the index is not used again."""
        ...

    async def aclose(self) -> None:
        """Stop background work without waiting for more than its present step."""
        ...


Finish = Literal["stop", "length", "content_filter"]
"""Why an answer ended: it is whole, it is cut, or the provider would not let more of it out."""


@dataclass(frozen=True, slots=True)
class Generation:
    """How a model shall write; None leaves it to the model. A `stop` text ends the answer."""

    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of what a model writes; counts of tokens and the reason of the end where it says.

    Counts are of the whole call, not of this piece.
    """

    text: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish: Finish | None = None


class ChatModel(Protocol):
    """A language model. Its module offers `create` and `destination` as that of a backend.

    `kind`: "chat" takes messages, "completion" a text, into which it puts messages by itself.
    `window` is how many tokens prompt and answer have together. `remote`: calls are repeated.
    """

    name: str
    kind: Literal["chat", "completion"]
    window: int
    remote: bool

    def stream(self, prompt: Prompt, options: Generation) -> AsyncIterator[Delta]:
        """Write, piece by piece; not repeated here. Raises ProviderError.

        Closing the iterator ends the call, and the connection with it.
        """
        ...

    async def aclose(self) -> None:
        """Let go of threads, connections and memory."""
        ...


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader read: one text and what the file says of itself."""

    text: str
    title: str | None = None


class Loader(Protocol):
    """Reads one family of file formats. Pure: bytes in, text out."""

    media_types: frozenset[str]
    suffixes: frozenset[str]

    def load(self, content: bytes) -> Loaded:
        """Read a file. Raises InvalidInput saying what is wrong with it."""
        ...
