"""Probes of the admin port, for orchestrators and operators; they ask no dependency."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from eventhub import web


class Family(Protocol):
    """What is shown of a stream family."""

    rebuilt: int

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def partitions(self) -> list[int]:
        """Partitions that this node works on now."""


def routes(*, node: str, ready: Callable[[], bool], families: Sequence[Family]) -> list[BaseRoute]:
    """`/livez`, `/readyz` and `/status`."""

    async def livez(_: Request) -> Response:
        return web.reply({"status": "ok"})

    async def readyz(_: Request) -> Response:
        is_ready = ready()
        return web.reply({"status": "ok" if is_ready else "starting"}, 200 if is_ready else 503)

    async def status(_: Request) -> Response:
        shown: dict[str, Any] = {
            family.name: {"partitions": family.partitions, "rebuilt": family.rebuilt} for family in families
        }
        return web.reply({"node": node, "ready": ready(), "families": shown})

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/status", status)]
