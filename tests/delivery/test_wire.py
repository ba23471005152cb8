"""The wire on real sockets: what the kernel and a client that does not behave make of it."""

import asyncio
import contextlib
import gc
import json
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from eventhub import web
from eventhub.delivery import Limits
from eventhub.delivery.frame import Frame
from eventhub.delivery.wire import FRAGMENTS, SocketWire
from eventhub.server import Listener, bind
from eventhub.server.handshake import Handshake
from eventhub.server.http import Http
from tests.delivery.conftest import MakeWorld
from tests.delivery.world import World, until

PROTOCOL = [Subprotocol("eventhub.v1+json")]
AUTHORIZED = {"Authorization": "Bearer good"}
QUICK = Limits(window_s=0.001, stuck_s=0.2, close_timeout_s=0.2)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[int]:
    """The port of a started world on the server that nodes have."""
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers=web.handlers())
    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    async with Listener(app, bound):
        yield bound.getsockname()[1]


def stream(port: int, **more: Any) -> connect:
    return connect(f"ws://127.0.0.1:{port}/v1/stream", subprotocols=PROTOCOL, additional_headers=AUTHORIZED, **more)


async def deaf(port: int) -> socket.socket:
    """A client that has subscribed and reads nothing more, through the smallest window."""
    loop = asyncio.get_running_loop()
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.setblocking(False)
    await loop.sock_connect(one, ("127.0.0.1", port))
    client = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/v1/stream"), subprotocols=PROTOCOL)
    request = client.connect()
    request.headers["Authorization"] = "Bearer good"
    client.send_request(request)
    await loop.sock_sendall(one, b"".join(client.data_to_send()))
    client.receive_data(await loop.sock_recv(one, 4096))
    client.send_text(b'{"id":1,"type":"connect"}\n{"id":2,"type":"subscribe","channel":"match:m0"}')
    await loop.sock_sendall(one, b"".join(client.data_to_send()))
    return one


async def flood(world: World, kib: int) -> int:
    """Returns the most that all outboxes held meanwhile, in bytes."""
    most = 0
    for _ in range(kib):
        world.log.append("m0", "n:pass", pad="x" * 1000)
        await world.tailed()
        most = max(most, world.delivery._feed.backlog.held_bytes)
    return most


async def test_a_client_that_reads_nothing_is_freed_while_others_get_everything(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    async with served(world) as port, stream(port) as healthy:
        await healthy.send('{"id":2,"type":"subscribe","channel":"match:m0"}')
        stuck = [await deaf(port) for _ in range(5)]
        await until(lambda: world.delivery.connections == 6)
        heard: list[str] = []

        async def listen() -> None:
            async for text in healthy:
                messages = map(json.loads, str(text).split("\n"))
                heard.extend(m["event"]["event_id"] for m in messages if m["type"] == "event")

        listening = asyncio.create_task(listen())
        held_bytes = await flood(world, 2000)
        assert 0 < held_bytes <= 5 * QUICK.queue_bytes
        await until(lambda: world.delivery.connections == 1, "the stuck ones to be freed")
        assert world.delivery._feed.backlog.held_bytes == 0
        await until(lambda: len(heard) == 2000)
        assert heard == [f"0-{offset}" for offset in range(2000)]
        listening.cancel()
        for one in stuck:
            one.close()


async def test_it_finds_out_a_wire_that_never_says_that_it_is_full(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SocketWire, "pause_writing", lambda self: None)
    world = make_world(QUICK)
    async with served(world) as port:
        one = await deaf(port)
        await until(lambda: world.delivery.connections == 1)
        assert await flood(world, 2000) == 0
        assert world.delivery.connections == 1
        one.close()


async def test_nothing_of_the_handshake_stays_and_no_task_is_a_clients(make_world: MakeWorld) -> None:
    world = make_world(replace(QUICK, ping_s=60))
    async with served(world) as port:
        before = len(asyncio.all_tasks())
        deafs = [await deaf(port) for _ in range(20)]
        await until(lambda: world.delivery.connections == 20)
        await until(lambda: len(asyncio.all_tasks()) == before)
        gc.collect()
        alive = [type(one) for one in gc.get_objects()]
        assert alive.count(Handshake) == alive.count(Http) == 0
        assert alive.count(SocketWire) == 20
        for one in deafs:
            one.close()
        await until(lambda: world.delivery.connections == 0)


async def test_a_frame_is_compressed_once_for_all_who_asked_for_it(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    async with served(world) as port, stream(port) as packed, stream(port, compression=None) as plain:
        for client in (packed, plain):
            await client.send('{"id":2,"type":"subscribe","channel":"match:m0"}')
            await client.recv()
        assert [type(one).__name__ for one in packed.protocol.extensions] == ["PerMessageDeflate"]
        world.log.append("m0", "c:goal", pad="na" * 2000)
        first, second = await packed.recv(), await plain.recv()
        assert first == second


def test_the_compressed_form_is_smaller_the_same_text_and_made_once() -> None:
    frame = Frame([b'{"type":"event","pad":"' + b"na" * 2000 + b'"}'])
    assert frame.deflated is frame.deflated
    assert len(frame.deflated) < len(frame.packed) / 10
    assert frame.deflated[0] == 0xC1
    size = 2 if frame.deflated[1] < 126 else 4
    inflate = zlib.decompressobj(-15)
    assert inflate.decompress(frame.deflated[size:] + b"\x00\x00\xff\xff") == frame.data
    small = Frame([b"{}"])
    assert small.deflated is small.packed


async def test_pings_are_answered_and_too_many_fragments_are_not(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    async with served(world) as port, stream(port) as client:
        await asyncio.wait_for(await client.ping(), 5)
        with contextlib.suppress(ConnectionClosed):
            await client.send("" for _ in range(FRAGMENTS + 2))
        await asyncio.wait_for(client.wait_closed(), 5)
        assert client.close_code == 1009


async def test_a_client_that_goes_during_the_handshake_leaves_nothing(make_world: MakeWorld) -> None:
    world = make_world(QUICK)
    async with served(world) as port:
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Protocol: eventhub.v1+json\r\nAuthorization: Bearer good\r\n\r\n"
            )
            writer.transport.abort()
            del reader
        async with stream(port) as client:
            await client.send('{"id":2,"type":"subscribe","channel":"match:m0"}')
            assert "subscribed" in str(await client.recv())
            await until(lambda: world.delivery.connections == 1)
