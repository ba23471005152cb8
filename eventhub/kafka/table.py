"""Topics that a node takes from their first record on and follows for as long as it lives.

What a table folded is kept in a local file too, so that a node that starts while Kafka is down knows keys and matches.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from eventhub.errors import UnavailableError
from eventhub.kafka.clients import Kafka

Take = Callable[[Any], None]
"""Takes a consumed record."""
Fold = Callable[[str, bytes | None], None]
"""Takes a key and its newest value; None deletes the key."""
AGAIN_S = 0.5
ASK_EVERY_S = 0.02
"""Whoever asks for what does not exist costs Kafka no more than a question so often."""

log = structlog.get_logger(__name__)


class Follower:
    """Takes every record of a topic, from its first on. `take` runs on the event loop and must not block."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int, take: Take) -> None:
        self.topic = topic
        self._tps = [TopicPartition(topic, p) for p in range(partitions)]
        self._take = take
        self._kafka = kafka
        self.whole = False
        """Whether everything was taken that was there when it was opened."""
        self._consumer: Any = None
        self._position: dict[Any, int] = {}
        self._moved = asyncio.Condition()
        self._turn, self._asked_at = asyncio.Lock(), 0.0
        self._next: asyncio.Task[dict[Any, int]] | None = None

    async def open(self) -> None:
        """Take everything that is on the topic now; blocks until Kafka has given it."""
        await self.close()
        self._consumer = self._kafka.consumer(fetch_max_wait_ms=200)
        await self._consumer.start()
        self._consumer.assign(self._tps)
        await self._consumer.seek_to_beginning(*self._tps)
        ends = await self._consumer.end_offsets(self._tps)
        # Compaction leaves holes, so the consumer's own position counts and not the last record.
        while any([await self._consumer.position(tp) < ends[tp] for tp in self._tps]):
            await self._take_all(await self._consumer.getmany(timeout_ms=200))
        self.whole = True

    async def run(self) -> None:
        """Follow the topic until cancelled, and open it if it is not; a failure of Kafka is logged and waited out."""
        while True:
            try:
                if not self.whole:
                    await self.open()
                await self._take_all(await self._consumer.getmany(timeout_ms=1000))
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.warning("topic cannot be read", topic=self.topic, error=repr(error))
                await asyncio.sleep(AGAIN_S)

    async def catch_up(self, timeout_s: float) -> None:
        """Return once everything is taken that was on the topic when this was called.

        Raises UnavailableError after `timeout_s`, or once Kafka has refused.
        """
        try:
            async with asyncio.timeout(timeout_s):
                ends = await self._ends()
                async with self._moved:
                    await self._moved.wait_for(lambda: all(self._position.get(tp, 0) >= ends[tp] for tp in self._tps))
        except (TimeoutError, KafkaError, ConsumerStoppedError) as error:
            raise UnavailableError(f"{self.topic} could not be read to its end within {timeout_s:g} s") from error

    async def _ends(self) -> dict[Any, int]:
        """The topic's ends as they are after this call; all who ask before the question goes out share it."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask_ends())
        return await asyncio.shield(self._next)

    async def _ask_ends(self) -> dict[Any, int]:
        loop = asyncio.get_running_loop()
        async with self._turn:
            await asyncio.sleep(max(0.0, self._asked_at + ASK_EVERY_S - loop.time()))
            self._next, self._asked_at = None, loop.time()
            ends: dict[Any, int] = await self._consumer.end_offsets(self._tps)
            return ends

    async def close(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def _take_all(self, batches: dict[Any, list[Any]]) -> None:
        for records in batches.values():
            for record in records:
                try:
                    self._take(record)
                except Exception as error:
                    # One unreadable record must not hide all later ones of a topic that a node cannot do without.
                    log.error("record cannot be folded", topic=self.topic, offset=record.offset, error=repr(error))
        for tp in self._tps:
            self._position[tp] = await self._consumer.position(tp)
        async with self._moved:
            self._moved.notify_all()


class Table(Follower):
    """A compacted topic, folded; what it folded is kept in a file too, where `kept` names one."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int, fold: Fold, *, kept: Path | None = None) -> None:
        super().__init__(kafka, topic, partitions, self._fold_one)
        self._fold, self._kept = fold, kept
        self._copy: dict[str, bytes] = {}
        self._changed = False

    async def open(self) -> None:
        """Fold everything that is on the topic now; blocks until Kafka has given it."""
        await super().open()
        await self._keep()

    def _fold_one(self, record: Any) -> None:
        if record.key is None:
            return
        key = record.key.decode()
        self._fold(key, record.value)
        if self._kept is not None and self._copy.get(key) != record.value:
            self._changed = True
            if record.value is None:
                self._copy.pop(key, None)
            else:
                self._copy[key] = record.value

    async def _take_all(self, batches: dict[Any, list[Any]]) -> None:
        await super()._take_all(batches)
        await self._keep()

    async def _keep(self) -> None:
        # Half a copy would be worse than that of the last time.
        if self._kept is not None and self._changed and self.whole:
            self._changed = False
            await asyncio.to_thread(_write, self._kept, dict(self._copy))


def restore(kept: Path, fold: Fold) -> bool:
    """Fold a table's local copy; False when there is none that can be read."""
    try:
        copy = msgspec.msgpack.decode(kept.read_bytes(), type=dict[str, bytes])
    except (OSError, msgspec.MsgspecError):
        return False
    for key, value in copy.items():
        fold(key, value)
    return True


def _write(kept: Path, copy: dict[str, bytes]) -> None:
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f"{kept.name}.new")
        draft.write_bytes(msgspec.msgpack.encode(copy))
        draft.chmod(0o600)
        draft.replace(kept)
    except OSError as error:
        log.warning("no local copy was kept", file=kept.name, error=repr(error), hint="is the data folder writable?")
