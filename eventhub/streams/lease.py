"""What an owner holds of its partition: an assignment, and the proof that it still is one."""

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple, Protocol, TypeVar

PROOF_AGAIN_S = 0.2

T = TypeVar("T")


class Changed(Exception):  # noqa: N818 - a signal, not an error
    """The assignment changed while waiting."""


class Membership(NamedTuple):
    """Generation and member id under which partitions were assigned."""

    generation: int
    member: str


class Consumer(Protocol):
    """What an owner needs of the group consumer."""

    def membership(self) -> Membership:
        """Of now."""

    async def prove(self, membership: Membership, offsets: dict[tuple[str, int], int]) -> bool:
        """True only if the coordinator accepted a commit made under this membership."""

    async def seek_partition(self, partition: int, offsets: dict[tuple[str, int], int]) -> int:
        """Seek and resume; returns the token of what is fetched from then on."""

    def hold(self, tps: set[tuple[str, int]]) -> None:
        """Stop fetching."""

    def flow(self, tps: set[tuple[str, int]]) -> None:
        """Fetch again."""


class Lease:
    """One assignment of one partition, as the duty sees it."""

    def __init__(self, consumer: Consumer, membership: Membership, changed: asyncio.Event) -> None:
        self._consumer, self._membership, self._changed = consumer, membership, changed
        self.proving_since: float | None = None
        """Since when the coordinator was asked and has not accepted (loop's clock); None: it has, or nobody asked."""

    def check(self) -> None:
        """Raise Changed when the assignment is no longer the one of this lease."""
        if self._changed.is_set():
            raise Changed

    async def prove(self, offsets: dict[tuple[str, int], int]) -> None:
        """Return once the coordinator has accepted a commit under this lease.

        Refused or unanswered: asks again, without limit, until the assignment changes (Changed). So a node that was
        frozen and has lost the partition never goes on to fence its successor.
        """
        self.proving_since = asyncio.get_running_loop().time()
        try:
            while not await self.or_changed(self._consumer.prove(self._membership, offsets)):
                await self.or_changed(asyncio.sleep(PROOF_AGAIN_S))
        finally:
            # Also when the assignment changed: an owner without a partition keeps this lease, and waits for nothing.
            self.proving_since = None

    async def or_changed(self, awaitable: Awaitable[T]) -> T:
        """Wait without limit, except that a new assignment ends the wait with Changed."""
        work = asyncio.ensure_future(awaitable)
        change = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({work, change}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
        finally:
            change.cancel()
            if not work.done():
                work.cancel()
        raise Changed
