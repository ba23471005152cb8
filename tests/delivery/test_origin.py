"""Pages from elsewhere cannot open the stream, whatever their names; and a small frame cannot be a large one."""

import contextlib
import zlib

import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from eventhub import web
from eventhub.delivery.origin import Origins
from eventhub.errors import ForbiddenError
from eventhub.server import Listener, bind
from tests.delivery.world import World, until

ALLOWED = Origins(["https://watch.example.com", "http://localhost:5173"])


@pytest.mark.parametrize(
    "origin",
    [None, "https://watch.example.com", "HTTPS://Watch.Example.com", "http://localhost:5173", "http://node:8000",
     "https://node:8000"],
)  # fmt: skip
def test_the_nodes_own_pages_those_allowed_and_programs_may(origin: str | None) -> None:
    ALLOWED.check(origin, "node:8000")


@pytest.mark.parametrize(
    "origin",
    ["null", "", "https://evil.com", "https://watch.example.com.evil.com", "https://evil-watch.example.com",
     "http://watch.example.com", "https://watch.example.com:444", "https://watch.example.com@evil.com",
     "https://evil.com/https://watch.example.com", "https://watch.example.com/", "https://watch.example.com ",
     "ws://node:8000", "http://node:8001", "http://node", "file://", "http://localhost"],
)  # fmt: skip
def test_others_may_not(origin: str) -> None:
    with pytest.raises(ForbiddenError):
        ALLOWED.check(origin, "node:8000")


def test_mutant_an_origin_that_only_begins_or_ends_well_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def begins_well(self: Origins, origin: str, host: str | None) -> None:
        if not any(origin.startswith(one) for one in self._allowed):
            raise ForbiddenError("from elsewhere")

    monkeypatch.setattr(Origins, "check", begins_well)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_others_may_not("https://watch.example.com.evil.com")


def test_without_a_host_nothing_is_the_nodes_own() -> None:
    with pytest.raises(ForbiddenError):
        Origins().check("http://", None)


async def test_a_page_from_elsewhere_gets_403_and_no_connection(world: World) -> None:
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    host = f"127.0.0.1:{bound.getsockname()[1]}"

    def from_(origin: str) -> connect:
        protocols = [Subprotocol("eventhub.v1+json")]
        token = {"Authorization": "Bearer good"}
        return connect(
            f"ws://{host}/v1/stream", subprotocols=protocols, additional_headers=token, origin=Origin(origin)
        )

    async with Listener(app, bound):
        async with from_(f"http://{host}"):
            await until(lambda: world.delivery.connections == 1)
        with pytest.raises(InvalidStatus) as refused:
            await from_("https://evil.com")
        assert refused.value.response.status_code == 403
        assert b'"code":"forbidden"' in (refused.value.response.body or b"")
        await until(lambda: world.delivery.connections == 0)


async def test_a_small_compressed_frame_that_is_a_large_one_closes_the_connection(world: World) -> None:
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    url = f"ws://127.0.0.1:{bound.getsockname()[1]}/v1/stream"
    bomb = " " * 5_000_000
    assert len(zlib.compress(bomb.encode())) < 65_536
    async with (
        Listener(app, bound),
        connect(url, subprotocols=[Subprotocol("eventhub.v1+json")]) as client,
    ):
        with contextlib.suppress(ConnectionClosed):
            await client.send(bomb)
        await client.wait_closed()
        assert client.close_code == 1009
        await until(lambda: world.delivery.connections == 0)
