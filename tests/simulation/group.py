"""A consumer group: members, generations, assignments; and the group consumer that feeds a node's owners.

The consumer is the port `streams.owner.Consumer`, with what `streams.transport` does on Faust: a token for each seek,
chunks of one partition, and now and then a chunk of before a seek that slips through under the new token.
"""

import asyncio
from collections.abc import Callable
from random import Random

from eventhub.kafka import Offsets
from eventhub.streams.lease import Membership
from eventhub.streams.owner import Duty, Owner
from tests.simulation.broker import Broker, Record
from tests.simulation.loop import Process

SESSION_S = 2.0
REJOIN_S = 0.4
SLIP = 0.1
FETCH_S = 0.01
PREFIX = {"enrichment": "enrich", "aggregation": "aggregate"}
"""Of the transactional ids of a family."""


class Group:
    """The coordinator's side of one family."""

    def __init__(
        self, broker: Broker, rng: Random, partitions: int, say: Callable[[Process | None, str], None]
    ) -> None:
        self.broker, self._rng, self._partitions, self.say = broker, rng, partitions, say
        self.generation = 0
        self.rebalancing = False
        self.members: dict[GroupConsumer, str] = {}
        self._number = 0

    def join(self, consumer: "GroupConsumer") -> None:
        """A member comes, under a name of its own."""
        self._number += 1
        self.members[consumer] = f"{self._rng.randrange(1 << 16):04x}-{self._number}"
        self.rebalance()

    def remove(self, consumer: "GroupConsumer") -> None:
        """A member left, or its session is over."""
        if self.members.pop(consumer, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        """Proofs are refused until the new generation stands."""
        if not self.rebalancing:
            self.rebalancing = True
            self._later(0.02 + self._rng.random() * 0.3, self._settle)

    def prove(self, membership: Membership) -> bool:
        """Whether a commit under this membership is taken."""
        known = membership.member in self.members.values()
        return known and not self.rebalancing and membership.generation == self.generation

    def _settle(self) -> None:
        if self.broker.down_since is not None:
            self._later(0.5, self._settle)
            return
        # Who does not answer when the group is made anew is out of it.
        for consumer in [c for c in self.members if c.process.frozen or c.process.dead]:
            del self.members[consumer]
        self.rebalancing = False
        self.generation += 1
        order = sorted(self.members, key=self.members.__getitem__)
        for index, consumer in enumerate(order):
            mine = [p for p in range(self._partitions) if p % len(order) == index]
            membership = Membership(self.generation, self.members[consumer])
            loop = self.broker.loop
            at = loop.now + self._rng.random() * 0.1
            loop.call_at(at, consumer.assigned, membership, mine, context=consumer.process.context)

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        loop = self.broker.loop
        loop.call_at(loop.now + delay_s, work, context=loop.world.context)


class _Fetch:
    """Where one topic of one partition is read."""

    __slots__ = ("busy", "listening", "paused", "position")

    def __init__(self) -> None:
        self.position = 0
        self.paused, self.busy, self.listening = True, False, False


class GroupConsumer:
    """One node's consumer of one family, and its owners."""

    def __init__(
        self,
        group: Group,
        process: Process,
        rng: Random,
        family: str,
        names: tuple[str, ...],
        duty: Callable[[int], Duty],
        offsets: Offsets,
    ) -> None:
        self.group, self.process, self._rng = group, process, rng
        self.family, self._names, self._duty, self._offsets = family, names, duty, offsets
        self.owners: dict[int, Owner] = {}
        self._membership = Membership(-1, "")
        self._tokens: dict[int, int] = {}
        self._fetches: dict[tuple[str, int], _Fetch] = {}
        self._broker: Broker = group.broker

    def assigned(self, membership: Membership, mine: list[int]) -> None:
        """A rebalance is over, as `streams.stage` takes it."""
        if membership.generation < self._membership.generation:
            return
        self._membership = membership
        self.group.say(self.process, f"{self.family}: generation {membership.generation}, partitions {mine}")
        for fetch in self._fetches.values():
            fetch.paused = True
        for p in mine:
            if p not in self.owners:
                self.owners[p] = Owner(self.family, p, self._duty(p), self, self._offsets)
        for p, owner in self.owners.items():
            owner.assign(membership if p in mine else None)

    def woken(self) -> None:
        """The process was frozen: its next heartbeat tells whether it is still a member."""
        if self not in self.group.members:
            self.group.join(self)

    def membership(self) -> Membership:
        """As this consumer knows it."""
        return self._membership

    async def prove(self, membership: Membership, offsets: dict[tuple[str, int], int]) -> bool:
        """Ask the coordinator."""
        if membership != self._membership:
            return False
        partition = next(iter(offsets))[1]

        def commit() -> bool:
            taken = self.group.prove(membership)
            if taken:
                self._broker.proofs.add((self.process, f"{PREFIX.get(self.family)}-{partition}"))
            return taken

        return bool(await self._broker.call(self.process, commit))

    async def seek_partition(self, partition: int, offsets: dict[tuple[str, int], int]) -> int:
        """The token rises first, then the positions move."""
        token = self._tokens[partition] = self._tokens.get(partition, 0) + 1
        await asyncio.sleep(0)
        if self.group.rebalancing and self._rng.random() < 0.5:
            raise RuntimeError("no current assignment for the partition")
        for tp, offset in offsets.items():
            fetch = self._fetches.setdefault(tp, _Fetch())
            fetch.position = offset
        await asyncio.sleep(0)
        self.flow(set(offsets))
        return token

    def hold(self, tps: set[tuple[str, int]]) -> None:
        """Fetch no more of these."""
        for tp in tps:
            if tp in self._fetches:
                self._fetches[tp].paused = True

    def flow(self, tps: set[tuple[str, int]]) -> None:
        """Fetch these again."""
        for tp in sorted(tps):
            self._fetches[tp].paused = False
            self._kick(tp)

    def _kick(self, tp: tuple[str, int]) -> None:
        fetch = self._fetches[tp]
        if fetch.paused or fetch.busy:
            return
        partition = self._broker.partition(*tp)
        if fetch.position >= partition.end:
            if not fetch.listening:
                fetch.listening = True
                partition.waiting.append((self.process, lambda: self._heard(tp)))
            return
        fetch.busy = True
        asked = fetch.position
        self._broker.request(
            self.process,
            lambda: partition.slice(asked, self._broker.fetch_max),
            lambda found, _: self._fetched(tp, asked, *found),
            lambda: True,
        )

    def _heard(self, tp: tuple[str, int]) -> None:
        self._fetches[tp].listening = False
        # What is written within this time comes in one chunk.
        asyncio.get_running_loop().call_later(FETCH_S, self._kick, tp)

    def _fetched(self, tp: tuple[str, int], asked: int, records: list[Record], position: int) -> None:
        fetch = self._fetches[tp]
        fetch.busy = False
        topic, partition = tp
        moved = fetch.position != asked
        if not moved:
            fetch.position = position
        if records and (not moved or self._rng.random() < SLIP):
            self.owners[partition].offer(topic, self._tokens[partition], records)
        self._kick(tp)
