"""The Faust transport of every family: batches instead of events, the range assignor, own positions.

One Faust event is (token, [records of one partition]). Stock Faust costs 70 to 110 µs an event, splits the raw topics
of a partition over nodes (round robin) and positions itself at committed offsets; here one event carries up to 500
records, the range assignor keeps partition p of all topics together, and each partition's owner seeks to the position
that its projection carries. Topics are declared with acks=False: none of Faust's acknowledgement, gap or read-offset
bookkeeping decides anything. Private attributes of faust-streaming 0.15.3 and aiokafka 0.14.0 are used;
tests/streams/test_contract.py holds them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import faust
import structlog
from aiokafka.consumer.group_coordinator import OffsetCommitRequest
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

BATCH_MAX = 500
FETCH_MAX_WAIT_MS = 25
HEED_S = 1.0
"""For so long a consumer's thread may take to say how its group is."""

log = structlog.get_logger(__name__)

OnAssignment = Callable[[int, set[tuple[str, int]]], Awaitable[None]]
OnDropped = Callable[[set[int]], None]


class BatchSchema(faust.Schema):  # type: ignore[misc]
    """Hands the batch through as the event's value; nothing is decoded here."""

    def compile(self, app: Any, **_: Any) -> Any:
        """The decoder that Faust calls for each message."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, None, message)

        return decode


class _NoReadOffset(dict[Any, Any]):
    """Faust drops, silently, what lies below its own read offset, and after a seek back that value may be stale."""

    def __getitem__(self, tp: Any) -> None:
        return None


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The consumer's own thread and loop."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # aiokafka hands this attribute to the coordinator only in start(), so here is early enough.
        consumer._partition_assignment_strategy = (RangePartitionAssignor,)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return consumer

    def close(self) -> None:
        """Nothing: the thread stops its consumer itself, as the last thing on its own loop.

        Faust calls this when a rebalance meets an App that stops, and would close the connections on the App's loop.
        A transport of uvloop that is closed by another thread while its own reads from it ends the process by SIGSEGV.
        """

    def in_thread(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run a coroutine on the consumer's loop.

        Not through call_thread: its queue has two workers, and two unanswered proofs would block every fetch.
        """
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.thread_loop))

    @property
    def in_group(self) -> bool:
        """Whether there is a coordination that may fail."""
        return self._consumer is not None and self._consumer._coordinator is not None

    @property
    def membership(self) -> tuple[int, str]:
        """Generation and member id of this consumer in its group now."""
        coordinator = self._ensure_consumer()._coordinator
        return coordinator.generation, coordinator.member_id

    async def prove(self, generation: int, member: str, offsets: dict[tuple[str, int], int]) -> bool:
        """True only if the coordinator accepted a commit made as this member in this generation.

        Sent by hand: consumer.commit() uses whatever generation is current when it goes out, retries, and its refusal
        starts rebalances.
        """
        coordinator = self._ensure_consumer()._coordinator
        # Generation -1 without a member is accepted by an empty group; it proves nothing.
        if generation < 1 or not member or (coordinator.generation, coordinator.member_id) != (generation, member):
            return False
        by_topic: dict[str, list[tuple[int, int, str]]] = {}
        for (topic, partition), offset in offsets.items():
            by_topic.setdefault(topic, []).append((partition, offset, ""))
        request = OffsetCommitRequest(
            coordinator.group_id,
            generation,
            member,
            OffsetCommitRequest.DEFAULT_RETENTION_TIME,
            list(by_topic.items()),
        )
        try:
            answer = await coordinator._send_req(request)
        except KafkaError:
            return False
        return all(code == 0 for _, partitions in answer.topics for _, code in partitions)

    async def heed(self) -> None:
        """Take the error that stopped the coordination, so that it goes on. Raises it where it has ended for good.

        aiokafka keeps an error that it does not retry for the next fetch, and does nothing for the group until then.
        """
        coordinator = self._ensure_consumer()._coordinator
        try:
            coordinator.check_errors()
        except KafkaError as error:
            if coordinator._coordination_task.done():
                raise
            hint = "it is tried again; if it comes again and again, ask `eventhub doctor` what the brokers lack"
            log.warning("group coordination failed", group=coordinator.group_id, error=repr(error), hint=hint)

    async def ask_again(self) -> None:
        """Ask Kafka anew which partitions there are; a leader that had not known all of them calls a rebalance then."""
        await self._ensure_consumer()._client.force_metadata_update()

    async def seek_all(self, offsets: dict[tuple[str, int], int]) -> None:
        """Seek; aiokafka also drops what it had prefetched. Raises IllegalStateError during a rebalance."""
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            consumer.seek(TopicPartition(*tp), offset)


class BatchConsumer(driver.Consumer):  # type: ignore[misc]
    """Yields one message per chunk of a partition's records, marked with the partition's latest seek."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _NoReadOffset()
        self._tokens: dict[int, int] = {}
        self._next_at = 0.0

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def on_buffer_full(self, tp: Any) -> None:
        """A full stream blocks the drain instead; stock pausing starves partitions for seconds."""

    def on_buffer_drop(self, tp: Any) -> None:
        """See on_buffer_full."""

    @property
    def thread(self) -> _Thread:
        """The consumer's thread: membership, proofs, seeks."""
        thread: _Thread = self._thread
        return thread

    async def perform_seek(self) -> None:
        """Faust's "seek to committed" after a rebalance, under a deadline: pause all, and let the owners seek."""
        assigned = self.assignment()
        self.pause_partitions(assigned)
        await self.app.on_assignment(self.app.consumer_generation_id, {(tp.topic, tp.partition) for tp in assigned})

    async def heed(self) -> None:
        """Let the group go on after an error that nobody fetched. Raises KafkaError where that ended it for good."""
        if self._thread is None or not self._thread.in_group:
            return
        asked = self.thread.in_thread(self.thread.heed())
        # Waited for, not awaited: a thread that ends cancels what it was asked, and not whoever asked.
        await asyncio.wait({asked}, timeout=HEED_S)
        if not asked.done():
            asked.cancel()
        elif not asked.cancelled():
            asked.result()

    def ask_again(self) -> None:
        """Have Kafka asked which partitions there are; waits for nothing."""
        self.thread.in_thread(self.thread.ask_again())

    async def seek_partition(self, partition: int, offsets: dict[tuple[str, int], int]) -> int:
        """Seek the topics of one partition and let them flow; returns the token that their records carry from now on.

        The token rises before the seek, so that whatever still carries an older one was fetched before it.
        """
        token = self._tokens[partition] = self._tokens.get(partition, 0) + 1
        await self.thread.in_thread(self.thread.seek_all(offsets))
        self.resume_partitions({TP(*tp) for tp in offsets})
        return token

    def hold(self, tps: set[tuple[str, int]]) -> None:
        """Fetch no more of these until `flow`; what was fetched already still comes."""
        self.pause_partitions({TP(*tp) for tp in tps})

    def flow(self, tps: set[tuple[str, int]]) -> None:
        """Let these be fetched again."""
        self.resume_partitions({TP(*tp) for tp in tps})

    async def _wait_next_records(self, timeout: float) -> Any:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        # Stock Faust sleeps a whole second while every partition is paused, which here is so after each rebalance.
        if not self._get_active_partitions():
            await self.sleep(0.005)
            return {}, set()
        return await super()._wait_next_records(timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[Any]:
        """Yield (partition, message) chunks. What is dropped because flow stopped for a rebalance is told to owners."""
        await asyncio.sleep(max(0.0, self._next_at - asyncio.get_running_loop().time()))
        records, _ = await self._wait_next_records(timeout)
        if not records or self.should_stop:
            return
        left = set(records)
        generation = self.app.consumer_generation_id
        # From here to the next fetch at least one pace: under load that makes large batches, and idle it costs nothing.
        self._next_at = asyncio.get_running_loop().time() + self.app.pace_s
        for tp, fetched in records.items():
            token = self._tokens.get(tp.partition, 0)
            for start in range(0, len(fetched), BATCH_MAX):
                if not self.flow_active or self.app.consumer_generation_id != generation:
                    self.app.on_dropped({tp.partition for tp in left})
                    return
                chunk = fetched[start : start + BATCH_MAX]
                yield (
                    tp,
                    ConsumerMessage(
                        tp.topic,
                        tp.partition,
                        chunk[-1].offset,
                        0.0,
                        0,
                        None,
                        None,
                        (token, chunk),
                        None,
                        0,
                        0,
                        TP(*tp),
                        generation_id=generation,
                    ),
                )
            left.discard(tp)


class BatchTransport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with the consumer above."""

    Consumer = BatchConsumer


def install(app: Any, on_assignment: OnAssignment, on_dropped: OnDropped, *, pace_s: float) -> None:
    """Give this Faust App the transport.

    `on_assignment(generation, (topic, partition)s)` is called each rebalance; fetches are at least `pace_s` apart.
    `on_dropped(partitions)` is called when fetched records of them were dropped; an owner may have sought already.
    """
    app.finalize()
    app.pace_s = pace_s
    app.transport = BatchTransport(app.conf.broker_consumer, app)
    app.on_assignment, app.on_dropped = on_assignment, on_dropped
