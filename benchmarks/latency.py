"""Latency at 1,000 events/s: windows of the product take turns with windows of bare clients, one hop and two."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks import feeding, follow, hops, legs, load, records, topic
from benchmarks.platform import Platform
from eventhub.record import Outgoing
from tests.support.feed import RealMatch

RATE, TICK_S, LOOPS = 1000, 0.01, 4
SIZE = round(RATE * TICK_S)
DEADLINE_S = 180


class Window(NamedTuple):
    """One window, in ms: accept to frame, from when a post was due to its 202, and the medians of its legs."""

    events: int
    rate: float
    p50_ms: float
    p99_ms: float
    ack_p50_ms: float
    ack_p99_ms: float
    to_raw_ms: float
    to_log_ms: float
    to_frame_ms: float


async def measure(node: Platform, matches: Sequence[RealMatch], windows: int, seconds: float) -> dict[str, Any]:
    """Medians over the windows; a ratio is the median of the windows' own ratios, each to the bare one behind it."""
    on = node.ground
    await topic.make(on.cluster, partitions=on.partitions, replication=on.replication)
    sent = records.raw(records.named(matches, "bare", 1), {})[: round(seconds * RATE)]
    found: list[tuple[Window, hops.Late, hops.Late]] = []
    for turn in range(windows):
        found.append(
            (
                await product(node, matches, f"late{turn}-", seconds),
                await bare(node, sent, [topic.IN]),
                await bare(node, sent, [topic.IN, topic.OUT]),
            )
        )
    return summary(found)


async def product(node: Platform, matches: Sequence[RealMatch], run: str, seconds: float) -> Window:
    """Open loop, ten events at a time over 24 matches."""
    names = records.named(matches, run, LOOPS)
    await feeding.declare(node, names)
    bodies = feeding.in_turn([feeding.bodies(i, m, SIZE) for i, m in names])[: round(seconds / TICK_S)]
    socket = follow.Socket(node.node.url, node.token())
    source = load.Load(load.Plan(node.node.url, node.broadcast_key, [bodies], TICK_S))
    try:
        await socket.open([i for i, _ in names])
        await source.ready()
        source.go()
        sent = await source.sent()
        await socket.all(len(bodies) * SIZE, DEADLINE_S)
    finally:
        source.close()
        await socket.close()
    arrived = socket.arrived()
    feeding.same(sent.ids, [one.event_id for one in arrived], "at the socket")
    late = statistics.quantiles((one.late_ms for one in arrived), n=100)
    ack = statistics.quantiles(sent.ack_ms, n=100)
    on = node.ground
    way = await legs.measure(on.cluster, on.partitions, arrived)
    return Window(len(arrived), len(sent.ids) / sent.took_s, late[49], late[98], ack[49], ack[98], *way)


async def bare(node: Platform, sent: Sequence[Outgoing], names: Sequence[str]) -> hops.Late:
    """The same records at the same rate over topics of their own, on the same brokers; the node has nothing to do."""
    on = node.ground
    return await hops.measure(on.cluster, sent, names=names, partitions=on.partitions, size=SIZE, tick_s=TICK_S)


def summary(found: Sequence[tuple[Window, hops.Late, hops.Late]]) -> dict[str, Any]:
    """What is printed. Pure."""

    def middle(values: Sequence[float]) -> float:
        return round(statistics.median(values), 2)

    products, ones, twos = zip(*found, strict=True)
    return {
        "events": sum(window.events for window in products),
        "windows": len(found),
        "rate": round(statistics.median(window.rate for window in products)),
        **{name: middle([getattr(w, name) for w in products]) for name in Window._fields[2:]},
        "worst_p99_ms": round(max(window.p99_ms for window in products), 2),
        "one_hop_p50_ms": middle([one.p50_ms for one in ones]),
        "one_hop_p99_ms": middle([one.p99_ms for one in ones]),
        "two_hops_p50_ms": middle([two.p50_ms for two in twos]),
        "two_hops_p99_ms": middle([two.p99_ms for two in twos]),
        "median_ratio": middle([window.p50_ms / one.p50_ms for window, one, _ in found]),
        "two_hops_ratio": middle([window.p50_ms / two.p50_ms for window, _, two in found]),
    }
