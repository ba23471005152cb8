"""One node: the product's parts, wired as `eventhub.app` wires them, on simulated Kafka, PostgreSQL, disk and clock."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import KafkaError

from eventhub import topics
from eventhub.delivery import Delivery
from eventhub.delivery.feed import Limits
from eventhub.errors import UnavailableError
from eventhub.ingest import Carrier, Spool, sender
from eventhub.kafka import Kafka, Log, Offsets, Partitioner, Seeds, Writer
from eventhub.storage import HistoryReader, HistoryWriter, Pool
from eventhub.streams import aggregation, enrichment
from eventhub.streams.aggregation import Aggregation
from eventhub.streams.enrichment import Enrichment
from eventhub.streams.history import History
from eventhub.streams.owner import Duty
from tests.simulation.clients import SimKafka
from tests.simulation.group import GroupConsumer
from tests.simulation.loop import Process
from tests.simulation.postgres import SimPool
from tests.simulation.source import Sent, check

if TYPE_CHECKING:
    from tests.simulation.world import World

ACK_TIMEOUT_S = 1.5
SILENT_S = 2.0


class Node:
    """One life of a node, from its start to its crash."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.process = Process(world.loop, name)
        self.consumers: list[GroupConsumer] = []
        self.arrivals: list[Sent] = []
        self.delivery: Delivery | None = None
        self.carrier: Carrier | None = None
        self.spool: Spool | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._main = self.process.start(self._forever(self._run()))

    @property
    def open(self) -> bool:
        """Whether clients may come."""
        alive = not self.process.dead and not self.process.frozen
        return alive and self.delivery is not None and self.delivery.ready

    async def take(self, sent: Sent) -> None:
        """What the ingest routes do with an accepted item."""
        if self.carrier is None:
            raise UnavailableError("starting")
        self.arrivals.append(sent)
        await self.carrier.append(sent.topic, {sent.match_id: [sent.outgoing]})

    def crash(self) -> None:
        """End as SIGKILL ends it: the kernel drops locks and connections, the coordinator finds out later."""
        self.process.kill()
        self.world.disk.drop(self.process)

    async def _run(self) -> None:
        while True:
            try:
                await self._start()
            except (UnavailableError, KafkaError) as error:
                self.world.say(self.process, f"cannot start: {error}")
                await asyncio.sleep(0.5)
            else:
                return

    async def _start(self) -> None:
        world, settings = self.world, self.world.settings
        kafka = cast(Kafka, SimKafka(world.broker, self.process))
        pool = cast(Pool, SimPool(world.postgres, self.process))
        partitioner = cast(Partitioner, world.partitioner)
        offsets, writer, carrying = Offsets(kafka), Writer(kafka), Writer(kafka)
        await offsets.open()
        if settings.spool:
            self.spool = Spool(world.disk.root, max_bytes=settings.spool_bytes)
            self._start_task(self.spool.run(sender(writer, partitioner, timeout_s=ACK_TIMEOUT_S)))
        self.carrier = Carrier(
            carrying,
            partitioner,
            self.spool,
            lost=lambda: world.broker.silent_s() > SILENT_S,
            timeout_s=ACK_TIMEOUT_S,
        )
        self._join(kafka, offsets, writer, HistoryWriter(pool, epoch=world.declared.epoch))
        if settings.watchers:
            await self._deliver(kafka, offsets, pool, partitioner)

    def _join(self, kafka: Kafka, offsets: Offsets, writer: Writer, history: HistoryWriter) -> None:
        world, settings = self.world, self.world.settings
        enrich = enrichment.Surroundings(
            kafka,
            offsets,
            world.declared,
            world.registry,
            _known,
            writer,
            self.name,
            settings.refresh_s,
            settings.snapshot_s,
            asyncio.Lock(),
        )
        around = aggregation.Surroundings(kafka, world.declared, world.registry, _known, self.name)
        families: list[tuple[str, tuple[str, ...], Callable[[int], Duty]]] = [
            ("enrichment", topics.RAW, lambda p: Enrichment(p, enrich)),
            ("history", (topics.LOG,), lambda p: History(p, history, offsets, world.writable)),
            ("aggregation", (topics.LOG,), lambda p: Aggregation(p, around, refresh_s=settings.refresh_s)),
        ]
        for family, names, duty in families:
            consumer = GroupConsumer(world.groups[family], self.process, world.net, family, names, duty, offsets)
            self.consumers.append(consumer)
            world.groups[family].join(consumer)

    async def _deliver(self, kafka: Kafka, offsets: Offsets, pool: Pool, partitioner: Partitioner) -> None:
        world = self.world
        epoch = world.declared.epoch
        log = Log(kafka, offsets, epoch=epoch, partitioner=partitioner)
        delivery = Delivery(
            log=log,
            history=HistoryReader(pool, epoch=epoch),
            seeds=Seeds(kafka, world.settings.partitions, epoch),
            registry=world.registry,
            catch_up_registry=_known,
            check=check,
            node=self.name,
            limits=Limits(
                tail_back_s=world.settings.tail_back_s,
                ring_bytes=world.settings.ring_bytes,
                page_events=4,
                ping_s=5,
                queue_bytes=world.settings.queue_bytes,
                conflate_after_s=world.settings.conflate_after_s,
                snapshot_after_s=world.settings.snapshot_after_s,
            ),
            jitter=world.net.random,
        )
        await delivery.open()
        self._start_task(delivery.run())
        self.delivery = delivery

    def _start_task(self, work: Awaitable[Any]) -> None:
        self._tasks.append(asyncio.create_task(self._forever(work)))

    async def _forever(self, work: Awaitable[Any]) -> None:
        try:
            await work
        except Exception as error:
            self.world.loop.failures.append(f"{self.name}: a task that must not end did: {error!r}")
            raise


async def _known() -> None:
    return
