"""What a node's start waits for, and what it does not: topics, the audit, the schema (path: before step 1)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog

from eventhub import kafka, mode, operations, storage
from eventhub.config import Settings
from eventhub.errors import ConfigError, UnavailableError
from eventhub.kafka import audit
from eventhub.tasks import end

DECLARE_AGAIN_S = 0.5
MIGRATE_WAIT_S = 5
MIGRATE_AGAIN_S = 1
Start = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
"""Starts a task that ends with the node."""
log = structlog.get_logger(__name__)


async def declare(settings: Settings, cluster: kafka.Kafka, *, patient: bool) -> kafka.Declared:
    """Declare the topics; `patient` waits for Kafka without limit, else UnavailableError after 30 s."""
    while True:
        try:
            return await operations.declare(settings, cluster)
        except UnavailableError as error:
            if not patient:
                raise
            log.warning("waiting for Kafka", error=error.detail)
            await asyncio.sleep(DECLARE_AGAIN_S)


async def gate(cluster: kafka.Kafka, settings: Settings, start: Start) -> None:
    """Audit the cluster: production waits for it, and one that is too weak ends the start with ConfigError."""
    if settings.profile == "production":
        await audit.gate(cluster, audit.needs(settings))
    elif settings.kafka.bootstrap_servers is not None:
        start(_advise(cluster, settings))


async def _advise(cluster: kafka.Kafka, settings: Settings) -> None:
    """Say what of this cluster production would refuse; a development node works on it all the same."""
    try:
        await audit.gate(cluster, audit.needs(settings))
    except (UnavailableError, ConfigError) as error:
        log.warning("the cluster cannot be audited", error=error.detail)


async def migrate_soon(dsn: str, now_mode: mode.Mode, start: Start, migrated: asyncio.Event) -> None:
    """Migrate now if Postgres answers and may be written; else later, because the live feed does not wait for it.

    Blocks for 5 s at most; sets `migrated` once the schema is there.
    """

    async def until_done() -> None:
        while True:
            await now_mode.writable()
            try:
                for applied in await storage.migrate(dsn):
                    log.info("migrated", migration=applied)
            except UnavailableError as error:
                log.warning("cannot migrate yet", error=error.detail)
                await asyncio.sleep(MIGRATE_AGAIN_S)
            else:
                migrated.set()
                return

    await asyncio.wait([start(until_done())], timeout=0 if now_mode.read_only else MIGRATE_WAIT_S)


@contextlib.asynccontextmanager
async def tasks() -> AsyncIterator[Start]:
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
        await end(*running)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("task failed", task=str(task.get_coro()), error=repr(task.exception()))
