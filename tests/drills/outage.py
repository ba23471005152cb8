"""Kafka stands still, and ingest goes on into the spool: the node dies again and again, for good, or its disk is full.

The suites by size: the CI runs them small (tests/system/test_spool.py), `make drill ONLY=spool` in full.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx2
import psutil

from eventhub.ingest.spool import Survey, folders, survey
from tests.drills.numbered import MATCHES, Sources, Together, count, in_order
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until
from tests.system.checks import exactly_once
from tests.system.conftest import Platform

DURABLE = {"EVENTHUB_SPOOL__DURABLE": "true", "EVENTHUB_INGEST__ACK_TIMEOUT_S": "2"}
OFFERED = 1.05
"""Times the rate that is asked for: what is lost to the last seconds of an outage must not count against it."""
MOUNT = ("unshare", "--map-root-user", "--mount", "sh", "-c")
DRAINED_S, SETTLE_S = 300, 900


class Outage(NamedTuple):
    """Figures of a run that was judged. `taken`: events accepted while Kafka was frozen.

    `per_s`: of those, a second while a node answered, added up over the nodes. `spooled`: records that each kill found
    in the spool of the process that it ended.
    """

    accepted: int
    taken: int
    frozen_s: float
    per_s: int
    spooled: list[int]
    drained_s: float


class Life(NamedTuple):
    """One process while Kafka was frozen: the events it took, and for how many seconds it answered."""

    events: int
    answered_s: float


class Full(NamedTuple):
    """Figures of a run with too little room."""

    accepted: int
    refused: int
    full_bytes: int
    drained_s: float


def spool_node(
    platform: Platform,
    name: str,
    program: tuple[str, ...] = (),
    *,
    shared: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> NodeProcess:
    """A node whose disk counts as durable, and which gives Kafka 2 s."""
    environ = {**platform.environ, **DURABLE, **(more or {})}
    return NodeProcess(name, platform.folder, environ, program, shared=shared)


def mutated(name: str) -> tuple[str, ...]:
    """The program of a node that lacks one guarantee."""
    return (sys.executable, "-m", "tests.drills.mutants", name)


def left(spool: Path) -> int:
    """Spool folders with something in them."""
    return sum(_bytes(folder) > 0 for folder in folders(spool))


def held_bytes(spool: Path) -> int:
    """What all segments take."""
    return sum(map(_bytes, folders(spool)))


def _bytes(folder: Path) -> int:
    """Of one folder, which whoever drains it may remove meanwhile."""
    found = 0
    with contextlib.suppress(FileNotFoundError):
        for path in list(folder.iterdir()):
            found += path.stat().st_size if path.suffix == ".seg" else 0
    return found


def held(spool: Path) -> Survey:
    """What the one living process on this folder has in its spool; fails unless it has something there."""
    found = [one for path in folders(spool) if (one := survey(path)).held]
    assert len(found) == 1, f"{len(found)} living spools of {len(folders(spool))}"
    assert found[0].records > 0, "the spool is empty"
    return found[0]


@contextlib.contextmanager
def frozen(platform: Platform) -> Iterator[None]:
    """Kafka stands still, and is found standing still at the end."""
    kafka = psutil.Process(platform.services.pid("kafka"))
    kafka.send_signal(signal.SIGSTOP)
    try:
        yield
        assert kafka.status() == psutil.STATUS_STOPPED, "Kafka was not frozen all the time"
    finally:
        kafka.send_signal(signal.SIGCONT)


async def killed(
    platform: Platform,
    match: RealMatch,
    *,
    frozen_s: float,
    kills: int,
    per_s: float,
    nodes: int = 1,
    program: tuple[str, ...] = (),
) -> Outage:
    """Kafka is frozen, and nodes that spool are killed again and again, so often all together.

    It stays frozen for `frozen_s`, and until the nodes have taken what `per_s` makes of that; the kills are spread over
    it. Every node has sources, matches and a data folder of its own.
    """
    loop = asyncio.get_running_loop()
    made = [spool_node(platform, f"node{n}", program) for n in range(nodes)]
    each_per_s, batch = OFFERED * per_s / nodes, int(per_s / nodes / MATCHES / 2)
    sent = [Sources(platform, one, per_s=each_per_s, batch=batch, name=f"{one.name}-") for one in made]
    lives = [Lives(node, one, int(per_s * frozen_s / kills)) for node, one in zip(made, sent, strict=True)]

    def spooled() -> int:
        return sum(left(one.folder / "spool") for one in made)

    async with running(*made):
        await asyncio.gather(*(one.declare(match) for one in sent))
        async with contextlib.AsyncExitStack() as stack:
            for one in sent:
                await stack.enter_async_context(one.sending())
            await asyncio.gather(*(one.more("log", 3 * MATCHES) for one in sent))
            assert {said for one in sent for said in one.said()} == {"log"}
            with frozen(platform):
                frozen_at, before = loop.time(), count(sent)
                await asyncio.gather(*(one.run(kills // nodes) for one in lives))
                await until(lambda: loop.time() > frozen_at + frozen_s, "the time to pass", frozen_s + 60)
                frozen_for_s, taken = loop.time() - frozen_at, count(sent) - before
                assert spooled() >= kills, "each killed process left its folder"
            woken_at = loop.time()
            await until(lambda: spooled() == 0, "every spool to be drained", DRAINED_S)
            drained_for_s = loop.time() - woken_at
            await asyncio.gather(*(one.ready() for one in made))
            await asyncio.gather(*(one.more("log", 3 * MATCHES) for one in sent))
        await exactly_once(platform, Together(*sent), settle_s=SETTLE_S)
        await in_order(platform)
    assert taken >= per_s * frozen_s
    return Outage(
        accepted=count(sent),
        taken=taken,
        frozen_s=round(frozen_for_s, 1),
        per_s=round(sum(one.per_s for one in lives)),
        spooled=[records for one in lives for records in one.found],
        drained_s=round(drained_for_s, 1),
    )


class Lives:
    """A node that spools and is killed each time that it has taken so many events."""

    def __init__(self, node: NodeProcess, sources: Sources, events: int) -> None:
        self.found: list[int] = []
        self._node, self._sources, self._events = node, sources, events
        self._lives: list[Life] = []

    @property
    def per_s(self) -> float:
        """Events a second, of the time in which it answered."""
        return sum(one.events for one in self._lives) / sum(one.answered_s for one in self._lives)

    async def run(self, kills: int) -> None:
        """Kill it so often, and let it live on after that."""
        # More than one batch of each source: the node spools, and not only what it had in hand.
        await self._sources.more("spool", 3 * MATCHES)
        for _ in range(kills):
            await self._live()
            self.found.append((await asyncio.to_thread(held, self._node.folder / "spool")).records)
            self._node.kill()
            self._node.start()
            await self._sources.more("spool", 1)
        await self._sources.more("spool")

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        began_at, before = loop.time(), self._sources.count
        await self._sources.until_accepted(before + self._events)
        self._lives.append(Life(self._sources.count - before, loop.time() - began_at))


async def adopted(
    platform: Platform, match: RealMatch, *, answers: int, drained_s: float = DRAINED_S, program: tuple[str, ...] = ()
) -> int:
    """A node that spools dies and does not come back; one that lives on its folder drains what it left.

    Returns how many records that were.
    """
    folder = platform.folder / "both"
    one, two = (spool_node(platform, name, program, shared=folder) for name in ("one", "two"))
    sources = Sources(platform, one)
    async with running(one, two):
        await sources.declare(match)
        async with sources.sending():
            await sources.more("log")
            with frozen(platform):
                await sources.more("spool", answers)
                found = await asyncio.to_thread(held, folder / "spool")
                one.kill()
                await sources.halt()
                assert left(folder / "spool") == 1
            await until(lambda: left(folder / "spool") == 0, "the dead node's spool to be drained", drained_s)
        assert (await livez(two)).status_code == 200
        await exactly_once(platform, sources, settle_s=SETTLE_S)
        await in_order(platform)
        assert f'"folder": "{found.name}"' in two.tail(10_000), "it was somebody else who drained it"
    return found.records


async def too_full(platform: Platform, match: RealMatch, *, how: str, size_bytes: int, refusals: int) -> Full:
    """There is room for so many bytes: on the `disk`, which is a real one of that size, or by the spool's own `bound`.

    What does not fit is 503, the node lives on, and takes all of it once Kafka is back.
    """
    spool = platform.folder / "room"
    spool.mkdir()
    more, program = {"EVENTHUB_SPOOL__DIR": str(spool)}, tuple[str, ...]()
    if how == "disk":
        mount = f'mount -t tmpfs -o size={size_bytes} small "$0" && exec "$@"'
        program = (*MOUNT, mount, str(spool), sys.executable, "-m", "eventhub")
    else:
        more["EVENTHUB_SPOOL__MAX_BYTES"] = str(size_bytes)
    code = "spool_refused" if how == "disk" else "spool_full"
    node, loop = spool_node(platform, "one", program, more=more), asyncio.get_running_loop()
    sources = Sources(platform, node)
    async with running(node):
        # The mount is only seen from inside the node's own namespace.
        seen, pid = Path(f"/proc/{node.pid}/root{spool}"), node.pid
        await sources.declare(match)
        async with sources.sending():
            await sources.more("log")
            with frozen(platform):
                await sources.more("spool")
                await sources.more(code, refusals)
                full_bytes = held_bytes(seen)
                assert size_bytes / 2 < full_bytes <= size_bytes, "the room was not what was lacking"
                assert (await livez(node)).status_code == 200
            woken_at = loop.time()
            await sources.more("log", 3 * MATCHES)
            await until(lambda: left(seen) == 0, "the spool to be drained", DRAINED_S)
            drained_for_s = loop.time() - woken_at
        assert node.pid == pid
        assert (await livez(node)).status_code == 200
        await exactly_once(platform, sources, settle_s=SETTLE_S)
        await in_order(platform)
    return Full(sources.count, sources.said()[code], full_bytes, round(drained_for_s, 1))


def mounts() -> bool:
    """Whether this machine lets a process have a disk of its own."""
    tried = subprocess.run([*MOUNT, 'mount -t tmpfs small "$0"', os.sep + "mnt"], capture_output=True, check=False)
    return tried.returncode == 0


async def livez(node: NodeProcess) -> httpx2.Response:
    """The node's own word."""
    async with httpx2.AsyncClient(timeout=10) as http:
        return await http.get(f"{node.admin_url}/livez")
