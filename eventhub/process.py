"""The life of a node's process: ports, signals, the node itself, and what stands in for it while Kafka is down."""

import asyncio
import contextlib
import gc
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
import uvloop

from eventhub import auth, embedded, failpoints, ingest, operations, streams, telemetry
from eventhub import demo as demo_match
from eventhub.app import Node, node
from eventhub.config import Settings
from eventhub.server import Listener, bind
from eventhub.standin import Front, stand_in
from eventhub.watchdog import Watchdog

DEMO_SPEED = 10
GC_THRESHOLD = (10_000, 500, 1000)
THREADS_TIMEOUT_S = 2
CLOSE_TIMEOUT_S = 60
Say = Callable[[str], None]
Greet = Callable[[str, str, str], None]
"""Takes the node's name and the URLs of its external and its admin port, once it serves."""
log = structlog.get_logger(__name__)


def serve(settings: Settings, services: embedded.Services, *, demo: bool, say: Say, greet: Greet) -> None:
    """Run a node on these services until SIGTERM or SIGINT, then leave them: the last node of a folder stops them.

    Raises ConfigError for settings that contradict what is running, UnavailableError when Kafka does not answer.
    """
    telemetry.set_up(terminal=sys.stderr.isatty())
    failpoints.arm(os.environ, profile=settings.profile)
    slot = streams.Slot(settings.data_dir)
    # The ring holds hundreds of thousands of tuples; the default walks them all again and again (a fifth of the CPU).
    # Ten thousand young ones are a pause of 6 ms, ten times as many were one of 45.
    gc.set_threshold(*GC_THRESHOLD)
    # Faust's consumer threads make their loops by the policy, and would silently run the slow one.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        for line in services.started:
            say(line)
        asyncio.run(_watched(_serve(settings, services.addresses, slot, demo=demo, say=say, greet=greet)))
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


async def _watched(work: Coroutine[Any, Any, None]) -> None:
    with Watchdog().watching():
        await work


async def _serve(
    settings: Settings, addresses: embedded.Addresses, slot: streams.Slot, *, demo: bool, say: Say, greet: Greet
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    http, admin = settings.http, settings.admin
    public = bind(http.host, http.port, exact="port" in http.model_fields_set, setting="--port")
    private = bind(admin.host, admin.port, exact="port" in admin.model_fields_set, setting="--admin-port")
    front, back = Front(), Front()
    spool = _spool(settings)
    async with contextlib.AsyncExitStack() as listening:
        outside = await listening.enter_async_context(Listener(front, public))
        inside = await listening.enter_async_context(Listener(back, private))

        async def run() -> None:
            while not stop.is_set():
                closing: asyncio.TimerHandle | None = None
                async with node(settings, addresses, slot, spool) as running:
                    front.open(running.app)
                    back.open(running.admin)
                    greet(slot.name, outside.url, inside.url)
                    playing = asyncio.create_task(_play(running, outside.url, say)) if demo else None
                    await _either(stop, running.over)
                    say("draining: clients are told to reconnect")
                    if playing is not None:
                        playing.cancel()
                    await running.delivery.drain(settings.delivery.drain_s)
                    if stop.is_set():
                        # Nothing comes in any more when the node's parts close.
                        await listening.aclose()
                    else:
                        say("topics were made anew, or the log was cut: the node starts over")
                        for one in (front, back):
                            one.close("the node is starting over")
                        closing = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT_S, _give_up)
                if closing is not None:
                    closing.cancel()
                slot.rest()

        cluster = operations.reach(settings, addresses)
        standing = asyncio.create_task(stand_in(settings, cluster, spool, front, back, name=slot.name, say=say))
        try:
            await _until_stopped(asyncio.create_task(run()), stop, lambda: front.is_open)
        finally:
            standing.cancel()
    if spool is not None:
        await spool.close()


def _give_up() -> None:
    """A node that cannot be closed would refuse everything for ever and look alive; ended, it is started again."""
    hint = "what supervises nodes starts it again; nothing is lost by that"
    log.error("the node does not close; ending the process", after_s=CLOSE_TIMEOUT_S, hint=hint)
    sys.stdout.flush()
    os._exit(75)


async def _either(*events: asyncio.Event) -> None:
    """Return once one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()


async def _until_stopped(running: asyncio.Task[None], stop: asyncio.Event, is_open: Callable[[], bool]) -> None:
    """The node ends by itself once it is open; one that still starts is cancelled. Raises what it raises."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not running.done() and not is_open():
        running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _spool(settings: Settings) -> ingest.Spool | None:
    """The spool, where the disk of this node counts as durable: by the setting, else beside an embedded Kafka."""
    durable = settings.spool.durable
    if not (settings.kafka.bootstrap_servers is None if durable is None else durable):
        return None
    return ingest.Spool(operations.spool_root(settings), max_bytes=settings.spool.max_bytes)


async def _play(running: Node, url: str, say: Say) -> None:
    """Generated matches, one after another and other ones every day, posted to this node as any source would."""
    keys = {source: await operations.write_key(running.writer, source) for source in auth.SOURCES}
    for seed in itertools.count(operations.now().toordinal()):
        await demo_match.run(url, keys, seed=seed, speed=DEMO_SPEED, say=say, program=sys.argv[0])
