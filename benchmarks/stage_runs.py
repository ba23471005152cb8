"""The product's stages, each alone: its own class on the real broker, this process's CPU counted while it works."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

from benchmarks import beside, load
from benchmarks.platform import Ground
from benchmarks.taker import Taker
from eventhub import app, auth, ingest, kafka, mode, operations, record, storage, streams, topics
from eventhub.config import Settings
from eventhub.delivery.channels import MATCH, Channels, Name
from eventhub.delivery.hub import Hub
from eventhub.delivery.ring import Ring
from eventhub.delivery.sheets import Sheets
from eventhub.delivery.tail import Tail
from eventhub.delivery.view import ALL
from eventhub.record import Outgoing
from eventhub.server import Listener, bind

LOOK_S, DEADLINE_S, ACK_TIMEOUT_S = 0.02, 120, 30
SESSION_TIMEOUT_S = 6
Reached = Callable[[Mapping[str, Mapping[int, int]]], bool]
"""Takes by topic and partition the next offset that nobody has written; True once all below is done."""


class Around(NamedTuple):
    """What every stage here works with."""

    on: Ground
    beside: beside.Beside
    offsets: kafka.Offsets
    registry: ingest.Registry


class Running(NamedTuple):
    """A stage that has nothing to do yet: its input, and whether it is done with it."""

    topic: str
    reached: Reached


@asynccontextmanager
async def accept(around: Around) -> AsyncIterator[tuple[str, str]]:
    """The routes of ingest behind the node's own server; the URL and a key."""
    on, now = around.on, operations.now
    keys, the_mode = auth.Keys(), mode.Mode(on.folder / "mode.json", now)
    secret, key = auth.new_key("broadcast", now())
    keys.fold(*auth.record_key(key))
    the_mode.settle()
    writer, partitioner = kafka.Writer(on.cluster), kafka.Partitioner(on.partitions)
    carrier = ingest.Carrier(writer, partitioner, None, lost=lambda: False, timeout_s=ACK_TIMEOUT_S)
    node = ingest.Node(
        name="bench",
        keys=keys,
        mode=the_mode,
        registry=around.registry,
        known=ingest.Known(),
        registry_caught_up=_at_once,
        writer=writer,
        carriers=dict.fromkeys(topics.SOURCE_TOPIC, carrier),
        window=ingest.Window(),
        partitioner=partitioner,
        adapters=ingest.adapters.load(),
        limits=app.limits(Settings()),
        gate=ingest.Gate(app.limits(Settings())),
        now=now,
    )
    async with Listener(
        app.application(ingest.routes(node), the_mode), bind("127.0.0.1", 0, exact=True, setting="")
    ) as at:
        yield at.url, secret
    await writer.close()


async def posted(url: str, key: str, lanes: Sequence[Sequence[load.Body]]) -> float:
    """CPU seconds of this process while a source posts everything to a server in it."""
    source = load.Load(load.Plan(url, key, lanes))
    try:
        await source.ready()
        before = time.process_time()
        source.go()
        await source.sent()
        return time.process_time() - before
    finally:
        source.close()


@asynccontextmanager
async def family(around: Around, name: str) -> AsyncIterator[Running]:
    """One family of streams with every partition; yields once it has caught up with what was there."""
    on = around.on
    pool = storage.Pool(on.dsn, "history", size=4, statement_timeout_s=30)
    dead_letters = kafka.Writer(on.cluster)
    (stage,) = streams.stages(
        streams.Node(
            kafka=on.cluster,
            offsets=around.offsets,
            declared=on.declared,
            registry=around.registry,
            catch_up_registry=_at_once,
            dead_letters=dead_letters,
            history=storage.HistoryWriter(pool, epoch=on.declared.epoch),
            writable=_at_once,
            name="bench",
            session_timeout_s=SESSION_TIMEOUT_S,
            fence_refresh_s=3600,
            snapshot_s=3600,
            data_dir=on.folder,
            log_was_cut=record.tell_nobody,
        ),
        [name],
    )

    def reached(ends: Mapping[str, Mapping[int, int]]) -> bool:
        stage.judge((), asyncio.get_running_loop().time())
        return len(stage.reports) == on.partitions and all(
            report.next.get(topic, 0) >= ends[topic][p] for p, report in stage.reports.items() for topic in ends
        )

    async with AsyncExitStack() as closing:
        await pool.open()
        closing.push_async_callback(pool.close)
        closing.push_async_callback(dead_letters.close)
        closing.push_async_callback(stage.close)
        running = asyncio.create_task(stage.run())
        closing.push_async_callback(_ended, running)
        await _until(lambda: len(stage.partitions) == on.partitions, f"{name} to have its partitions")
        source = stage.family.topics[0]
        work = Running(source, reached)
        await _until_reached(around, work, stage.family.topics)
        yield work


@asynccontextmanager
async def tail(around: Around, subscribers: int) -> AsyncIterator[Running]:
    """Tail, ring, sheets and hub, with subscribers of every match known by now that take frames and drop them."""
    on = around.on
    partitioner = kafka.Partitioner(on.partitions)
    log = kafka.Log(on.cluster, around.offsets, epoch=on.declared.epoch, partitioner=partitioner)
    sheets = Sheets(log, around.registry)
    channels = Channels(around.registry, partitioner)
    hub = Hub(log, around.registry, channels, lambda match_id: sheets.of(match_id).body, window_s=0.02)
    reader = Tail(log, Ring(256 << 20, partitioner), sheets, hub, ingest.Known().learn)
    await reader.open(0)
    for match_id in around.registry:
        for taker in [Taker() for _ in range(subscribers)]:
            hub.join(Name(MATCH, match_id), ALL, taker, taker.offer)
    running = asyncio.create_task(reader.run())
    try:
        yield Running(topics.LOG, lambda ends: all(reader.position(p) >= end for p, end in ends[topics.LOG].items()))
    finally:
        await _ended(running)


async def worked(around: Around, work: Running, records: Sequence[Outgoing]) -> float:
    """CPU seconds of this process while the stage works off these records, which another process writes."""
    on = around.on
    path = beside.keep(on.folder / "records", records)
    before = time.process_time()
    await around.beside.run(beside.fill, on.cluster, path, work.topic, on.partitions)
    await _until_reached(around, work, [work.topic])
    return time.process_time() - before


async def _until_reached(around: Around, work: Running, names: Sequence[str]) -> None:
    ends = {name: await around.offsets.ends(name, around.on.partitions) for name in names}
    await _until(lambda: work.reached(ends), f"{', '.join(names)} to be worked off")


async def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.perf_counter() + DEADLINE_S
    while not condition():
        assert time.perf_counter() < deadline, f"waited {DEADLINE_S} s for {what}"
        await asyncio.sleep(LOOK_S)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _at_once() -> Awaitable[None]:
    return asyncio.sleep(0)
