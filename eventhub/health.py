"""Probes of the admin port, for orchestrators and operators. They answer from what a task keeps and ask no dependency.

`/livez` says whether a restart would help: not while everything that waits has a reason outside this node. `/readyz`
says whether clients may be sent here. `/status` tells everything, of this node and of the cluster.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub import topics, web
from eventhub.errors import UnavailableError
from eventhub.kafka import Bounds
from eventhub.streams import Report

ASK_EVERY_S = 2.0
JUDGE_EVERY_S = 0.5
FROZEN_S = 10.0
ASKED = (*topics.RAW, topics.LOG)
log = structlog.get_logger(__name__)

Reach = Callable[[Sequence[str]], Awaitable[Mapping[tuple[str, int], Bounds]]]
"""How far every partition of these topics reaches; raises UnavailableError."""


class Family(Protocol):
    """What is asked of a stream family on this node."""

    rebuilt: int
    reports: dict[int, Report]
    joining_s: float

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def partitions(self) -> list[int]:
        """Partitions that this node works on now."""

    def look(self, bounds: Mapping[tuple[str, int], Bounds], at: float) -> None:
        """Take what Kafka said."""

    def judge(self, away: Sequence[str], now: float) -> None:
        """Bring the reports up to date."""

    def excuse(self, now: float) -> None:
        """What did not happen until now is nobody's fault."""


class Degraded(Protocol):
    """What is lost now."""

    @property
    def mode(self) -> str:
        """`normal`, `degraded` or `read_only`."""

    @property
    def causes(self) -> Mapping[str, Any]:
        """By cause: what it affects, since when, why."""


class Once:
    """A condition that goes on to hold when it held once."""

    def __init__(self, holds: Callable[[], bool]) -> None:
        self._holds, self._held = holds, False

    def __call__(self) -> bool:
        """Whether it holds, or held before."""
        self._held = self._held or self._holds()
        return self._held


class Health:
    """What is known of this node. `ask` and `watch` run for as long as the node lives.

    `conditions` are those of readiness, by name.
    """

    def __init__(
        self,
        *,
        node: str,
        families: Sequence[Family],
        degraded: Degraded,
        conditions: Mapping[str, Callable[[], bool]],
        stuck_after_s: float,
        now: Callable[[], datetime],
    ) -> None:
        self.node, self.families, self.degraded = node, families, degraded
        self.stuck: list[dict[str, Any]] = []
        self.blocked: list[dict[str, Any]] = []
        self.watched = True
        self._conditions, self._stuck_after_s, self._now = conditions, stuck_after_s, now
        self._unanswered = False

    @property
    def conditions(self) -> dict[str, bool]:
        """Each condition of readiness, and whether it holds."""
        return {name: holds() for name, holds in self._conditions.items()}

    @property
    def ready(self) -> bool:
        """All of them hold."""
        return all(self.conditions.values())

    async def ask(self, reach: Reach) -> None:
        """Ask Kafka every 2 s how far the topics reach, for ever; to have stopped asking is told by `/livez`."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                asked_at = loop.time()
                try:
                    bounds = await reach(ASKED)
                except UnavailableError:
                    self._unanswered = True
                else:
                    self._unanswered = False
                    for family in self.families:
                        family.look(bounds, asked_at)
                await asyncio.sleep(ASK_EVERY_S)
        finally:
            self.watched = False

    async def watch(self) -> None:
        """Judge twice a second, for ever; to have stopped judging is told by `/livez`."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        try:
            while True:
                now = loop.time()
                if now - before > FROZEN_S:
                    log.warning("this process stood still", for_s=round(now - before, 1))
                    for family in self.families:
                        family.excuse(now)
                before = now
                self.judge(now)
                await asyncio.sleep(JUDGE_EVERY_S)
        finally:
            self.watched = False

    def judge(self, now: float) -> None:
        """Bring `stuck` and `blocked` up to date. `now` is of the loop's clock."""
        away = [*self.degraded.causes]
        if self._unanswered and "kafka" not in away:
            away.append("kafka")
        stuck, blocked = [], []
        for family in self.families:
            family.judge(away, now)
            if family.joining_s > self._stuck_after_s:
                stuck.append(self._told(family.name, None, family.joining_s, state="joining"))
            for partition, report in family.reports.items():
                behind = {"lag": report.lag, "lag_s": report.lag_s}
                if report.stalled_s > self._stuck_after_s:
                    stuck.append(self._told(family.name, partition, report.stalled_s, state=report.state, **behind))
                if report.blocked_by:
                    blocked.append(self._told(family.name, partition, report.blocked_s, by=report.blocked_by, **behind))
        for new in stuck:
            if not any((s["family"], s["partition"]) == (new["family"], new["partition"]) for s in self.stuck):
                log.error("stuck", **new)
        self.stuck, self.blocked = stuck, blocked

    def _told(self, family: str, partition: int | None, for_s: float, **more: Any) -> dict[str, Any]:
        since = (self._now() - timedelta(seconds=for_s)).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"family": family, "partition": partition, "since": since, **more}

    def status(self) -> dict[str, Any]:
        """This node, for `/status`."""
        families = {
            family.name: {
                "partitions": family.partitions,
                "rebuilt": family.rebuilt,
                "progress": {str(p): msgspec.to_builtins(report) for p, report in family.reports.items()},
            }
            for family in self.families
        }
        return {
            "node": self.node,
            "ready": self.ready,
            "mode": self.degraded.mode,
            "degraded": {name: cause._asdict() for name, cause in self.degraded.causes.items()},
            "stuck": self.stuck,
            "families": families,
        }


def routes(health: Health, cluster: Callable[[], dict[str, Any]]) -> list[BaseRoute]:
    """`/livez`, `/readyz` and `/status`; `cluster` tells what is known of all nodes."""

    async def livez(_: Request) -> Response:
        live = health.watched and not health.stuck
        body = {"status": "ok" if live else "stuck", "stuck": health.stuck, "blocked": health.blocked}
        return web.reply(body, 200 if live else 503)

    async def readyz(_: Request) -> Response:
        conditions = health.conditions
        ready = all(conditions.values())
        return web.reply({"status": "ok" if ready else "unready", "conditions": conditions}, 200 if ready else 503)

    async def status(_: Request) -> Response:
        return web.reply({**health.status(), "cluster": cluster()})

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/status", status)]
