"""Which chunks a filter lets through, remembered for as long as nothing is written."""

from embedsvc.core.filters import Filter
from embedsvc.core.model import Collection, Ids
from embedsvc.store.store import Store


class Matching:
    """Evaluates filters."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ids(self, collection: Collection, where: Filter) -> Ids:
        """Ids of the chunks that the filter lets through, ascending."""
        return await self._store.matching(collection.id, where)
