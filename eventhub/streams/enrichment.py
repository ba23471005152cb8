"""Step 2 of the path: raw topics in, the log out. The one writer of log partition p.

Exactly once rests on four things (docs/design/exactly-once.md): a proof of ownership before the fence; the fence, which
makes the broker refuse every older owner; reading the log up to the own fence, which makes the state follow from what
really is there; and the vector in every record, which says how far the raw topics are applied. One batch is in flight,
never two; after any exception the state is discarded and the owner starts over at the proof.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from eventhub import failpoints, record, topics
from eventhub.events import Match
from eventhub.kafka import Declared, FencedWriter, Kafka, Offsets, Writer, read_range
from eventhub.record import MARKER, MARKER_KEY, Outgoing, TellCut, tell_nobody
from eventhub.streams import memory, snapshot
from eventhub.streams.enrich import Consumed, Dead, Enriched, Enricher
from eventhub.streams.lease import Lease
from eventhub.streams.owner import Batch
from eventhub.streams.snapshot import Snapshot
from eventhub.streams.tries import Tries

DEAD_TIMEOUT_S = 10
TURNS = 16
NONE = (-1,) * len(topics.RAW)
Applied = tuple[int, ...]
log = structlog.get_logger(__name__)


class Surroundings(NamedTuple):
    """What every partition of this family shares on a node; `one_try` is held where a record is tried by itself."""

    kafka: Kafka
    offsets: Offsets
    declared: Declared
    registry: Mapping[str, Match]
    catch_up_registry: Callable[[], Awaitable[None]]
    dead_letters: Writer
    node: str
    refresh_s: float
    snapshot_s: float
    one_try: asyncio.Lock
    log_was_cut: TellCut = tell_nobody


class Enrichment:
    """The duty of one log partition."""

    topics: tuple[str, ...] = topics.RAW

    def __init__(self, partition: int, around: Surroundings) -> None:
        self.partition, self._around = partition, around
        self.refresh_s: float | None = around.refresh_s
        self._writer = FencedWriter(around.kafka, f"enrich-{partition}", topics.LOG, partition)
        self._incarnations = record.pack_incarnations([around.declared.incarnations[t] for t in topics.RAW])
        self._turn = 0
        self._survived = 0
        self._snapshot_at = 0.0
        self._snapshot_end = 0
        self.forget()

    def forget(self) -> None:
        """Distrust everything: the next `acquire` reads it from the log."""
        self.ready = False
        self._applied = list(NONE)
        self._reached_ms: list[int | None] = [None] * len(topics.RAW)
        self._enricher = Enricher(self._around.registry, memory.Memory())
        self._newest_ms = 0
        self._tries, self._told = Tries(), False
        self._writer.last = None

    async def release(self) -> None:
        """Let go of the producer; another owner's fence would refuse it anyway."""
        self.forget()
        self._writer.drop()

    def next_offsets(self) -> dict[str, int]:
        """Behind the vector of the log's last record."""
        return {topic: self._applied[i] + 1 for i, topic in enumerate(topics.RAW)}

    async def acquire(self, lease: Lease) -> None:
        """Prove, fence, rebuild up to the fence, write the marker with the vector."""
        await lease.prove({(t, self.partition): o for t, o in self.next_offsets().items()})
        # A proof ages: the less between it and the fence the better.
        lease.check()
        fence = await self._writer.fence(self._around.node)
        failpoints.reach("enrichment.after_fence")
        if self._writer.lost is not None:
            await self._around.log_was_cut(self._writer.lost)
        last = self._writer.last
        if last is None or fence != last + 1:
            await self._rebuild(fence)
        self._writer.last = fence
        # A fence cannot know the vector, so a marker carries it: the next owner finds it right before its own fence.
        await self._writer.write([self._marker()])
        self._told = False
        # Partitions acquired together take their turns, so that their snapshots do not hold up the loop at once.
        turn = 1 + self.partition % TURNS / TURNS
        self._snapshot_at = asyncio.get_running_loop().time() + self._around.snapshot_s * turn
        self.ready = True
        log.debug("fenced", partition=self.partition, fence=fence, applied=self._applied)

    async def apply(self, batches: Sequence[Batch]) -> None:
        """Put one look's records on the log; returns when they are acknowledged."""
        await self._know_matches(batches)
        try:
            if self._tries.careful(self._survived):
                await self._apply_one_by_one(batches)
            else:
                await self._begin()
                await self._apply(batches)
        except Exception:
            # Who can count its own failures was not ended by a record: Kafka was away, or a successor has fenced us.
            self._survived += 1
            raise
        self._tries.clear()
        self._survived = 0
        await self._snapshot_if_due()

    async def _begin(self) -> None:
        """Tell the log, once after each fence, that records are tried now."""
        if not self._told:
            self._told = True
            await self._writer.write([self._marker(record.pack_try(0, record.BATCH))])

    async def _apply(self, batches: Sequence[Batch]) -> None:
        rows: list[Outgoing] = []
        dead: list[tuple[Any, Dead]] = []
        for topic, consumed in batches:
            self._step_all(topic, consumed, rows, dead)
        if dead:
            await self._bury(dead)
            failpoints.reach("enrichment.after_dead_letters")
        if rows:
            # The last record carries the whole vector, so that duplicates dropped behind it are covered too.
            key, value, ((name, head),) = rows[-1]
            whole = self._vector(head[0])
            rows[-1] = Outgoing(key, value, [(name, whole + head[len(whole) :])])
        failpoints.reach("enrichment.before_write")
        await self._writer.write(rows or [self._marker()])
        failpoints.reach("enrichment.after_write")

    async def _apply_one_by_one(self, batches: Sequence[Batch]) -> None:
        """Owners before this one began here and ended: tell the log what is tried, so that the next one knows."""
        log.warning("one record at a time", partition=self.partition, applied=self._applied)
        for topic, consumed in batches:
            index = topics.RAW.index(topic)
            for raw in consumed:
                if self._tries.poisonous(index, raw.offset):
                    await self._bury([(raw, Dead("crash_poison", "it ended its worker twice, and was put aside"))])
                    self._applied[index] = raw.offset
                    await self._writer.write([self._marker()])
                    continue
                # One in the whole process: else what ends it counts against whatever its other partitions try.
                async with self._around.one_try:
                    await self._writer.write([self._marker(record.pack_try(index, raw.offset))])
                    await self._apply([Batch(topic, [raw])])

    def _step_all(
        self, topic: str, consumed: Sequence[Any], rows: list[Outgoing], dead: list[tuple[Any, Dead]]
    ) -> None:
        index, step = topics.RAW.index(topic), self._enricher.step
        for raw in consumed:
            self._applied[index] = raw.offset
            try:
                result = step(Consumed(topic, raw.offset, raw.value, record.head(raw.headers), raw.timestamp))
            except Exception as error:
                result = Dead("enrichment_failed", _told(error))
            if isinstance(result, Enriched):
                head = self._vector(index) + result.tags
                rows.append(Outgoing(result.match_id.encode(), result.value, [("h", head)]))
            elif result is not None:
                dead.append((raw, result))
        self._reached_ms[index] = consumed[-1].timestamp
        self._newest_ms = max(self._newest_ms, consumed[-1].timestamp)

    def _vector(self, source: int) -> bytes:
        return record.pack_vector(source, self._applied, self._incarnations)

    def _marker(self, tried: bytes = b"") -> Outgoing:
        return Outgoing(MARKER_KEY, None, [("h", self._vector(MARKER) + tried)])

    async def _know_matches(self, batches: Sequence[Batch]) -> None:
        """The registry on this node may lag behind the ingest node that admitted an event."""
        asked = {raw.key for _, consumed in batches for raw in consumed}
        if any((key or b"").decode(errors="replace") not in self._around.registry for key in asked):
            await self._around.catch_up_registry()

    async def _bury(self, dead: list[tuple[Any, Dead]]) -> None:
        """Raw bytes, stage and reason to the dead letters, keyed by where they came from, so that repeats are known."""
        letters = []
        for raw, reason in dead:
            log.warning("dead letter", code=reason.code, topic=raw.topic, partition=raw.partition, offset=raw.offset)
            headers = [
                ("stage", b"enrichment"),
                ("code", reason.code.encode()),
                ("detail", reason.detail[:500].encode(errors="backslashreplace")),
                ("attempts", b"1"),
                ("key", raw.key or b""),
                *raw.headers,
            ]
            letters.append(Outgoing(f"{raw.topic}.{raw.partition}.{raw.offset}".encode(), raw.value, headers))
        await self._around.dead_letters.append(topics.DEAD, self.partition, letters, timeout_s=DEAD_TIMEOUT_S)

    async def _rebuild(self, fence: int) -> None:
        """State and vector from the newest snapshot and every record from there up to the own fence."""
        around = self._around
        self.forget()
        epoch = around.declared.epoch
        base = await snapshot.newest(around.kafka, self.partition, epoch=epoch, below=fence)
        vector, start = None, 0
        if base is not None:
            vector, start = base.vector, base.offset
            self._enricher = Enricher(around.registry, memory.load(base.state))
        reached = record.applied(vector) if vector else NONE
        async for records in read_range(around.kafka, topics.LOG, self.partition, start, fence):
            for consumed in records:
                head = record.head(consumed.headers)
                vector = head or vector
                if head:
                    self._tries.see(head, is_event=consumed.value is not None)
                    reached = self._reach(reached, record.applied(head), consumed.timestamp)
                if consumed.value is not None:
                    self._enricher.fold(
                        topics.RAW[head[0]],
                        consumed.key.decode(),
                        consumed.value,
                        record.log_tags(head),
                        consumed.timestamp,
                    )
            self._newest_ms = max(self._newest_ms, records[-1].timestamp)
        if vector is not None:
            self._applied = await self._trusted(vector, start)

    def _reach(self, before: Applied, now: Applied, at_ms: int) -> Applied:
        """Note when the log first said of each topic that it is applied so far."""
        if now != before:
            pairs = enumerate(zip(before, now, strict=True))
            for i in (i for i, (one, other) in pairs if one != other):
                self._reached_ms[i] = at_ms
        return now

    async def _trusted(self, packed: bytes, start: int) -> list[int]:
        """The vector's entries that still mean something: of this incarnation, and not beyond the topic's end.

        `start` is the log offset from which on `_reached_ms` was told.
        """
        vector = record.unpack_vector(packed)
        applied = []
        for topic, offset, life in zip(topics.RAW, vector.applied, vector.incarnations, strict=True):
            now = self._around.declared.incarnations[topic]
            end = (await self._around.offsets.bounds(topic, self.partition)).end
            if life != now:
                log.error(
                    "raw topic was made anew",
                    topic=topic,
                    partition=self.partition,
                    was=life,
                    now=now,
                    hint="read from its beginning; what the old one still held is gone: have it sent again",
                )
                applied.append(-1)
            elif offset >= end:
                following = await self._behind_the_cut(topic, end, start)
                log.error(
                    "raw topic was cut",
                    topic=topic,
                    partition=self.partition,
                    applied=offset,
                    end=end,
                    following=following,
                    hint="Kafka lost acknowledged records: check replication and unclean leader election",
                )
                applied.append(following - 1)
            else:
                applied.append(offset)
        return applied

    async def _behind_the_cut(self, topic: str, end: int, start: int) -> int:
        """The first offset of a cut topic that holds something new: at most its end.

        What was there before the cut is older than the log's first word that it is applied; what came after is newer.
        """
        offsets = self._around.offsets
        since = self._reached_ms[topics.RAW.index(topic)]
        if since is None:
            # Applied so far before the snapshot already.
            since = await offsets.appended_ms(topics.LOG, self.partition, start - 1)
        if since is None:
            return end
        return min(end, (await offsets.at(topic, self.partition + 1, since + 1))[self.partition])

    async def _snapshot_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        end = (self._writer.last or 0) + 1
        if now < self._snapshot_at or end == self._snapshot_end:
            return
        self._snapshot_at = now + self._around.snapshot_s
        self._enricher.memory.forget(self._newest_ms, self._around.registry)
        state = memory.dump(self._enricher.memory)
        await snapshot.write(
            self._writer,
            Snapshot(end, self._vector(MARKER), state),
            turn=self._turn,
            epoch=self._around.declared.epoch,
        )
        self._turn += 1
        self._snapshot_end = end


def _told(error: Exception) -> str:
    """What an error of the step says of itself; one that fails even at that must not take the batch with it."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__
