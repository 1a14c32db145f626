"""Vectors into the store as they come, and which text is at fault when a batch is not embedded."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from embedsvc.errors import EmbedsvcError, ProviderError, ProviderRejected, ProviderWrong
from embedsvc.services.backends import Vectors
from embedsvc.store.store import Store


@dataclass(slots=True)
class Storing:
    """Embeds texts by their keys and stores what comes, looking for the text that is at fault.

    `call` embeds; `sound` raises when the backend does not embed its canaries as it should.
    """

    store: Store
    space_id: int
    texts: Mapping[bytes, str]
    call: Callable[[Sequence[str]], Awaitable[Vectors]]
    sound: Callable[[], Awaitable[None]]
    given_up: EmbedsvcError | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def slice(
        self, keys: Sequence[bytes], sound: bool = False
    ) -> tuple[int, dict[bytes, EmbedsvcError]]:
        """The tokens that were read, and what failed, by key. `sound`: the backend was checked."""
        if self.given_up is not None:
            return 0, dict.fromkeys(keys, self.given_up)
        try:
            return await self._stored(keys), {}
        except (ProviderRejected, ProviderWrong) as error:
            if len(keys) == 1 or not (sound or await self._is_sound(error)):
                return 0, dict.fromkeys(keys, error)
            half = len(keys) // 2  # the text at fault shall fail alone
            first = await self.slice(keys[:half], True)
            second = await self.slice(keys[half:], True)
            return first[0] + second[0], {**first[1], **second[1]}
        except EmbedsvcError as error:
            await self._is_sound(error)
            return 0, dict.fromkeys(keys, error)

    async def _stored(self, keys: Sequence[bytes]) -> int:
        vectors = await self.call([self.texts[key] for key in keys])
        await self.store.add_vectors(self.space_id, keys, vectors.rows)
        return vectors.tokens

    async def _is_sound(self, error: EmbedsvcError) -> bool:
        """Whether harmless texts are embedded well; if not, nothing more is sent."""
        async with self.lock:
            if self.given_up is None:
                try:
                    await self._check_after(error)
                except EmbedsvcError as worse:
                    same = isinstance(worse, ProviderRejected | ProviderWrong)
                    self.given_up = error if same else worse
            return self.given_up is None

    async def _check_after(self, error: EmbedsvcError) -> None:
        """Raises EmbedsvcError where another text would fare no better."""
        blames_texts = error.transient or isinstance(error, ProviderRejected)
        if not blames_texts or not isinstance(error, ProviderError):
            raise error
        await self.sound()
