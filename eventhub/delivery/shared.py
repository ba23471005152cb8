"""What many ask for at once is fetched once: the same question under way is one question, and answers are kept a while.

A node that restarts sends thousands of clients to the others, which all ask for the same minutes of the same match.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Fetched(NamedTuple, Generic[T]):
    """An answer, and its size in bytes if it may be given again; 0 when the next one may be another."""

    value: T
    keep_bytes: int


class Kept(Generic[T]):
    """Answers that never change, at most `limit_bytes` of them; the one that was used longest ago goes first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes, self._held_bytes = limit_bytes, 0
        self._held: OrderedDict[Hashable, Fetched[T]] = OrderedDict()

    def get(self, key: Hashable) -> T | None:
        """The answer, if it is still there."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found.value

    def put(self, key: Hashable, fetched: Fetched[T]) -> None:
        """Keep it, unless it is too large or not to be kept."""
        if not 0 < fetched.keep_bytes <= self._limit_bytes or key in self._held:
            return
        self._held[key] = fetched
        self._held_bytes += fetched.keep_bytes
        while self._held_bytes > self._limit_bytes:
            _, gone = self._held.popitem(last=False)
            self._held_bytes -= gone.keep_bytes


class Shared(Generic[T]):
    """Answers to questions that wait for others; at most `at_once` are under way, the rest wait their turn."""

    def __init__(self, limit_bytes: int, at_once: int) -> None:
        self._kept: Kept[T] = Kept(limit_bytes)
        self._turns = asyncio.Semaphore(at_once)
        self._under_way: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, fetch: Callable[[], Awaitable[Fetched[T]]]) -> T:
        """The answer to the question that `key` names. Raises what `fetch` raises, to everybody who waits for it."""
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        asked = self._under_way.get(key)
        if asked is None:
            asked = self._under_way[key] = asyncio.create_task(self._ask(key, fetch), name=f"fetch {key}")
            asked.add_done_callback(_retrieve)
        # One who goes away does not take the answer from the others.
        return await asyncio.shield(asked)

    async def _ask(self, key: Hashable, fetch: Callable[[], Awaitable[Fetched[T]]]) -> T:
        try:
            async with self._turns:
                fetched = await fetch()
            self._kept.put(key, fetched)
            return fetched.value
        finally:
            del self._under_way[key]


def _retrieve(asked: "asyncio.Task[T]") -> None:
    """Where all who waited have gone, nobody is left to be told of an error."""
    if not asked.cancelled():
        asked.exception()
