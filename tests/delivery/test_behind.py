"""The last subscriber of a view falls behind amid a batch: nothing stays pending for nobody."""

import asyncio
from dataclasses import replace

from eventhub.delivery.messages import FRAME_BYTES
from tests.delivery.conftest import MakeWorld
from tests.delivery.world import SMALL, until

WINDOW_S = 0.3
"""Longer than all of it takes: what is pending is still that when the client is back."""
LARGE = replace(SMALL, window_s=WINDOW_S, queue_bytes=FRAME_BYTES + 8_000, conflate_after_s=60)


async def test_who_fell_behind_amid_a_batch_and_is_back_at_once_misses_nothing(make_world: MakeWorld) -> None:
    world = make_world(LARGE)
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    world.log.append("m0")
    await until(lambda: client.ids == ["0-0"], "the first event")
    client.stall()
    # The second of the batch does not fit into a frame with the first, which goes out at once, and is refused.
    world.log.append("m0", payload={"text": "x" * FRAME_BYTES})
    world.log.append("m0")
    await world.tailed()
    assert not client.connection.subscriptions._followers["match:m0"].live, "it has fallen behind"
    # Nobody is offered this one.
    world.log.append("m0")
    await world.tailed()
    client.take()
    began = asyncio.get_running_loop().time()
    await until(lambda: client.connection.subscriptions._followers["match:m0"].live, "it to be back")
    assert asyncio.get_running_loop().time() - began < WINDOW_S, "too late to show anything"
    world.log.append("m0")
    await until(lambda: client.ids[-1:] == ["0-4"], "the last event")
    assert client.ids == [f"0-{number}" for number in range(5)]
