"""What answers while the node cannot: at first that it is starting, and when Kafka stays away, ingest into the spool.

It knows keys, matches and the mode from the local copies that the node's tables keep. What it takes is drained by the
node as soon as that is open, before anything that comes later.
"""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from eventhub import auth, ingest, kafka, mode, operations, topics, web
from eventhub.app import COPIES, application, limits
from eventhub.config import Settings
from eventhub.errors import UnavailableError

AFTER_S = 2.0


class Front:
    """The application of a port for the whole life of the process: what it answers with changes while it starts."""

    def __init__(self) -> None:
        self.is_open = False
        self._app: ASGIApp = _starting("the node is starting")

    def stand_in(self, app: ASGIApp) -> None:
        """Answer with this until the node is open."""
        if not self.is_open:
            self._app = app

    def open(self, app: ASGIApp) -> None:
        """From now on the node answers."""
        self.is_open, self._app = True, app

    def close(self, why: str) -> None:
        """The node is gone, and another one will be opened."""
        self.is_open, self._app = False, _starting(why)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on to whoever answers now."""
        await self._app(scope, receive, send)


async def stand_in(
    settings: Settings,
    cluster: kafka.Kafka,
    spool: ingest.Spool | None,
    front: Front,
    back: Front,
    *,
    name: str,
    say: Callable[[str], None],
) -> None:
    """When the node is not open after 2 s: take events into the spool, if there is one and the copies are there."""
    await asyncio.sleep(AFTER_S)
    if front.is_open:
        return
    keys, registry = auth.Keys(), ingest.Registry()
    copies = settings.data_dir / COPIES
    known = kafka.restore(copies / topics.ACCOUNTS, keys.fold) and kafka.restore(
        copies / topics.REGISTRY, registry.fold
    )
    back.stand_in(_starting("Kafka does not answer"))
    if spool is None or not known:
        return
    app = _ingest(settings, cluster, spool, keys, registry, name)
    if not front.is_open:
        say("Kafka does not answer: events go to the spool until it does")
        front.stand_in(app)


def _ingest(
    settings: Settings,
    cluster: kafka.Kafka,
    spool: ingest.Spool,
    keys: auth.Keys,
    registry: ingest.Registry,
    name: str,
) -> ASGIApp:
    now_mode = mode.Mode(settings.data_dir / "mode.json", operations.now)
    partitioner = kafka.Partitioner(settings.kafka.partitions)

    async def unavailable() -> None:
        raise UnavailableError("Kafka does not answer; matches cannot be declared now", retry_after_s=5)

    # It writes nothing to Kafka: while Kafka counts as lost, everything goes to the spool.
    carrier = ingest.Carrier(
        kafka.Writer(cluster), partitioner, spool, lost=lambda: True, timeout_s=settings.ingest.ack_timeout_s
    )
    routes = ingest.routes(
        ingest.Node(
            name=name,
            keys=keys,
            mode=now_mode,
            registry=registry,
            known=ingest.Known(),
            registry_caught_up=unavailable,
            writer=kafka.Writer(cluster),
            carriers=dict.fromkeys(topics.SOURCE_TOPIC, carrier),
            partitioner=partitioner,
            adapters=ingest.adapters.load(),
            limits=limits(settings),
            gate=ingest.Gate(limits(settings)),
            window=ingest.Window(),
            now=operations.now,
        )
    )
    return application([*routes, *_everything_else("Kafka does not answer")], now_mode)


def _starting(why: str) -> ASGIApp:
    async def livez(_: Request) -> Response:
        return web.reply({"status": "ok"})

    async def readyz(_: Request) -> Response:
        return web.reply({"status": "starting", "reason": why}, 503)

    return Starlette(routes=[Route("/livez", livez), Route("/readyz", readyz), *_everything_else(why)])


def _everything_else(why: str) -> list[BaseRoute]:
    def refusal() -> Response:
        return web.problem(UnavailableError(f"{why}; try again soon", retry_after_s=1))

    async def refuse(_: Request) -> Response:
        return refusal()

    async def refuse_stream(socket: WebSocket) -> None:
        # A path that nobody serves is answered with 403, after which a client does not come back.
        await socket.send_denial_response(refusal())

    path = "/{path:path}"
    return [
        Route(path, refuse, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
        WebSocketRoute(path, refuse_stream),
    ]
