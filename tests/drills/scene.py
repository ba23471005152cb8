"""A drill's scene: nodes with failpoints, a source that sends a plan, subscribers; and the faults done to the nodes."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

import psutil

from eventhub import failpoints, topics
from eventhub.kafka import Writer
from eventhub.record import Outgoing
from eventhub.tasks import end
from tests.drills.checks import NONSENSE, Account, judge
from tests.drills.sender import Sender
from tests.drills.submissions import Plan, plan
from tests.support import oracle
from tests.support.clients import Client
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.conftest import Platform

SEED = 20_180_630
STEP, STEP_S, STEPS = 250, 2.0, 30
"""Submissions that go at a time while a fault is waited for, and how often, and how long each time."""
TAKEOVER_S = 60
DEAD = "enrichment.after_dead_letters"


class Scene(NamedTuple):
    """What a drill works with. Files in `flags` arm failpoints, `record` gets a line for each firing."""

    platform: Platform
    nodes: list[NodeProcess]
    sender: Sender
    clients: list[Client]
    flags: Path
    record: Path
    sending: "asyncio.Task[None]"

    async def send(self, submissions: int, *, answered: int | None = None) -> None:
        """Let so many more go, and wait until `answered` of them (all) are."""
        wanted = min(self.sender.allowed + (submissions if answered is None else answered), self.sender.plan.size)
        await self.sender.allow(submissions)
        await until(lambda: self.sender.answered >= wanted or self.sending.done(), f"{wanted} answers", 120)
        if self.sending.done():
            self.sending.result()

    async def finish(self, *, faults: int, cut: bool = False) -> Account:
        """Send the rest of the plan, or (`cut`) only the ends of the matches, and judge everything."""
        if cut:
            self.sender.cut()
        await self.sender.allow(self.sender.plan.size)
        await asyncio.wait_for(asyncio.shield(self.sending), 240)
        await until(lambda: self.shared(*self.nodes), "the nodes to share the partitions", TAKEOVER_S)
        return await judge(self.platform, self.sender, self.nodes, self.clients, faults=faults)

    async def shared(self, *nodes: NodeProcess, family: str = "enrichment") -> bool:
        """Every partition has exactly one owner among these nodes, and each of them owns some."""
        owned = [await node.owns(family) for node in nodes]
        return all(owned) and sorted(p for one in owned for p in one) == list(range(self.platform.partitions))

    def fired(self) -> list[str]:
        """The points that fired, in order, as the nodes recorded them."""
        if not self.record.exists():
            return []
        return [line.split()[0] for line in self.record.read_text().splitlines()]


def todays_plan(size: int, *, seed: int = SEED, batch: int = 25) -> Plan:
    """A plan around the last midnight UTC."""
    now = datetime.now(UTC)
    return plan(size, seed=seed, midnight=now.replace(hour=0, minute=0, second=0, microsecond=0), batch=batch)


@contextlib.asynccontextmanager
async def scene(
    platform: Platform,
    sent: Plan,
    *,
    nodes: int = 2,
    clients: int = 20,
    program: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[Scene]:
    """Nodes that are ready, matches declared, every client on every match; the source waits to be let go.

    `program` is a module with arguments to run instead of eventhub.
    """
    flags, record = platform.folder / "flags", platform.folder / "fired"
    flags.mkdir()
    faults = [f"{point}=kill:{flags / point}" for point in failpoints.POINTS]
    faults.append(f"enrichment.before_write=pause:{flags / 'pause'}")
    armed = {failpoints.VARIABLE: ",".join(faults), failpoints.RECORD_VARIABLE: str(record)}
    platform = platform._replace(environ={**platform.environ, **armed, **(environ or {})})
    made = [platform.node(f"node{number}", *program) for number in range(nodes)]
    sender = Sender(sent, [node.url for node in made], platform.broadcast_key, platform.admin_key)
    async with running(*made), contextlib.AsyncExitStack() as stack:
        await sender.declare()
        subscribers = []
        for number in range(clients):
            turned = [made[(number + i) % nodes] for i in range(nodes)]
            subscribers.append(await stack.enter_async_context(platform.client(*turned)))
            for match_id in sent.matches:
                await subscribers[-1].subscribe(f"match:{match_id}", start="start")
        sending = asyncio.create_task(sender.run())
        set_up = Scene(platform, made, sender, subscribers, flags, record, sending)
        try:
            await until(lambda: set_up.shared(*made), "the nodes to share the partitions", TAKEOVER_S)
            yield set_up
        finally:
            await end(sending)


def has_ended(node: NodeProcess) -> bool:
    """Whether the node's process is dead."""
    return bool(psutil.Process(node.pid).status() == psutil.STATUS_ZOMBIE)


async def kill_amid(on: Scene, *, kills: int, burst: int, seed: int = SEED) -> list[int]:
    """kill -9 one of the nodes in the middle of a burst, again and again; returns the backlog found after each kill.

    A kill that finds no backlog is one more and does not count, so that there may be more than `kills`, by half.
    """
    rng = random.Random(seed)
    backlogs: list[int] = []
    while sum(backlog > 0 for backlog in backlogs) < kills:
        assert len(backlogs) < 1.5 * kills, f"{len(backlogs)} kills, and no backlog after most: {backlogs}"
        if rng.random() > 0.2:
            # One kill in five comes while the last victim is still joining.
            await until(lambda: on.shared(*on.nodes), "the nodes to share the partitions", TAKEOVER_S)
        backlogs.append(await kill_one(on, rng, burst))
    return backlogs


async def kill_one(on: Scene, rng: random.Random, burst: int) -> int:
    """kill -9 one of the nodes amid a burst and start it again; returns the backlog found after the kill."""
    await on.send(burst, answered=rng.randint(burst // 10, burst // 2))
    victim = rng.choice(on.nodes)
    victim.kill()
    backlog = await oracle.backlog(on.platform.cluster, on.platform.partitions)
    victim.start()
    await victim.ready()
    return backlog


async def fire(on: Scene, point: str) -> NodeProcess:
    """Arm a point, send until a node dies there, start it again; returns it."""
    flag = on.flags / point
    before = on.fired().count(point)
    flag.touch()
    for turn in count():
        assert turn < STEPS, f"{point} was not reached by {turn * STEP} submissions"
        if point == DEAD:
            await _put_nonsense(on.platform)
        await on.sender.allow(STEP)
        if await _claimed(flag):
            break
        assert not on.sending.done(), f"the plan is over before {point} was reached"
    await until(lambda: any(has_ended(node) for node in on.nodes), f"a node to die at {point}", 20)
    (dead,) = [node for node in on.nodes if has_ended(node)]
    assert on.fired().count(point) == before + 1
    dead.start()
    await dead.ready()
    return dead


async def _put_nonsense(platform: Platform) -> None:
    """A record that dies for certain in each partition: conflicts mostly end at ingest, which knows the log's ids."""
    writer = Writer(platform.cluster)
    await writer.open()
    for partition in range(platform.partitions):
        rows = [Outgoing(b"nobody", NONSENSE, [("h", b"")])]
        await writer.append(topics.BROADCAST, partition, rows, timeout_s=10)
    await writer.close()


async def _claimed(flag: Path) -> bool:
    """Whether a node took the flag, soon."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + STEP_S
    # A step that reached nothing is followed by the next one: this is no failure, so `until` does not fit.
    while await asyncio.to_thread(flag.exists):
        if loop.time() > until_s:
            return False
        await asyncio.sleep(0.02)
    return True


async def freeze(on: Scene, *, frozen_s: float, amid_write: bool) -> None:
    """Stop a node, amid a burst or between its decision and its write, until the others own all; wake it after that."""
    await until(lambda: on.shared(*on.nodes), "the nodes to share the partitions", TAKEOVER_S)
    if amid_write:
        (on.flags / "pause").touch()
        await on.sender.allow(STEP)
        await until(lambda: any(node.is_frozen() for node in on.nodes), "a node to stop itself before a write", 60)
        (frozen,) = [node for node in on.nodes if node.is_frozen()]
    else:
        await on.send(STEP, answered=STEP // 4)
        frozen = on.nodes[0]
        frozen.freeze()
    loop = asyncio.get_running_loop()
    since = loop.time()
    others = [node for node in on.nodes if node is not frozen]
    await until(lambda: on.shared(*others), "the others to take over", TAKEOVER_S)
    await on.sender.allow(STEP)
    await until(lambda: loop.time() >= since + frozen_s, f"{frozen_s:g} s to pass")

    async def overtaken() -> bool:
        return await oracle.backlog(on.platform.cluster, on.platform.partitions) == 0

    # Now what the frozen one has in hand is on the log: were its write to pass, it would be there twice.
    await until(overtaken, "the others to apply everything", TAKEOVER_S)
    assert frozen.is_frozen()
    frozen.wake()
