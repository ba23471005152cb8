"""Real matches through a whole node: exactly once everywhere, byte for byte, and the real scores."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from tests.support import oracle
from tests.support.clients import Client
from tests.support.feed import RealMatch
from tests.support.nodes import running
from tests.support.wait import until
from tests.system.checks import changed, check_sheet, everything, final, no_backlog, provider_events, stored, unlike
from tests.system.conftest import Platform


async def test_one_match_reaches_everyone_exactly_once(platform: Platform, matches: list[RealMatch]) -> None:
    """20 clients: 8 from before, 4 late from the start, 4 by a cursor, 4 by a state."""
    match = next(m for m in matches if m.name == "2058003")
    node = platform.node("one")
    async with running(node), AsyncExitStack() as stack:
        source = platform.source(node)
        await source.declare("final", match)
        channel = "match:final"

        async def client(**how: Any) -> Client:
            made = await stack.enter_async_context(platform.client(node))
            await made.subscribe(channel, **how)
            return made

        def got(one: Client) -> list[bytes]:
            return provider_events(one.events[channel])

        early = [await client() for _ in range(8)]
        await until(lambda: all(c.states[channel] for c in early), "states of the early clients")
        halves: list[Client] = []
        states: list[Client] = []

        async def join_halfway() -> None:
            """Half-way, once 300 events are out, hold the match until every other client has joined it."""
            if states or len(source.accepted["final"]) < 700:
                return
            await until(lambda: len(early[0].events[channel]) > 300, "the first events")
            for _ in range(4):
                halves.append(await client(cursor=early[0].cursor(channel)))
                states.append(await client())
            await until(lambda: all(c.recovered for c in (*halves, *states)), "the clients to join")

        await source.play("final", match, batch=20, after=join_halfway)
        assert len(halves) == len(states) == 4
        late = [await client(start="start") for _ in range(4)]

        sheet = await final(platform, node, "final")
        check_sheet(sheet, "2058003")
        history = await stored(platform, "final", 1426)
        assert len(history) == 1426
        everyone = [*early, *late, *halves, *states]
        await until(lambda: all(got(c)[-1:] == history[-1:] for c in everyone), "everyone to have the last event")
        for whole in (*early, *late):
            assert not unlike(got(whole), history)
        for part in (*halves, *states):
            assert not unlike(got(part), history[-len(got(part)) :])
            assert 0 < len(got(part)) < 1426
        assert not [(c.connections, c.errors, c.resets) for c in everyone if c.errors or c.resets]
        await source.close()


async def test_all_six_play_at_once_without_mixing_and_a_match_sent_again_changes_nothing(
    platform: Platform, matches: list[RealMatch]
) -> None:
    node = platform.node("one")
    async with running(node), platform.client(node) as client:
        source = platform.source(node)
        for match in matches:
            await source.declare(match.name, match)
            await client.subscribe(f"match:{match.name}", start="start")
        await asyncio.gather(*(source.play(m.name, m) for m in matches))
        for match in matches:
            check_sheet(await final(platform, node, match.name), match.name)
            assert len(await stored(platform, match.name, len(match.feed.records))) == len(match.feed.records)
        before = await everything(platform, client)
        again = matches[4]
        for _ in range(2):
            await source.play(again.name, again)
        await until(lambda: no_backlog(platform), "the repeats to be decided")
        assert not changed(await everything(platform, client), before)

        await node.end()
        node.start()
        await node.ready()
        await source.play(again.name, again)
        await until(lambda: no_backlog(platform), "the repeat after the restart to be decided")
        assert not changed(await everything(platform, client), before)
        check_sheet(await final(platform, node, again.name), again.name)
        log = await oracle.read_log(platform.cluster, platform.partitions)
        assert set(log.ids.values()) == {1}
        assert log.backwards == 0
        await source.close()
