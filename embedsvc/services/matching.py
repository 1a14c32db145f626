"""Which chunks a filter lets through, remembered for as long as nothing is written."""

import asyncio
from collections import OrderedDict

from embedsvc.core.filters import Filter, fingerprint
from embedsvc.core.model import Collection, Ids
from embedsvc.store.store import Store

MOST_IDS = 4_000_000
MOST_FILTERS = 1_000

_Key = tuple[int, int, bytes]
"""A collection, its version, and the fingerprint of a filter."""


class Matching:
    """Evaluates filters, each once for a version of a collection.

    It keeps the sets that were used last, at most `most_filters` of them and `most_ids` ids.
    """

    def __init__(
        self, store: Store, *, most_ids: int = MOST_IDS, most_filters: int = MOST_FILTERS
    ) -> None:
        self._store = store
        self._most_ids = most_ids
        self._most_filters = most_filters
        self._kept: OrderedDict[_Key, Ids] = OrderedDict()
        self._ids = 0
        self._asked: dict[_Key, asyncio.Task[Ids]] = {}

    async def ids(self, collection: Collection, where: Filter) -> Ids:
        """Ids of the chunks that the filter lets through, ascending; they are not to be changed.

        Raises InvalidInput when the filter does not fit the declared fields.
        """
        key = (collection.id, collection.version, fingerprint(where))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._look(key, collection, where))
        # who asked first may go away, and the others still want to know
        return await asyncio.shield(self._asked[key])

    async def _look(self, key: _Key, collection: Collection, where: Filter) -> Ids:
        try:
            found = await self._store.matching(collection, where)
        finally:
            del self._asked[key]
        found.flags.writeable = False
        self._keep(key, found)
        return found

    def _keep(self, key: _Key, found: Ids) -> None:
        self._kept[key] = found
        self._ids += len(found)
        while self._ids > self._most_ids or len(self._kept) > self._most_filters:
            _, oldest = self._kept.popitem(last=False)
            self._ids -= len(oldest)
