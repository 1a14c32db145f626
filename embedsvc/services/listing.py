"""All documents of a collection, for what looks at each of them."""

from embedsvc.core.filters import Filter
from embedsvc.core.model import Collection
from embedsvc.errors import TooLarge
from embedsvc.store.reading import Listed, Reading

MOST_DOCUMENTS = 1_000_000
"""Documents of which an answer is made, all in memory (without their texts)."""

_PAGE = 5_000


async def listed(
    reading: Reading, collection: Collection, where: Filter | None, most: int
) -> list[Listed]:
    """The documents with chunks that the filter lets through, in the order they came.

    Raises TooLarge for more than `most`; InvalidInput for a filter that does not fit.
    """
    found: list[Listed] = []
    after = 0
    while page := await reading.documents(collection, where, after, _PAGE):
        found += page
        after = page[-1].number
        if len(found) > most:
            raise TooLarge(
                f"more than {most} documents of {collection.name!r} would be compared; "
                "narrow them by a filter"
            )
    return found
