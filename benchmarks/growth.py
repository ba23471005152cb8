"""`python -m benchmarks.growth [--json] [--quick]`: what an event costs the node as matches and partitions grow.

Every point is the same number of events at the same rate, in bodies of the same size, spread evenly over its matches;
one node on one broker. Points of one partition count share a node and take turns; printed are medians of the rounds:
the node's CPU in µs an event, without and with what it costs while nothing comes, and that idle cost in percent of a
core.
"""

import argparse
import asyncio
import json
import logging
import os
import platform as python
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from benchmarks import beside, feeding, follow, load
from benchmarks.platform import PARTITIONS, Platform, platform
from tests.support.feed import RealMatch, real_matches

MATCHES, MATCHES_AT = (1, 10, 100, 1000), 100
PARTITION_COUNTS = (1, 8, 64)
BODY, TICK_S = 10, 0.01
"""1,000 events/s, as in the measurement of latency."""
DEADLINE_S = 120


class Size(NamedTuple):
    """How much is run: events a point (a multiple of every count of matches, times BODY), rounds, idle seconds."""

    events: int
    rounds: int
    idle_s: float
    matches: Sequence[int]
    partitions: Sequence[int]


class Cost(NamedTuple):
    """Of one round: µs of the node's CPU an event, idle cost in it; the idle cost as a share of a core; p50 and p99."""

    cpu_us: float
    idle: float
    p50_ms: float
    p99_ms: float

    @property
    def own_us(self) -> float:
        """Without what the node would have used in the same time with nothing to do."""
        return self.cpu_us - self.idle * TICK_S / BODY * 1e6


FULL = Size(10_000, 3, 3.0, MATCHES, PARTITION_COUNTS)
QUICK = Size(1_000, 1, 0.5, (1, 10), ())


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="two small points, to see that it works")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    beside.like_a_node()
    result = asyncio.run(measure(QUICK if chosen.quick else FULL))
    if chosen.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name}: {json.dumps(figures)}")


async def measure(size: Size) -> dict[str, Any]:
    """By matches at 8 partitions, by partitions at 100 matches."""
    matches = real_matches()
    by_matches = await points(matches, size, PARTITIONS, size.matches)
    by_partitions = {}
    for count in size.partitions:
        if count == PARTITIONS and MATCHES_AT in by_matches:
            by_partitions[count] = by_matches[MATCHES_AT]
        else:
            by_partitions[count] = (await points(matches, size, count, [MATCHES_AT]))[MATCHES_AT]
    return {
        "events": size.events,
        "rate": round(BODY / TICK_S),
        "rounds": size.rounds,
        "matches": {str(count): summary(rows) for count, rows in by_matches.items()},
        "partitions": {str(count): summary(rows) for count, rows in by_partitions.items()},
        "machine": {
            "cores": os.cpu_count(),
            "python": python.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


def summary(rows: Sequence[Cost]) -> dict[str, float]:
    """Medians of the rounds. Pure."""

    def middle(values: Sequence[float]) -> float:
        return round(statistics.median(values), 1)

    return {
        "cpu_us": middle([row.cpu_us for row in rows]),
        "own_us": middle([row.own_us for row in rows]),
        "idle_percent": middle([row.idle * 100 for row in rows]),
        "p50_ms": middle([row.p50_ms for row in rows]),
        "p99_ms": middle([row.p99_ms for row in rows]),
    }


async def points(
    matches: Sequence[RealMatch], size: Size, partitions: int, counts: Sequence[int]
) -> Mapping[int, list[Cost]]:
    """One node on this many partitions; the costs of each count of matches, by round."""
    found: dict[int, list[Cost]] = {count: [] for count in counts}
    async with platform(partitions=partitions) as node:
        for turn in range(size.rounds):
            for count in counts:
                print(f"{partitions} partitions, {count} matches, round {turn + 1}", file=sys.stderr, flush=True)
                found[count].append(await point(node, matches, size, count, f"g{turn}-{count}-"))
    return found


async def point(node: Platform, matches: Sequence[RealMatch], size: Size, count: int, run: str) -> Cost:
    """Idle for a while, then the events; fails when one is lost on its way to the socket."""
    events, names = size.events, [(f"{run}{n}", matches[n % len(matches)]) for n in range(count)]
    await feeding.declare(node, names)
    bodies = feeding.in_turn([spread(*name, events // count) for name in names])
    socket = follow.Socket(node.node.url, node.token())
    source = load.Load(load.Plan(node.node.url, node.broadcast_key, [bodies], TICK_S))
    try:
        await socket.open([i for i, _ in names])
        await source.ready()
        idle = await _idle(node, size.idle_s)
        before, started = node.cpu_s()["node"], time.perf_counter()
        source.go()
        sent = await source.sent()
        await socket.all(events, DEADLINE_S)
        # What a slow round waits longer is idle cost, which every event of a full second shares.
        late_s = time.perf_counter() - started - len(bodies) * TICK_S
        used = node.cpu_s()["node"] - before - max(0.0, late_s) * idle
    finally:
        source.close()
        await socket.close()
    arrived = socket.arrived()
    feeding.same(sent.ids, [one.event_id for one in arrived], "at the socket")
    late = statistics.quantiles((one.late_ms for one in arrived), n=100)
    return Cost(used / events * 1e6, idle, late[49], late[98])


def spread(match_id: str, match: RealMatch, events: int) -> list[load.Body]:
    """The first so many events of a match in bodies of the same size; a match that is too short begins again. Pure.

    What begins again has other ids.
    """
    records = [one[-1] for one in match.feed.records]
    path = f"/v1/ingest/broadcast/wyscout?match_id={match_id}"
    lines = []
    for number in range(events):
        turn, place = divmod(number, len(records))
        lines.append(records[place] if turn == 0 else _renumbered(records[place], turn))
    assert events % BODY == 0, f"{events} events do not fill bodies of {BODY}"
    return [(path, b"\n".join(lines[n : n + BODY])) for n in range(0, events, BODY)]


def _renumbered(record: bytes, turn: int) -> bytes:
    told = json.loads(record)
    return json.dumps(told | {"id": turn * 10**10 + told["id"]}).encode()


async def _idle(node: Platform, seconds: float) -> float:
    """The share of a core that the node uses while nothing comes."""
    before = node.cpu_s()["node"]
    await asyncio.sleep(seconds)
    return (node.cpu_s()["node"] - before) / seconds


if __name__ == "__main__":
    main()
