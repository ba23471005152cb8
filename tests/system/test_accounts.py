"""Accounts on whole nodes: a login that ends closes its sockets everywhere; with Postgres down nobody is thrown out."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import websockets
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventhub.server import Listener, bind
from tests.auth.scene import kid_of, signed, tokens_of
from tests.conftest import join_on
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

pytestmark = pytest.mark.own_services

PASSWORD = "correct horse battery"
AT_MOST_S = 1.0


async def command(platform: Platform, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`eventhub …` as an operator runs it, beside the nodes."""
    environ = {**platform.environ, "EVENTHUB_DATA_DIR": str(platform.folder / "operator"), "PATH": "/usr/bin:/bin"}
    environ |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}

    def run() -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "eventhub", *arguments]
        return subprocess.run(program, env=environ, input=stdin, capture_output=True, text=True, timeout=60)

    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    return done


async def post(node: NodeProcess, path: str, **body: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as http:
        return await http.post(f"{node.url}/v1/auth/{path}", json=body)


async def login(node: NodeProcess, user: str) -> dict[str, str]:
    answer = await post(node, "login", user=user, password=PASSWORD)
    assert answer.status_code == 200, answer.text
    given: dict[str, str] = answer.json()
    return given


async def get(node: NodeProcess, token: str) -> int:
    async with httpx2.AsyncClient(timeout=20) as http:
        return (await http.get(f"{node.url}/v1/matches", headers={"Authorization": f"Bearer {token}"})).status_code


class Socket:
    """A connected client that notes what it is told, and when it is closed."""

    def __init__(self, node: NodeProcess, token: str) -> None:
        self._node, self._token = node, token
        self.told: list[dict[str, Any]] = []
        self.closed_at: float | None = None
        self.code: int | None = None

    async def open(self) -> "Socket":
        address = self._node.url.replace("http", "ws", 1) + "/v1/stream"
        protocol = websockets.Subprotocol("eventhub.v1+json")
        self._socket = await websockets.connect(address, subprotocols=[protocol], proxy=None, ping_interval=None)
        await self._socket.send(json.dumps({"id": 1, "type": "connect", "token": self._token}))
        self._reading = asyncio.create_task(self._read())
        await until(lambda: self.told or self.code, "an answer to connect", 10)
        return self

    async def close(self) -> None:
        await self._socket.close()
        await self._reading

    async def _read(self) -> None:
        try:
            async for frame in self._socket:
                assert isinstance(frame, str)
                self.told += [json.loads(line) for line in frame.split("\n")]
        except websockets.ConnectionClosed:
            pass
        self.closed_at, self.code = asyncio.get_running_loop().time(), self._socket.close_code

    def of_type(self, name: str) -> list[dict[str, Any]]:
        return [one for one in self.told if one["type"] == name]


async def closed_within_a_second(begun: float, *sockets: Socket) -> None:
    for socket in sockets:
        await until(lambda socket=socket: socket.code is not None, "the close", 10)  # type: ignore[misc]
        assert socket.code == 3500 and socket.of_type("error")[-1]["code"] == "unauthorized"
        assert socket.closed_at is not None and socket.closed_at - begun < AT_MOST_S


async def test_a_node_takes_tokens_of_an_issuer_outside_and_closes_their_users_accounts(platform: Platform) -> None:
    key = Ed25519PrivateKey.generate()

    async def keys(_: Request) -> Response:
        return JSONResponse(tokens_of(key).jwks())

    bound = bind("127.0.0.1", 0, exact=True, setting="port")
    async with Listener(Starlette(routes=[Route("/jwks", keys)]), bound) as at:
        issuer = {"issuer": "https://id.example.com", "jwks_url": f"{at.url}/jwks", "audience": "watchers"}
        platform.environ["EVENTHUB_AUTH__ISSUERS"] = json.dumps([issuer])
        node = platform.node("one")
        header, more = {"kid": kid_of(tokens_of(key))}, {"iss": issuer["issuer"], "aud": "watchers"}
        good = signed(key, "EdDSA", header, **more)
        wrong = signed(key, "EdDSA", header, **{**more, "aud": "others"})
        async with running(node):

            async def taken() -> bool:
                return await get(node, good) == 200

            await until(taken, "the issuer's keys", 20)
            assert await get(node, wrong) == 401
            socket = await Socket(node, good).open()
            await command(platform, "users", "disable", "https://id.example.com|ann")
            await closed_within_a_second(asyncio.get_running_loop().time(), socket)
            assert await get(node, good) == 401


async def test_a_login_that_ends_closes_its_sockets_on_every_node(platform: Platform) -> None:
    one, two = platform.node("one"), platform.node("two")
    loop = asyncio.get_running_loop()
    async with running(one, two):
        for user in ("ann", "bob"):
            await command(platform, "users", "create", user, "--plan", "gold", stdin=f"{PASSWORD}\n")
        ann, again, bob = await login(one, "ann"), await login(two, "ann"), await login(two, "bob")
        sockets = [await Socket(node, ann["access_token"]).open() for node in (one, two)]
        others = [await Socket(node, who["access_token"]).open() for node, who in ((one, again), (two, bob))]
        assert [len(socket.of_type("connected")) for socket in sockets + others] == [1] * 4

        # Logging out at one node.
        begun = loop.time()
        assert (await post(two, "logout", refresh_token=ann["refresh_token"])).status_code == 204
        answered = loop.time()
        await closed_within_a_second(answered, *sockets)
        assert [await get(node, ann["access_token"]) for node in (one, two)] == [401, 401]
        assert [await get(node, again["access_token"]) for node in (one, two)] == [200, 200]
        assert begun < answered and all(other.code is None for other in others)

        # A stolen refresh token that is used by two.
        newer = (await post(one, "refresh", refresh_token=again["refresh_token"])).json()
        newest = (await post(two, "refresh", refresh_token=newer["refresh_token"])).json()
        assert (await post(two, "refresh", refresh_token=again["refresh_token"])).status_code == 401
        await closed_within_a_second(loop.time(), others[0])
        assert (await post(one, "refresh", refresh_token=newest["refresh_token"])).status_code == 401

        # Operators close an account, from a machine of their own.
        await command(platform, "users", "disable", "bob")
        await closed_within_a_second(loop.time(), others[1])
        answer = await post(one, "login", user="bob", password=PASSWORD)
        assert (answer.status_code, "disabled" in answer.json()["detail"]) == (401, True)
        shown = json.loads((await command(platform, "users", "list", "--json")).stdout)
        assert [(u["name"], u["plan"], u["disabled"]) for u in shown] == [("ann", "gold", False), ("bob", "gold", True)]
        for node in (one, two):
            assert PASSWORD not in node.log_path.read_text() and ann["refresh_token"] not in node.log_path.read_text()


async def test_with_postgres_and_redis_down_tokens_are_honoured_past_their_end_and_revocations_too(
    platform: Platform, own_folder: Path
) -> None:
    node = platform.node("one")
    now = datetime.now(UTC)
    async with running(node):
        for user in ("ann", "bob", "cid"):
            await command(platform, "users", "create", user, stdin=f"{PASSWORD}\n")
        ann, bob, cid = [await login(node, user) for user in ("ann", "bob", "cid")]
        ended, older = (platform.tokens.sign("ann", "free", now - timedelta(hours=hours)) for hours in (20, 25))
        assert [await get(node, token) for token in (ann["access_token"], ended, older)] == [200, 401, 401]
        assert (await post(node, "logout", refresh_token=bob["refresh_token"])).status_code == 204
        live = await Socket(node, ann["access_token"]).open()
        closed = await Socket(node, cid["access_token"]).open()

        postmaster, redis = (psutil.Process(platform.services.pid(part)) for part in ("postgres", "valkey"))
        os.kill(postmaster.pid, signal.SIGINT)
        os.kill(redis.pid, signal.SIGKILL)
        await until(lambda: not postmaster.is_running() and not redis.is_running(), "both to stop", 20)
        await until(lambda: live.of_type("notice"), "the notice", 10)
        notice = live.of_type("notice")[-1]
        assert {"login", "refresh"} <= set(notice["affected"]) and "honoured" in notice["reason"]
        for path, body in (
            ("refresh", {"refresh_token": ann["refresh_token"]}),
            ("login", {"user": "ann", "password": PASSWORD}),
        ):
            answer = await post(node, path, **body)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        assert [await get(node, token) for token in (ended, older, bob["access_token"])] == [200, 401, 401]
        newcomer = await Socket(node, ended).open()
        assert newcomer.of_type("connected") and newcomer.of_type("notice")
        # An account can be closed all the same.
        await command(platform, "users", "disable", "cid")
        await closed_within_a_second(asyncio.get_running_loop().time(), closed)
        assert await get(node, cid["access_token"]) == 401

        healed = await asyncio.to_thread(join_on, own_folder)
        await until(lambda: live.of_type("notice")[-1]["mode"] == "normal", "the notice that it is back", 20)
        assert live.code is None and len(live.of_type("connected")) == 1
        assert await get(node, ended) == 401
        answer = await post(node, "refresh", refresh_token=ann["refresh_token"])
        assert answer.status_code == 200 and await get(node, answer.json()["access_token"]) == 200
        for socket in (live, newcomer):
            await socket.close()
        await asyncio.to_thread(healed.leave)
