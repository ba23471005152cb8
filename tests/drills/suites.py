"""The fault suites, by size: the CI runs them small (tests/system), `make drill` in full (tests/drills/drill_*.py)."""

import asyncio
import os
import random
import signal
from collections import Counter
from statistics import median
from typing import NamedTuple

from eventhub.failpoints import POINTS
from tests.drills import takeover
from tests.drills.checks import Account
from tests.drills.scene import SEED, TAKEOVER_S, Scene, fire, freeze, has_ended, kill_amid, kill_one, scene, todays_plan
from tests.drills.takeover import Fault
from tests.support.wait import until
from tests.system.conftest import SESSION_TIMEOUT_S, Platform


class Times(NamedTuple):
    """How long partitions stood still, in seconds: by kill -9 and by SIGTERM."""

    killed_s: list[float]
    ended_s: list[float]

    def told(self) -> str:
        """For people."""
        parts = (("kill -9", self.killed_s), ("SIGTERM", self.ended_s))
        return ", ".join(f"{name}: median {median(t):.1f} s, max {max(t):.1f} s of {len(t)}" for name, t in parts if t)


async def submissions(platform: Platform, *, size: int, kills: int, clients: int = 20) -> Account:
    """What a careless source sends has its effect once, though the nodes are killed amid it."""
    async with scene(platform, todays_plan(size), clients=clients) as on:
        backlogs = await kill_amid(on, kills=kills, burst=int(0.6 * size / kills))
        assert len(backlogs) >= kills
        return await on.finish(faults=len(backlogs))


async def failpoints(platform: Platform, *, times: int, size: int) -> Account:
    """A node dies at each named point of the path, so many times each."""
    async with scene(platform, todays_plan(size), clients=4) as on:
        for _ in range(times):
            for point in POINTS:
                await fire(on, point)
        assert Counter(on.fired()) == dict.fromkeys(POINTS, times)
        return await on.finish(faults=times * len(POINTS), cut=True)


async def zombies(platform: Platform, *, times: int, frozen_s: float, size: int) -> Account:
    """A node stands still until others have its partitions, and then goes on with what it had in hand."""
    async with scene(platform, todays_plan(size), clients=4) as on:
        for turn in range(times):
            await freeze(on, frozen_s=frozen_s, amid_write=turn % 2 == 0)
        assert on.fired() == ["enrichment.before_write"] * ((times + 1) // 2)
        return await on.finish(faults=times, cut=True)


async def takeovers(
    platform: Platform,
    *,
    nodes: int,
    kills: int,
    rounds: int,
    per_s: int,
    size: int,
    mutant: str | None = None,
    session_s: int = SESSION_TIMEOUT_S,
) -> tuple[Account, Times]:
    """Nodes are killed, and in rounds each is ended and started again, under `per_s` submissions a second."""
    rng = random.Random(SEED)
    program = () if mutant is None else ("tests.drills.mutants", mutant)
    sessions = {"EVENTHUB_STREAMS__SESSION_TIMEOUT_S": str(session_s)}
    killed: list[Fault] = []
    ended: list[Fault] = []
    plan = todays_plan(size, batch=10)
    async with scene(platform, plan, nodes=nodes, clients=4, program=program, environ=sessions) as on:
        async with takeover.steadily(on.sender, per_s):
            for _ in range(kills):
                await _go(on, rng.randrange(nodes), killed, kill=True)
            for _ in range(rounds):
                for number in range(nodes):
                    await _go(on, number, ended, kill=False)
            assert not on.sending.done(), "the load ended before the faults did"
        assert (len(killed), len(ended)) == (kills, rounds * nodes)
        account = await on.finish(faults=kills + rounds * nodes, cut=True)
        written = await takeover.read(platform.cluster, platform.partitions)
        times = Times(*([takeover.stood_still_s(written, fault) for fault in told] for told in (killed, ended)))
        # A figure of 0 would mean that a fault took nothing from anybody.
        assert min(times.killed_s + times.ended_s) > 0
        return account, times


async def _go(on: Scene, number: int, faults: list[Fault], *, kill: bool) -> None:
    """One node goes, the others take over, it comes back."""
    await until(lambda: on.shared(*on.nodes), "the nodes to share the partitions", TAKEOVER_S)
    node = on.nodes[number]
    others = [one for one in on.nodes if one is not node]
    faults.append(Fault(takeover.now_ms(), tuple(await node.owns("enrichment"))))
    if kill:
        node.kill()
    else:
        os.kill(node.pid, signal.SIGTERM)
    await until(lambda: on.shared(*others), "the others to take over", TAKEOVER_S)
    if not kill:
        await until(lambda: has_ended(node), f"{node.name} to end", TAKEOVER_S)
        assert await node.end() == 0
    node.start()
    await node.ready()


async def aggregation_kills(platform: Platform, *, kills: int, size: int) -> Account:
    """Sheets and state events are those of an undisturbed run, though aggregation's owner dies amid its work.

    Every other kill comes between the state events and the folds that they follow from, the others at any moment.
    """
    rng = random.Random(SEED)
    async with scene(platform, todays_plan(size), clients=1) as on:
        for turn in range(kills):
            if turn % 2 == 0:
                await fire(on, "aggregation.after_states")
                continue
            await until(lambda: on.shared(*on.nodes, family="aggregation"), "both to aggregate", TAKEOVER_S)
            await on.send(200, answered=rng.randint(10, 190))
            victim = rng.choice(on.nodes)
            assert await victim.owns("aggregation")
            victim.kill()
            victim.start()
            await victim.ready()
        assert on.fired() == ["aggregation.after_states"] * ((kills + 1) // 2)
        return await on.finish(faults=kills, cut=True)


async def mutant(
    platform: Platform, name: str, *, point: str | None = None, nodes: int = 1, size: int = 1_000
) -> Account:
    """A short run of a program that lacks one guarantee, with one fault; it must be found out, unless intact."""
    async with scene(platform, todays_plan(size), nodes=nodes, clients=1, program=("tests.drills.mutants", name)) as on:
        if point == "pause":
            await freeze(on, frozen_s=0, amid_write=True)
        elif point == "kill":
            await kill_one(on, random.Random(SEED), size // 2)
        elif point is not None:
            await asyncio.wait_for(on.send(size // 3), 60)
            await fire(on, point)
        return await on.finish(faults=1)
