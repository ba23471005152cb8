"""A node with people who watch a live match, and others who attack it: who is served, and what becomes of those.

The attackers are a process of their own, with an address each. What they were answered is counted on both sides.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from statistics import median, quantiles
from typing import Any, NamedTuple

import httpx2
import msgspec
import psutil
import websockets
from prometheus_client.parser import text_string_to_metric_families

from tests.drills.attackers import Plan
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

PER_ADDRESS, EVERY_S, USERS = 20, 0.02, 50
SETTLE_S = 10
MATCH = "live"
EVENT = b'"type":"pass"'
"""What was sent; states follow from it, and are told too."""


class Size(NamedTuple):
    """Attackers as in a plan, people who watch, and how long a window is, in seconds."""

    each: int
    crowd: int
    fans: int
    window_s: float
    wait_s: float = 20


class Window(NamedTuple):
    """One window: how late events came to people, in ms, and what the attackers were answered, if there were any."""

    p99_ms: float
    deliveries: int
    answered: Counter[str]


class Figures(NamedTuple):
    """Pairs of a calm window and one with the attack; by how much the node's memory grew over all, in MiB."""

    pairs: list[tuple[Window, Window]]
    grown_mib: float

    @property
    def ratio(self) -> float:
        """How much later events come during the attack: the median over the pairs."""
        return median(attacked.p99_ms / calm.p99_ms for calm, attacked in self.pairs)

    def told(self) -> str:
        """For people."""
        late = ", ".join(f"{calm.p99_ms:.1f} and {hit.p99_ms:.1f} ms" for calm, hit in self.pairs)
        return f"p99 calm and under attack: {late}; ratio {self.ratio:.2f}; {self.grown_mib:.0f} MiB more"


class Fan:
    """One who watches, from an address of their own; never comes back, so that whoever is sent away is missed."""

    def __init__(self, node: NodeProcess, token: str, address: str) -> None:
        self._node, self._token, self._address = node, token, address
        self.frames: list[tuple[float, bytes]] = []
        self.events = 0
        self._socket: Any = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect and subscribe; returns once that is answered."""
        self._socket = await websockets.connect(
            self._node.url.replace("http", "ws", 1) + "/v1/stream",
            subprotocols=[websockets.Subprotocol("eventhub.v1+json")],
            proxy=None,
            compression=None,
            ping_interval=None,
            local_addr=(self._address, 0),
        )
        await self._socket.send(json.dumps({"id": 0, "type": "connect", "token": self._token}))
        await self._socket.send(json.dumps({"id": 1, "type": "subscribe", "channel": f"match:{MATCH}"}))
        while b'"type":"subscribed"' not in await self._socket.recv(decode=False):
            pass
        self._task = asyncio.create_task(self._read())

    @property
    def gone(self) -> bool:
        """Whether the connection is over."""
        return self._task is None or self._task.done()

    async def close(self) -> None:
        """Leave."""
        await self._socket.close()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            frame = await self._socket.recv(decode=False)
            self.frames.append((time.time(), frame))
            self.events += frame.count(EVENT)

    def late_ms(self) -> list[float]:
        """Of every event since the last call: from its acceptance to the arrival of its frame."""
        frames, self.frames, self.events = self.frames, [], 0
        return [
            (at - datetime.fromisoformat(json.loads(line)["event"]["accepted_at"]).timestamp()) * 1000
            for at, frame in frames
            for line in frame.split(b"\n")
            if EVENT in line
        ]


class Scene(NamedTuple):
    """A node that is watched."""

    platform: Platform
    node: NodeProcess
    fans: list[Fan]

    async def window(self, size: Size, attack: bool, name: str) -> Window:
        """A window of events, one each 20 ms, with or without an attack that begins with it."""
        attacking = asyncio.create_task(self._attack(size)) if attack else None
        sent = await self._send(size.window_s, name)
        await until(lambda: min(fan.events for fan in self.fans) >= sent, "every event to reach everybody", SETTLE_S)
        late_ms = [one for fan in self.fans for one in fan.late_ms()]
        answered = await attacking if attacking is not None else Counter[str]()
        gone = sum(fan.gone for fan in self.fans)
        assert not gone, f"{gone} of {len(self.fans)} who watch were sent away"
        assert len(late_ms) == sent * len(self.fans), "an event came twice, or to nobody"
        return Window(round(quantiles(late_ms, n=100)[98], 2), len(late_ms), answered)

    async def _send(self, window_s: float, name: str) -> int:
        headers = {"Authorization": f"Bearer {self.platform.broadcast_key}"}
        loop, sent = asyncio.get_running_loop(), 0
        ends = loop.time() + window_s
        due = loop.time()
        async with httpx2.AsyncClient(timeout=10, headers=headers) as http:
            while loop.time() < ends:
                event = {"match_id": MATCH, "type": "pass", "source_event_id": f"{name}-{sent}"}
                event["occurred_at"] = datetime.now(UTC).isoformat()
                answer = await http.post(f"{self.node.url}/v1/ingest/broadcast", json=event)
                assert answer.status_code == 202, answer.text
                sent += 1
                # Not a wait for anything: the pace of a source.
                due = max(due + EVERY_S, loop.time())
                await asyncio.sleep(due - loop.time())
        return sent

    async def _attack(self, size: Size) -> Counter[str]:
        now = datetime.now(UTC)
        tokens = [self.platform.tokens.sign(f"attacker-{n}", "free", now) for n in range(USERS)]
        plan = Plan(self.node.port, size.each, size.crowd, size.window_s * 0.8, size.wait_s, tokens)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.drills.attackers",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            said, _ = await asyncio.wait_for(
                process.communicate(msgspec.json.encode(plan)), size.window_s + size.wait_s + 30
            )
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, "the attackers failed"
        return Counter(json.loads(said))


@contextlib.asynccontextmanager
async def scene(
    platform: Platform, match: RealMatch, size: Size, program: tuple[str, ...] = ()
) -> AsyncIterator[Scene]:
    """A node with the product's limits, but a tighter one for an address, and people who watch."""
    settings = {
        "EVENTHUB_DELIVERY__CONNECTIONS_PER_ADDRESS": str(PER_ADDRESS),
        "EVENTHUB_DELIVERY__CHANGES_PER_MINUTE": "5",
        "EVENTHUB_DELIVERY__CHANGES_BURST": "10",
    }
    node = NodeProcess("one", platform.folder, {**platform.environ, **settings}, program)
    now = datetime.now(UTC)
    fans = [Fan(node, platform.tokens.sign(f"fan-{n}", "free", now), f"127.0.8.{1 + n}") for n in range(size.fans)]
    async with running(node):
        source = platform.source(node)
        await source.declare(MATCH, match, starts_at=now)
        await source.close()
        try:
            for fan in fans:
                await fan.open()
            yield Scene(platform, node, fans)
        finally:
            await asyncio.gather(*(fan.close() for fan in fans if not fan.gone))


async def attacked(
    platform: Platform, match: RealMatch, size: Size, *, pairs: int, program: tuple[str, ...] = ()
) -> Figures:
    """Pairs of windows, of which either comes first in turn. Asserts that the attack happened and was held."""
    async with scene(platform, match, size, program) as on:
        found: list[tuple[Window, Window]] = []
        process = psutil.Process(on.node.pid)
        await on.window(size, attack=False, name="warm")
        before = process.memory_info().rss
        for turn in range(pairs):
            order = (False, True) if turn % 2 == 0 else (True, False)
            windows = {attack: await on.window(size, attack=attack, name=f"{turn}-{attack}") for attack in order}
            is_held(windows[True].answered, size)
            found.append((windows[False], windows[True]))
        grown = (process.memory_info().rss - before) / (1 << 20)
        await _is_counted(on, sum((hit.answered for _, hit in found), Counter[str]()))
    return Figures(found, round(grown, 1))


def is_held(answered: Counter[str], size: Size) -> None:
    """Every attacker was there, and got no further than the limits."""
    at_once = answered["crowd at once"]
    assert at_once <= PER_ADDRESS, f"{at_once} connections of one address at once"
    # Who says nothing is sent away after 10 s, and on a machine that is late another one is let in then.
    assert answered["crowd 101"] + answered["crowd 429"] == size.crowd, f"not all of the crowd came: {answered}"
    assert answered["crowd 429"] >= size.crowd // 2, f"too few of the crowd were refused: {answered}"
    for kind in ("abandoned", "forged", "flood"):
        assert answered[f"{kind} 101"] == size.each, f"not all of {kind} came in: {answered}"
    assert answered["forged 3500"] == size.each, f"a forged token was not refused: {answered}"
    assert answered["flood 3013"] == size.each, f"a flood of commands goes on: {answered}"
    assert answered["abandoned 3500"] == size.each, f"who says nothing stays: {answered}"
    assert answered["crowd 3500"] == answered["crowd 101"], f"who says nothing stays: {answered}"


async def _is_counted(on: Scene, answered: Counter[str]) -> None:
    """The node's metrics say what the attackers were told."""
    async with httpx2.AsyncClient(timeout=10) as http:
        text = (await http.get(f"{on.node.admin_url}/metrics")).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    found = {(s.name, *s.labels.values()): s.value for s in samples}
    assert found["eventhub_clients_refused_total", "address"] == answered["crowd 429"]
    # The forged ones, and all who said nothing until their time was over.
    closed = sum(count for what, count in answered.items() if what.endswith(" 3500"))
    assert found["eventhub_clients_refused_total", "token"] == closed
    assert found["eventhub_clients_limited_total", "commands"] == answered["flood 3013"]
    assert found["eventhub_clients",] == len(on.fans)
