"""A broker in memory: what matters of Kafka for exactly once, and only that.

Partitions with offsets and append times; producer epochs, of which an older one is refused from the first record of a
newer one on; batches that come again are known by their sequence; retention and compaction. Requests take their time,
arrive even when their sender is dead by then, and answers may be lost although the record was written.
"""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, NamedTuple

from aiokafka.errors import ProducerFenced

from eventhub.record import Outgoing
from tests.simulation.loop import Process, SimLoop

AGAIN_S = 0.25
"""After this time a client sends a request again that was not answered."""


class Record(NamedTuple):
    """A record as consumers get it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Partition:
    """Records by offset (None where compaction took one), and what the broker knows of producers."""

    __slots__ = ("beginning", "epochs", "name", "number", "records", "sequences", "waiting")

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.records: list[Record | None] = []
        self.beginning = 0
        self.epochs: dict[int, int] = {}
        self.sequences: dict[tuple[int, int, int], int] = {}
        self.waiting: list[tuple[Process, Callable[[], None]]] = []

    @property
    def end(self) -> int:
        """The next offset."""
        return len(self.records)

    def present(self) -> list[Record]:
        """Everything that was ever appended and that compaction left, cut or not."""
        return [record for record in self.records if record is not None]

    def slice(self, start: int, limit: int) -> tuple[list[Record], int]:
        """Up to `limit` records from an offset on, and the position behind them."""
        position = max(start, self.beginning)
        found: list[Record] = []
        while position < len(self.records) and len(found) < limit:
            record = self.records[position]
            if record is not None:
                found.append(record)
            position += 1
        return found, position


class Broker:
    """All topics, and the network to them."""

    def __init__(self, loop: SimLoop, rng: Random) -> None:
        self.loop, self._rng = loop, rng
        self.partitions: dict[tuple[str, int], Partition] = {}
        self.producers: dict[str, tuple[int, int]] = {}
        self.down_since: float | None = None
        self.mute = False
        self.proofs: set[tuple[Process, str]] = set()
        self.slow: dict[Process, float] = {}
        self.fetch_max = 1 + int(rng.random() * 12)
        self.batch_max = 2 + int(rng.random() * 12)
        self._pids = 0

    def partition(self, topic: str, number: int) -> Partition:
        """The partition, made on first use."""
        found = self.partitions.get((topic, number))
        if found is None:
            found = self.partitions[topic, number] = Partition(topic, number)
        return found

    def silent_s(self) -> float:
        """For how long no fetch has been answered."""
        return self.loop.now - self.down_since if self.down_since is not None else 0.0

    def initialise(self, transactional_id: str | None) -> tuple[int, int]:
        """Producer id and epoch; of a transactional id the epoch rises each time."""
        if transactional_id is None:
            self._pids += 1
            return self._pids, 0
        known = self.producers.get(transactional_id)
        if known is None:
            self._pids += 1
            known = self._pids, -1
        made = self.producers[transactional_id] = known[0], known[1] + 1
        return made

    def append(self, tp: tuple[str, int], producer: tuple[int, int], sequence: int, rows: Sequence[Outgoing]) -> int:
        """The offset of the first row. Raises ProducerFenced once this partition has a record of a newer epoch."""
        partition = self.partition(*tp)
        pid, epoch = producer
        if epoch < partition.epochs.get(pid, epoch):
            raise ProducerFenced
        known = partition.sequences.get((pid, epoch, sequence))
        if known is not None:
            return known
        partition.epochs[pid] = epoch
        first = partition.sequences[pid, epoch, sequence] = partition.end
        now_ms = self.loop.now_ms()
        for key, value, headers in rows:
            partition.records.append(Record(*tp, partition.end, now_ms, key, value, tuple(headers)))
        waiting, partition.waiting = partition.waiting, []
        for process, news in waiting:
            self.loop.call_soon(news, context=process.context)
        return first

    def cut(self, tp: tuple[str, int], beginning: int) -> None:
        """Retention: what lies below is gone."""
        partition = self.partition(*tp)
        partition.beginning = max(partition.beginning, min(beginning, partition.end))

    def compact(self, tp: tuple[str, int]) -> None:
        """Keep the newest record of each key."""
        partition = self.partition(*tp)
        seen: set[bytes | None] = set()
        for offset in range(partition.end - 1, -1, -1):
            record = partition.records[offset]
            if record is not None:
                if record.key in seen:
                    partition.records[offset] = None
                seen.add(record.key)

    def request(
        self,
        process: Process,
        work: Callable[[], Any],
        then: Callable[[Any, BaseException | None], None],
        wanted: Callable[[], bool],
    ) -> None:
        """Have work done at the broker; its outcome comes to the process by `then`. Sent again while `wanted`."""
        loop = self.loop

        def arrive() -> None:
            if self.down_since is not None:
                if wanted() and not process.dead:
                    loop.call_at(loop.now + AGAIN_S, arrive, context=loop.world.context)
                return
            outcome, error = None, None
            try:
                outcome = work()
            except Exception as raised:
                error = raised
            if self.mute:
                loop.call_at(loop.now + AGAIN_S, again, context=loop.world.context)
            else:
                loop.call_at(loop.now + self._delay(process), then, outcome, error, context=process.context)

        def again() -> None:
            if wanted() and not process.dead:
                arrive()

        loop.call_at(loop.now + self._delay(process), arrive, context=loop.world.context)

    def call(self, process: Process, work: Callable[[], Any]) -> asyncio.Future[Any]:
        """Like `request`, as a future of the process."""
        future: asyncio.Future[Any] = self.loop.create_future()

        def then(outcome: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(outcome)

        self.request(process, work, then, lambda: not future.done())
        return future

    def _delay(self, process: Process) -> float:
        chance = self._rng.random()
        slow = self.slow.get(process)
        if slow is not None:
            return chance * slow
        return 0.0003 + 0.002 * chance if chance < 0.97 else 0.2 * (chance - 0.96) * 25
