"""The Python client where scenarios do not lead: handshakes, cancelled steps, slow programs, tokens, memory."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
import websockets
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from clients.conformance.steps import MATCH, end, event, subscribed
from eventhub_client import Client, ClosedError, Event, GaveUpError, LostError, Message, RefusedError
from eventhub_client.channels import REMEMBERED, Channel
from eventhub_client.tokens import RENEW_AT, renew_after_s

FAST_S = (0.01, 0.05)
Serve = Callable[[ServerConnection], Awaitable[None]]
Door = Callable[[ServerConnection, Request], Response | None]


@asynccontextmanager
async def node(play: Serve, door: Door | None = None) -> AsyncIterator[str]:
    """A node on loopback: its address."""
    protocol = websockets.Subprotocol("eventhub.v1+json")
    async with serve(play, "127.0.0.1", 0, subprotocols=[protocol], process_request=door) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def say(socket: ServerConnection, *messages: dict[str, Any]) -> None:
    await socket.send("\n".join(map(json.dumps, messages)))


async def greet(socket: ServerConnection, ping_s: float = 5) -> dict[str, Any]:
    """Take `connect` and the first subscribe; returns that."""
    await socket.recv()
    await say(socket, {"id": 1, "type": "connected", "session": "s", "node": "n", "ping_s": ping_s, "mode": "normal"})
    asked: dict[str, Any] = json.loads(await socket.recv())
    await say(socket, subscribed())
    return asked


async def ends(socket: ServerConnection) -> None:
    """A node that ends it at once."""
    await greet(socket)
    await say(socket, end())
    await socket.wait_closed()


async def first(client: Client) -> Message:
    async with asyncio.timeout(10):
        return await anext(client)


async def test_a_handshake_that_is_refused_for_now_is_tried_again_when_the_node_says() -> None:
    answers = [HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS]
    told: list[tuple[str, float]] = []

    def door(socket: ServerConnection, _: Request) -> Response | None:
        if not answers:
            return None
        answer = socket.respond(answers.pop(0), '{"detail": "full"}')
        answer.headers["Retry-After"] = "0.2"
        return answer

    def on_retry(error: LostError | RefusedError, wait_s: float) -> None:
        told.append((str(error), wait_s))

    async with node(ends, door) as url, Client(url, "token", backoff_s=FAST_S, on_retry=on_retry) as client:
        await client.subscribe(MATCH)
        assert isinstance(await first(client), Event)
    assert [text for text, _ in told] == [f"the handshake was answered with {status} full" for status in (503, 429)]
    assert all(wait_s >= 0.2 for _, wait_s in told)


async def test_a_handshake_that_is_forbidden_is_not_tried_again() -> None:
    def door(socket: ServerConnection, _: Request) -> Response | None:
        return socket.respond(HTTPStatus.FORBIDDEN, '{"detail": "not from here"}')

    async with node(ends, door) as url, Client(url, "token") as client:
        await client.subscribe(MATCH)
        with pytest.raises(ClosedError, match="403 not from here"):
            await first(client)


async def test_the_reason_that_a_node_gave_before_its_close_is_in_the_error() -> None:
    async def refuse(socket: ServerConnection) -> None:
        await socket.recv()
        await say(socket, {"id": 1, "type": "error", "code": "unauthorized", "message": "the token has ended"})
        await socket.close(3500, "unauthorized")

    async with node(refuse) as url, Client(url, "token") as client:
        await client.subscribe(MATCH)
        with pytest.raises(ClosedError, match="3500 unauthorized: the token has ended"):
            await first(client)


async def test_a_client_without_a_node_tries_the_next_one() -> None:
    async with node(ends) as url, Client(["http://127.0.0.1:1", url], "token", backoff_s=FAST_S) as client:
        await client.subscribe(MATCH)
        assert isinstance(await first(client), Event)


async def test_it_gives_up_when_it_is_told_to_and_goes_on_when_it_is_iterated_again() -> None:
    up = False

    def door(socket: ServerConnection, _: Request) -> Response | None:
        return None if up else socket.respond(HTTPStatus.BAD_GATEWAY, "")

    async with node(ends, door) as url, Client(url, "t", backoff_s=FAST_S, give_up_after_s=0.2) as client:
        await client.subscribe(MATCH)
        with pytest.raises(GaveUpError, match=r"no subscription for 0\.2 s .*502"):
            await first(client)
        up = True
        assert isinstance(await first(client), Event)


async def test_a_node_that_takes_it_and_loses_it_again_is_asked_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[int] = []

    def noted(attempt: int, _: tuple[float, float]) -> float:
        attempts.append(attempt)
        return 0.01

    async def lose(socket: ServerConnection) -> None:
        await greet(socket)
        if len(attempts) == 4:
            await say(socket, end())
        await socket.close(3008, "slow")

    monkeypatch.setattr("eventhub_client.client.full_jitter", noted)
    async with node(lose) as url, Client(url, "token") as client:
        await client.subscribe(MATCH)
        assert isinstance(await first(client), Event)
    assert attempts == [0, 1, 2, 3]


async def all_of(client: Client) -> list[Message]:
    return [message async for message in client]


async def test_whoever_closes_it_ends_the_iteration() -> None:
    connected = asyncio.Event()

    async def quiet(socket: ServerConnection) -> None:
        await greet(socket)
        connected.set()
        await socket.wait_closed()

    async with node(quiet) as url:
        client = Client(url, "token")
        await client.subscribe(MATCH)
        iterating = asyncio.create_task(all_of(client))
        await connected.wait()
        await client.close()
        async with asyncio.timeout(10):
            assert await iterating == []


async def test_whoever_closes_it_ends_its_waiting_for_the_next_attempt() -> None:
    failed = asyncio.Event()
    client = Client("http://127.0.0.1:1", "token", backoff_s=(60, 60), on_retry=lambda *_: failed.set())
    iterating = asyncio.create_task(all_of(client))
    await failed.wait()
    await client.close()
    async with asyncio.timeout(10):
        assert await iterating == []


async def test_who_gives_tokens_may_be_away_for_a_moment() -> None:
    asked = 0

    async def provider() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise ConnectionError("the login is away")
        return "token"

    async with node(ends) as url, Client(url, provider, backoff_s=FAST_S) as client:
        await client.subscribe(MATCH)
        assert isinstance(await first(client), Event)
    assert asked == 3


async def test_a_step_that_is_cancelled_loses_nothing() -> None:
    go = asyncio.Event()

    async def slowly(socket: ServerConnection) -> None:
        await greet(socket)
        await say(socket, event(1, "e1"), event(2, "e2"))
        await go.wait()
        await say(socket, event(3, "e3"))
        await socket.wait_closed()

    async with node(slowly) as url, Client(url, "token") as client:
        await client.subscribe(MATCH)
        seen = [await first(client), await first(client)]
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(client), 0.03)
        go.set()
        seen.append(await first(client))
    assert [m.event_id for m in seen if isinstance(m, Event)] == ["e1", "e2", "e3"]
    assert client.cursors == {MATCH: "e.0.3"}


async def test_a_program_that_is_busy_for_long_does_not_take_its_node_for_dead() -> None:
    connections = 0
    done = asyncio.Event()

    async def quiet(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await greet(socket, ping_s=0.1)
        await say(socket, event(1, "e1"))
        # Longer than it may be silent while the program does not listen, and shorter while it does.
        for seconds in (0.4, 0.1):
            await asyncio.wait([asyncio.ensure_future(socket.wait_closed())], timeout=seconds)
            done.set()
        await say(socket, end())
        await socket.wait_closed()

    async with node(quiet) as url, Client(url, "token", backoff_s=FAST_S) as client:
        await client.subscribe(MATCH)
        await first(client)
        await done.wait()
        assert isinstance(await first(client), Event)
    assert connections == 1


async def test_channels_come_and_go_on_one_connection() -> None:
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def note(socket: ServerConnection) -> None:
        heard.put_nowait(await greet(socket))
        async for command in socket:
            heard.put_nowait(json.loads(command))
            await say(socket, event(5, "of m"), subscribed(channel="match:b"), event(6, "of b", "match:b"))

    async with node(note) as url, Client(url, "token") as client:
        await client.subscribe(MATCH, lanes=["critical"], types=["goal"])
        with pytest.raises(ValueError, match="subscribed already"):
            await client.subscribe(MATCH)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(client), 0.1)
        await client.subscribe("match:b", "match:c", cursors={"match:b": "x"})
        await client.unsubscribe(MATCH, "match:never")
        assert [m.event_id for m in [await first(client)] if isinstance(m, Event)] == ["of b"]
    asked = [{k: v for k, v in heard.get_nowait().items() if k != "id"} for _ in range(3)]
    assert asked == [
        {"type": "subscribe", "channel": MATCH, "lanes": ["critical"], "types": ["goal"]},
        {"type": "subscribe", "channels": [{"channel": "match:b", "cursor": "x"}, {"channel": "match:c"}]},
        {"type": "unsubscribe", "channel": MATCH},
    ]


def jwt(**claims: Any) -> str:
    return f"h.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.s"


@pytest.mark.parametrize(
    ("token", "life_s"),
    [
        (jwt(iat=1000, exp=1900), 900),
        (jwt(exp=1500), 500),
        # The clock here is far behind, then far ahead, then right and the token not new.
        (jwt(iat=9000, exp=9900), 900),
        (jwt(iat=100, exp=200), 100),
        (jwt(iat=500, exp=1400), 400),
    ],
)
def test_a_token_is_renewed_before_it_ends(token: str, life_s: float) -> None:
    due_s = renew_after_s(token, 1000)
    assert due_s is not None
    assert RENEW_AT[0] * life_s <= due_s <= RENEW_AT[1] * life_s


@pytest.mark.parametrize("token", ["opaque", "a.b.c", jwt(), jwt(exp=500), jwt(exp="soon"), "h.W10.s"])
def test_a_token_that_does_not_say_when_it_ends_is_not_renewed(token: str) -> None:
    assert renew_after_s(token, 1000) is None


def test_the_memory_of_a_channel_is_bounded() -> None:
    channel = Channel(MATCH, None, False, ())
    assert all(channel.is_new({"event_id": str(n)}) for n in range(REMEMBERED + 1))
    assert not channel.is_new({"event_id": str(REMEMBERED)})
    assert not channel.is_new({"event_id": "1"})
    assert channel.is_new({"event_id": "0"})
    assert channel.is_new({"no": "id"})


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://here", "http://"])
def test_an_address_that_is_none_is_told_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="http://localhost:8000"):
        Client(address, "token")


@pytest.mark.parametrize("ago_s", [1.0, -0.05])
async def test_a_cancellation_that_comes_before_a_pause_is_not_lost(ago_s: float) -> None:
    """As Ctrl-C does it: the task is cancelled while it runs, just before it waits for its next attempt."""
    client = Client("http://127.0.0.1:9", "token")

    async def interrupted() -> None:
        client._not_before = asyncio.get_running_loop().time() - ago_s
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await client._pause()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(interrupted())
