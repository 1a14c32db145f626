"""What models read and wrote, by day, collection and model, and what it cost.

Counts are added up in memory and written every few seconds and at the end: a search must not wait
for a disk because it is counted. A crash can lose the last seconds of them.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from embedsvc.core.model import Collection
from embedsvc.errors import ConfigError, InvalidInput
from embedsvc.store.store import Store, UsageRow

GroupBy = Literal["day", "collection", "model"]
GROUPS: Sequence[GroupBy] = ("day", "collection", "model")


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for a million tokens, by `provider:model`, as they were on `date`.

    `models` embed; `chat` has those of language models: (read, written).
    """

    date: str
    models: Mapping[str, float] = field(default_factory=dict)
    free: frozenset[str] = frozenset()
    chat: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def cost(self, model: str, tokens: int) -> float | None:
        """US dollars for so many tokens; None where the price is not known."""
        if model.partition(":")[0] in self.free:
            return 0.0
        price = self.models.get(model)
        return None if price is None else price * tokens / 1_000_000

    def chat_cost(self, model: str, read: int, written: int) -> float | None:
        """US dollars for a call of a language model; None where the price is not known."""
        if model.partition(":")[0] in self.free:
            return 0.0
        price = self.chat.get(model)
        return None if price is None else (price[0] * read + price[1] * written) / 1_000_000


def read_prices(file: str = "") -> Prices:
    """The prices of the package, and before them those of a file. Raises ConfigError."""
    shipped = _read(Path(__file__).with_name("prices.toml"))
    if not file:
        return shipped
    own = _read(Path(file))
    return replace(
        own,
        models={**shipped.models, **own.models},
        free=shipped.free | own.free,
        chat={**shipped.chat, **own.chat},
    )


def _read(path: Path) -> Prices:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        models = {str(name): float(price) for name, price in found.get("models", {}).items()}
        chat = {str(name): _pair(prices) for name, prices in found.get("chat", {}).items()}
        return Prices(str(found["date"]), models, frozenset(found.get("free", ())), chat)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"EMBEDSVC_PRICES: {path} cannot be read: {error!r}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"EMBEDSVC_PRICES: {path} is not of the form of the package's prices.toml: {error!r}"
        ) from error
    except ValueError as error:
        raise ConfigError(f"EMBEDSVC_PRICES: {path}: a price is not a number: {error}") from error


def _pair(prices: Sequence[float]) -> tuple[float, float]:
    if len(prices) != 2:
        raise ValueError(f"{prices} is not a pair: what is read, what is written")
    return float(prices[0]), float(prices[1])


class Meter:
    """Counts requests, texts and tokens until they are written."""

    def __init__(self, store: Store, prices: Prices) -> None:
        self.prices = prices
        self._store = store
        self._lock = Lock()
        self._counts: dict[tuple[str, str, str], UsageRow] = {}

    def price(self, model: str, tokens: int) -> float | None:
        """US dollars for so many tokens; None where the price is not known."""
        return self.prices.cost(model, tokens)

    def add(self, model: str, tokens: int, texts: int, collection: Collection | None) -> None:
        """Count one request."""
        self._add(model, tokens, texts, self.price(model, tokens), collection)

    def add_chat(
        self, model: str, read: int, written: int, collection: Collection | None
    ) -> float | None:
        """Count one call of a language model. US dollars; None where the price is not known."""
        cost = self.prices.chat_cost(model, read, written)
        self._add(model, read + written, 0, cost, collection)
        return cost

    def _add(
        self, model: str, tokens: int, texts: int, cost: float | None, collection: Collection | None
    ) -> None:
        day = datetime.now(UTC).date().isoformat()
        name = "" if collection is None else collection.name
        row = UsageRow(day, name, model, 1, texts, tokens, cost or 0.0, tokens * (cost is None))
        self._count([row])

    def _count(self, rows: Sequence[UsageRow]) -> None:
        with self._lock:
            for row in rows:
                which = row.day, row.collection, row.model
                known = self._counts.get(which)
                self._counts[which] = row if known is None else known + row

    async def flush(self) -> None:
        """Write what was counted since the last time."""
        with self._lock:
            rows, self._counts = list(self._counts.values()), {}
        if not rows:
            return
        try:
            await self._store.add_usage(rows)
        except BaseException:
            self._count(rows)  # for the next time
            raise

    async def report(self, group_by: Sequence[str]) -> list[dict[str, Any]]:
        """Sums by some of day, collection and model. Raises InvalidInput for another word."""
        for word in group_by:
            if word not in GROUPS:
                raise InvalidInput(f"group_by: {word!r}; known are {', '.join(GROUPS)}")
        await self.flush()
        return await self._store.usage(group_by)
