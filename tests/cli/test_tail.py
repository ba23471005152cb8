"""`events tail` against a node that cuts, refuses, asks to wait and closes for good."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import websockets

from eventhub.cli.console import is_local, printable
from eventhub.cli.follow import Follower
from eventhub.errors import NotFoundError, UnauthorizedError, UnavailableError

Script = Callable[["Peer", Any], Awaitable[None]]


class Peer:
    """One connection as the server has it."""

    def __init__(self, socket: Any, subscribe: dict[str, Any]) -> None:
        self.socket, self.subscribe = socket, subscribe

    async def tell(self, *messages: dict[str, Any]) -> None:
        await self.socket.send("\n".join(json.dumps(m) for m in messages))

    async def subscribed(self, *messages: dict[str, Any]) -> None:
        await self.tell({"id": 2, "type": "subscribed", "channel": "match:m"}, *messages)


def event(offset: int, **more: Any) -> dict[str, Any]:
    inner = {"type": "pass", "minute": "3", "team": "H", "player": "P", "payload": {}} | more
    return {"type": "event", "channel": "match:m", "cursor": f"e.0.{offset}", "event": inner}


class Node:
    """Plays one script for each connection; what it was asked is kept."""

    def __init__(self) -> None:
        self.scripts: list[Callable[[Peer], Awaitable[None]]] = []
        self.asked: list[dict[str, Any]] = []
        self.url = ""

    async def serve(self, socket: Any) -> None:
        assert json.loads(await socket.recv())["type"] == "connect"
        peer = Peer(socket, json.loads(await socket.recv()))
        self.asked.append(peer.subscribe)
        await self.scripts.pop(0)(peer)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    made = Node()
    async with websockets.serve(
        made.serve, "127.0.0.1", 0, subprotocols=[websockets.Subprotocol("eventhub.v1+json")]
    ) as server:
        made.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield made


async def follow(node: Node, count: int | None, *, start: str | None = None, give_up_after_s: float = 10) -> None:
    follower = Follower(node.url, "match:m", start, count, as_json=True)
    async with asyncio.timeout(20):
        await follower.run(lambda: "token", give_up_after_s=give_up_after_s)


async def test_it_resumes_behind_the_last_event_it_printed(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    async def two_and_cut(peer: Peer) -> None:
        await peer.subscribed(event(1), event(2))
        peer.socket.transport.abort()

    async def the_rest(peer: Peer) -> None:
        await peer.subscribed(event(3))
        await peer.socket.wait_closed()

    node.scripts = [two_and_cut, the_rest]
    await follow(node, 3, start="start")
    assert [json.loads(line)["cursor"] for line in capsys.readouterr().out.splitlines()] == ["e.0.1", "e.0.2", "e.0.3"]
    assert [a.get("from", a.get("cursor")) for a in node.asked] == ["start", "e.0.2"]


async def test_an_error_that_asks_to_wait_is_tried_again(node: Node) -> None:
    async def wait(peer: Peer) -> None:
        await peer.tell({"id": 2, "type": "error", "code": "unavailable", "message": "later", "retry_after_ms": 10})
        assert json.loads(await peer.socket.recv()) == {**peer.subscribe, "id": 3}
        await peer.subscribed(event(1))
        await peer.socket.wait_closed()

    node.scripts = [wait]
    await follow(node, 1)


@pytest.mark.parametrize(("code", "error"), [("unknown_channel", NotFoundError), ("unauthorized", UnauthorizedError)])
async def test_an_error_for_good_ends_it(node: Node, code: str, error: type[Exception]) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.tell({"id": 2, "type": "error", "code": code, "message": "no"})
        await peer.socket.wait_closed()

    node.scripts = [refuse]
    with pytest.raises(error, match="no"):
        await follow(node, 1)


async def test_a_close_code_for_good_ends_it(node: Node) -> None:
    async def close(peer: Peer) -> None:
        await peer.socket.close(3500, "token")

    node.scripts = [close]
    with pytest.raises(UnauthorizedError, match="3500"):
        await follow(node, 1)
    assert len(node.asked) == 1


async def test_without_a_node_it_gives_up(node: Node) -> None:
    node.url = "http://127.0.0.1:1"
    with pytest.raises(UnavailableError, match="gave no subscription"):
        await follow(node, 1, give_up_after_s=0.5)


async def test_a_reader_that_has_enough_ends_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    async def many(peer: Peer) -> None:
        await peer.subscribed(*(event(n) for n in range(10)))
        await peer.socket.wait_closed()

    def broken(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("eventhub.cli.follow.data", broken)
    node.scripts = [many]
    with pytest.raises(BrokenPipeError):
        await follow(node, 10)
    assert len(node.asked) == 1


def test_what_a_terminal_would_obey_is_not_passed_on() -> None:
    assert printable("a\x1b[2Jb\nc é") == "a\ufffd[2Jb\ufffdc é"


@pytest.mark.parametrize(
    ("node", "local"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://[::1]:8000", True),
        ("http://localhost.example.org", False),
        ("http://127.0.0.1.example.org", False),
        ("https://example.org", False),
    ],
)
def test_keys_made_here_go_to_this_machine_only(node: str, local: bool) -> None:
    assert is_local(node) is local
