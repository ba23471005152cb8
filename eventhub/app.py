"""The composition root: everything is opened here, once, in the order of the path.

1 ingest      eventhub/ingest/routes.py        HTTP in, raw topics out
2 enrichment  eventhub/streams/enrichment.py   raw topics in, the log out
3 delivery    eventhub/delivery/tail.py        the log in, sockets out
4 history     eventhub/streams/history.py      the log in, Postgres out
5 aggregation eventhub/streams/aggregation.py  the log in, match sheets out
"""

import asyncio
import contextlib
import gc
import itertools
import os
import platform
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, NamedTuple

import structlog
import uvloop
from starlette.applications import Starlette

from eventhub import (
    auth,
    delivery,
    embedded,
    health,
    ingest,
    kafka,
    operations,
    storage,
    streams,
    telemetry,
    topics,
    web,
)
from eventhub import demo as demo_match
from eventhub.config import Settings
from eventhub.errors import EventhubError, UnavailableError
from eventhub.server import Listener, bind

DEMO_SPEED = 10
GC_THRESHOLD = (100_000, 50, 1000)
MIGRATE_WAIT_S = 5
THREADS_TIMEOUT_S = 2
MIGRATE_AGAIN_S = 1
Say = Callable[[str], None]
Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
log = structlog.get_logger(__name__)


class Node(NamedTuple):
    """A node that works: its two applications, and its parts for tests and for the demo."""

    app: Starlette
    admin: Starlette
    delivery: delivery.Delivery
    stages: list[streams.Stage]
    writer: kafka.Writer


@contextlib.asynccontextmanager
async def node(settings: Settings, addresses: embedded.Addresses, slot: streams.Slot) -> AsyncIterator[Node]:
    """Open a node in path order; on exit everything closes in the opposite order.

    Blocks until Kafka has declared the topics and this node knows keys and matches. Postgres is not waited for.
    """
    name = f"{platform.node()}-{slot.number}"
    cluster = operations.reach(settings, addresses)
    declared = await operations.declare(settings, cluster)
    partitioner = kafka.Partitioner(settings.kafka.partitions)
    offsets, writer = kafka.Offsets(cluster), kafka.Writer(cluster)
    keys, registry = auth.Keys(), ingest.Registry()
    accounts = kafka.Table(cluster, topics.ACCOUNTS, 1, keys.fold)
    matches = kafka.Table(cluster, topics.REGISTRY, partitioner.partitions, registry.fold)

    async def registry_caught_up() -> None:
        await matches.catch_up(settings.ingest.ack_timeout_s)

    # 1 ingest
    ingest_routes = ingest.routes(
        ingest.Node(
            keys=keys,
            registry=registry,
            registry_caught_up=registry_caught_up,
            writer=writer,
            partitioner=partitioner,
            adapters=ingest.adapters.load(),
            limits=ingest.Limits(
                max_body_bytes=settings.ingest.max_body_bytes,
                max_items=settings.ingest.max_items,
                max_depth=settings.ingest.max_depth,
                ack_timeout_s=settings.ingest.ack_timeout_s,
            ),
            now=operations.now,
        )
    )
    # 2 enrichment, 4 history, 5 aggregation
    for_history = storage.Pool(addresses.postgres, "history", size=4, statement_timeout_s=30)
    for_api = storage.Pool(addresses.postgres, "api", size=8, statement_timeout_s=5)
    stages = streams.stages(
        streams.Node(
            kafka=cluster,
            offsets=offsets,
            declared=declared,
            registry=registry,
            catch_up_registry=registry_caught_up,
            dead_letters=writer,
            history=storage.HistoryWriter(for_history, epoch=declared.epoch),
            name=name,
            session_timeout_s=settings.streams.session_timeout_s,
            fence_refresh_s=settings.streams.fence_refresh_s,
            snapshot_s=settings.streams.snapshot_s,
            data_dir=settings.data_dir,
        ),
        list(settings.streams.families),
    )
    # 3 delivery
    live = delivery.Delivery(
        log=kafka.Log(cluster, offsets, epoch=declared.epoch, partitioner=partitioner),
        history=storage.HistoryReader(for_api, epoch=declared.epoch),
        seeds=kafka.Seeds(cluster, partitioner.partitions, declared.epoch),
        registry=registry,
        check=operations.tokens(settings).check,
        node=name,
        limits=delivery.Limits(
            tail_back_s=settings.delivery.tail_back_s,
            ring_bytes=settings.delivery.ring_bytes,
            ping_s=settings.delivery.ping_s,
        ),
    )
    parts: list[Any] = [offsets, writer, accounts, matches, for_history, for_api]
    async with contextlib.AsyncExitStack() as closing:
        for part in [*parts, *stages, live]:
            closing.push_async_callback(part.close)
        await asyncio.gather(*(part.open() for part in parts))
        # Entered last, so that on the way out the tasks end before what they work with is closed.
        start = await closing.enter_async_context(_tasks())
        start(accounts.run())
        start(matches.run())
        await _migrate_soon(addresses.postgres, start)
        join_after_s = slot.wait_s(settings.streams.session_timeout_s)
        start(_stay_alive(slot))
        for stage in stages:
            start(stage.run(join_after_s=join_after_s))
        await live.open()
        start(live.run())
        app = Starlette(
            routes=[*ingest_routes, *live.routes()],
            exception_handlers={EventhubError: web.on_error, Exception: web.on_error},
        )
        admin = Starlette(routes=health.routes(node=name, ready=lambda: live.ready, families=stages))
        yield Node(app, admin, live, stages, writer)


def serve(settings: Settings, services: embedded.Services, *, demo: bool, say: Say) -> None:
    """Run a node on these services until SIGTERM or SIGINT, then leave them: the last node of a folder stops them.

    Raises ConfigError for settings that contradict what is running, UnavailableError when Kafka does not answer.
    """
    telemetry.set_up(terminal=sys.stderr.isatty())
    slot = streams.Slot(settings.data_dir)
    # The ring holds hundreds of thousands of tuples; the default walks them all again and again (a fifth of the CPU).
    gc.set_threshold(*GC_THRESHOLD)
    # Faust's consumer threads make their loops by the policy, and would silently run the slow one.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        for line in services.started:
            say(line)
        asyncio.run(_serve(settings, services.addresses, slot, demo=demo, say=say))
        slot.leave()
    finally:
        services.leave()
        _end_threads()


def _end_threads() -> None:
    """A consumer thread of Faust that hangs would keep the process for ever: everything is closed, so end it."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(THREADS_TIMEOUT_S)
            if thread.is_alive():
                log.warning("thread does not end; ending the process", thread=thread.name)
                sys.stdout.flush()
                os._exit(0 if sys.exc_info()[0] is None else 70)


async def _serve(
    settings: Settings, addresses: embedded.Addresses, slot: streams.Slot, *, demo: bool, say: Say
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    http, admin = settings.http, settings.admin
    public = bind(http.host, http.port, exact="port" in http.model_fields_set, setting="--port")
    private = bind(admin.host, admin.port, exact="port" in admin.model_fields_set, setting="--admin-port")
    async with node(settings, addresses, slot) as running:
        async with Listener(running.app, public) as outside, Listener(running.admin, private) as inside:
            say(f"node {slot.number}: {outside.url}   probes: {inside.url}/readyz   stop with Ctrl-C")
            playing = asyncio.create_task(_play(running, outside.url, say)) if demo else None
            await stop.wait()
            say("draining: clients are told to reconnect")
            if playing is not None:
                playing.cancel()
            await running.delivery.drain(settings.delivery.drain_s)


async def _play(running: Node, url: str, say: Say) -> None:
    """Generated matches, one after another, posted to this node as any source would."""
    keys = {source: await operations.write_key(running.writer, source) for source in auth.SOURCES}
    for seed in itertools.count(1):
        await demo_match.run(url, keys, seed=seed, speed=DEMO_SPEED, say=say, program=sys.argv[0])


async def _migrate_soon(dsn: str, start: Start) -> None:
    """Migrate now if Postgres answers; else go on trying, because the live feed does not wait for it."""

    async def until_done() -> None:
        while True:
            try:
                for applied in await storage.migrate(dsn):
                    log.info("migrated", migration=applied)
            except UnavailableError as error:
                log.warning("cannot migrate yet", error=error.detail)
                await asyncio.sleep(MIGRATE_AGAIN_S)
            else:
                return

    await asyncio.wait([start(until_done())], timeout=MIGRATE_WAIT_S)


@contextlib.asynccontextmanager
async def _tasks() -> AsyncIterator[Start]:
    """Tasks that end with the node; one that fails is logged."""
    running: set[asyncio.Task[None]] = set()

    def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        running.add(task)
        task.add_done_callback(_ended)
        return task

    try:
        yield start
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("task failed", task=str(task.get_coro()), error=repr(task.exception()))


async def _stay_alive(slot: streams.Slot) -> None:
    while True:
        slot.touch()
        await asyncio.sleep(1)
