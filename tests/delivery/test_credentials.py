"""Where a token may come from, and what a client without one gets: nothing (security checklist, 3 and 4)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from eventhub import web
from eventhub.auth import Principal
from eventhub.delivery import connection as connection_of
from eventhub.delivery.door import Door
from eventhub.server import Listener, bind
from tests.delivery.conftest import MakeWorld
from tests.delivery.world import SMALL, World, until

AMBIENT: list[dict[str, Any]] = [
    {"query": "?token=good"},
    {"query": "?access_token=good"},
    {"query": "?authorization=Bearer%20good"},
    {"headers": {"Cookie": "token=good; access_token=good; session=good"}},
    {"headers": {"X-Authorization": "Bearer good"}},
    {"headers": {"Authorization": "Basic good"}},
]


@contextlib.asynccontextmanager
async def served(world: World) -> AsyncIterator[str]:
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    async with Listener(app, bound):
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def stream(host: str, query: str = "", headers: dict[str, str] | None = None) -> connect:
    protocols = [Subprotocol("eventhub.v1+json")]
    return connect(
        f"ws://{host}/v1/stream{query}", subprotocols=protocols, additional_headers=headers or {}, ping_interval=None
    )


async def everything(socket: ClientConnection) -> str:
    """All that comes until the close."""
    told = ""
    with contextlib.suppress(ConnectionClosed):
        async for message in socket:
            told += str(message)
    return told


@pytest.mark.parametrize("place", AMBIENT)
async def test_a_token_in_the_url_or_a_cookie_is_none(make_world: MakeWorld, place: dict[str, Any]) -> None:
    world = make_world(replace(SMALL, auth_deadline_s=0.1))
    world.log.append("m0")
    await world.start()
    headers = place.get("headers", {})
    async with served(world) as host, httpx2.AsyncClient(base_url=f"http://{host}", headers=headers) as http:
        query = place.get("query", "?")
        for path in ("/v1/matches", "/v1/matches/m0/events", "/v1/stream/sse"):
            answer = await http.get(f"{path}{query}&channel=match:m0")
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), path
        if headers.get("Authorization"):
            return
        async with stream(host, **place) as socket:
            await socket.send('{"id":1,"type":"connect"}')
            told = await everything(socket)
        assert socket.close_code == 3500 and "unauthorized" in told and "connected" not in told


async def who_does_not_say_who_it_is_gets_nothing(world: World) -> None:
    """No page, no token, every other command: not one byte of the log, and an end within the deadline."""
    world.log.append("m0", title="canary")
    await world.start()
    async with served(world) as host:
        for said in (
            '{"id":1,"type":"subscribe","channel":"match:m0","from":"start"}',
            '{"id":1,"type":"refresh","token":"bad"}',
            "",
        ):
            async with stream(host) as socket:
                if said:
                    await socket.send(said)
                told = await everything(socket)
            assert socket.close_code == 3500 and "canary" not in told and "state" not in told
        await until(lambda: world.delivery.connections == 0)


async def test_who_does_not_say_who_it_is_gets_nothing(make_world: MakeWorld) -> None:
    await who_does_not_say_who_it_is_gets_nothing(make_world(replace(SMALL, auth_deadline_s=0.1)))


async def test_mutant_a_deadline_that_never_comes(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_of.Connection, "_unconnected", lambda _: None)
    with pytest.raises((AssertionError, TimeoutError)):
        async with asyncio.timeout(2):
            await who_does_not_say_who_it_is_gets_nothing(make_world(replace(SMALL, auth_deadline_s=0.1)))


async def test_mutant_a_door_that_reads_the_url(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def named(self: Door, request: HTTPConnection) -> Principal | None:
        token = request.query_params.get("token")
        return None if token is None else self.check(token)

    monkeypatch.setattr(Door, "named", named)
    with pytest.raises((AssertionError, TimeoutError)):
        async with asyncio.timeout(2):
            await test_a_token_in_the_url_or_a_cookie_is_none(make_world, AMBIENT[0])


async def a_stranger_may_send_little(world: World) -> None:
    """What comes before the token is read without knowing from whom, so less of it is taken."""
    await world.start()
    stranger, known = world.client(None), world.client("good")
    for client in (stranger, known):
        client.subscribe("match:" + "x" * 20_000)
    await until(lambda: stranger.closed is not None)
    assert stranger.closed == (3502, "too_large") and known.closed is None


async def test_a_stranger_may_send_little(world: World) -> None:
    await a_stranger_may_send_little(world)


async def test_mutant_a_stranger_may_send_as_much_as_anyone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_of, "STRANGER_BYTES", 65_536)
    with pytest.raises(AssertionError):
        await a_stranger_may_send_little(world)
