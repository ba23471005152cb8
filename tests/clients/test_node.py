"""The Python client against a real node: a match sent by its producer comes once and in order, over two cuts."""

import asyncio

from eventhub_client import Client, Event, LostError, Producer, RefusedError
from tests.support.feed import RealMatch
from tests.support.nodes import NodeProcess, running
from tests.support.proxy import Proxy
from tests.system.checks import provider_events, stored
from tests.system.conftest import Platform, matches, platform

__all__ = ["matches", "platform"]
CUTS = (400, 900)
"""After so many events the connection is cut."""
AHEAD = 100
"""So many more are sent before: some are on their way, and the rest can only come over the next connection."""
EVENT = '"event":'
TIMEOUT_S = 60


async def declare(platform: Platform, node: NodeProcess, match: RealMatch) -> None:
    source = platform.source(node)
    await source.declare(match.name, match)
    await source.close()


async def send(platform: Platform, node: NodeProcess, match: RealMatch, cuts: asyncio.Semaphore) -> None:
    """The records of a match through the producer; none is refused."""
    async with Producer(
        node.url, platform.broadcast_key, "broadcast", provider="wyscout", match_id=match.name, batch_items=100
    ) as producer:
        for number, (_, _, record) in enumerate(match.feed.records):
            if number - AHEAD in CUTS:
                await cuts.acquire()
            await producer.send(record)
    assert producer.accepted == len(match.feed.records)


async def follow(
    platform: Platform, proxy: Proxy, match: RealMatch, cuts: asyncio.Semaphore, losses: list[str]
) -> list[bytes]:
    """The provider's events as they came, byte for byte, to a client whose connection is cut on the way."""
    events: list[bytes] = []

    async def token() -> str:
        return platform.token()

    def on_retry(error: LostError | RefusedError, _: float) -> None:
        losses.append(str(error))

    async with Client(f"http://127.0.0.1:{proxy.port}", token, on_retry=on_retry) as client:
        await client.subscribe(f"match:{match.name}", from_start=True)
        async with asyncio.timeout(TIMEOUT_S):
            async for message in client:
                assert isinstance(message, Event)
                found = provider_events([message.text[message.text.index(EVENT) + len(EVENT) : -1].encode()])
                events += found
                if found and len(events) in CUTS:
                    await asyncio.to_thread(proxy.cut)
                    cuts.release()
                if len(events) == len(match.feed.records):
                    break
    return events


async def test_a_match_comes_once_and_in_order_over_two_cuts(platform: Platform, matches: list[RealMatch]) -> None:
    match = next(m for m in matches if m.name == "2058003")
    node = platform.node("one")
    proxy = Proxy(node.port)
    proxy.start()
    losses: list[str] = []
    cuts = asyncio.Semaphore(0)
    try:
        async with running(node):
            await declare(platform, node, match)
            async with asyncio.TaskGroup() as group:
                following = group.create_task(follow(platform, proxy, match, cuts, losses))
                group.create_task(send(platform, node, match, cuts))
            assert following.result() == await stored(platform, match.name, len(match.feed.records))
        assert len(losses) == len(CUTS)
    finally:
        proxy.close()
