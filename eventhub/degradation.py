"""What is lost now: watches the mode, Kafka, PostgreSQL and Redis, and has clients told within a second of a change.

What changes nothing for clients is kept for operators only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

import structlog

from eventhub.delivery.notices import Degradation
from eventhub.mode import Setting

EVERY_S = 0.2
KAFKA_SILENT_S = 2.0
log = structlog.get_logger(__name__)


class Loss(NamedTuple):
    """A sentence for people, and since when; None: since it was found."""

    reason: str
    since: datetime | None = None


class Notices(Protocol):
    """Whom it is told."""

    def enter(self, cause: str, affected: tuple[str, ...], since: datetime, reason: str) -> None:
        """A cause begins, or its words change."""

    def leave(self, cause: str, since: datetime, reason: str) -> None:
        """A cause is over."""


class Told(Protocol):
    """What clients were told of."""

    @property
    def mode(self) -> str:
        """`normal`, `degraded` or `read_only`."""

    @property
    def causes(self) -> Mapping[str, Degradation]:
        """By cause."""


class ForOperators:
    """All causes: those that clients were told of, and those that are entered here, of which they are not."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._quiet: dict[str, Degradation] = {}

    @property
    def mode(self) -> str:
        """As clients see it, but `degraded` also where only operators need to know."""
        return "degraded" if self._quiet and self._told.mode == "normal" else self._told.mode

    @property
    def causes(self) -> Mapping[str, Degradation]:
        """What holds now, by cause."""
        return {**self._told.causes, **self._quiet}

    def enter(self, cause: str, affected: tuple[str, ...], since: datetime, reason: str) -> None:
        """A cause begins, or its words change."""
        self._quiet[cause] = Degradation(affected, since, reason)

    def leave(self, cause: str, since: datetime, reason: str) -> None:
        """A cause is over."""
        self._quiet.pop(cause, None)


class Watched(NamedTuple):
    """One cause: what it affects, how to ask whether it holds now, and what to say when it is over."""

    cause: str
    affected: tuple[str, ...]
    ask: Callable[[], Awaitable[Loss | None]]
    over: str


async def watch(watched: Watched, notices: Notices, now: Callable[[], datetime]) -> None:
    """Ask again and again, for ever; a question that takes longer than the pause delays only its own cause."""
    lost: Loss | None = None
    while True:
        found = await watched.ask()
        if found is not None and (lost is None or (found.since is not None and found != lost)):
            log.warning("degraded", cause=watched.cause, affected=watched.affected, reason=found.reason)
            notices.enter(watched.cause, watched.affected, found.since or now(), found.reason)
            lost = found
        elif found is None and lost is not None:
            log.info("no longer degraded", cause=watched.cause)
            notices.leave(watched.cause, now(), watched.over)
            lost = None
        await asyncio.sleep(EVERY_S)


def kafka(silent_s: Callable[[], float]) -> Watched:
    """Kafka is lost when no fetch of the tail was answered for 2 s, not even with nothing."""

    async def ask() -> Loss | None:
        if silent_s() <= KAFKA_SILENT_S:
            return None
        return Loss("Kafka does not answer: live events wait, nothing that was accepted is lost")

    return Watched("kafka", ("kafka",), ask, "Kafka answers again: live events go on where they stopped")


def postgres(ask_server: Callable[[], Awaitable[str | None]]) -> Watched:
    """Postgres is lost when a connection of its own gets no answer."""

    async def ask() -> Loss | None:
        refusal = await ask_server()
        return (
            None
            if refusal is None
            else Loss(
                "PostgreSQL does not answer: live events go on, history catches up; nobody can log in, and"
                " access tokens are honoured for 24 h past their end"
            )
        )

    return Watched("postgres", ("postgres", "login", "refresh"), ask, "PostgreSQL answers again: history catches up")


def redis(refusal: Callable[[], str | None]) -> Watched:
    """Redis is lost when it was asked in vain twice; nothing changes for clients, so this is for operators."""

    async def ask() -> Loss | None:
        why = refusal()
        if why is None:
            return None
        return Loss(
            f"Redis does not answer ({why}): nodes count their clients each alone; see that it runs and that redis.url"
            " leads to it, it is asked again by itself"
        )

    return Watched("redis", ("limits over all nodes",), ask, "Redis answers again: nodes count clients together")


def mode(cause: str, current: Callable[[], Setting]) -> Watched:
    """Read-only, by the operators' word."""

    async def ask() -> Loss | None:
        setting = current()
        return Loss(setting.reason, setting.since) if setting.mode == "read_only" else None

    return Watched(cause, ("writes", "login", "refresh"), ask, "the platform takes writes again")
