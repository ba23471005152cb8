"""`python -m benchmarks.pipeline [--json] [--quick]`: from HTTP accept to Postgres and to a socket.

Real events (six matches under fresh ids) go as NDJSON from a process of their own to one node with embedded services; a
client on a socket follows every match. Beside it, in the same run, bare clients do the same work, as the limit. Nothing
is printed unless every accepted event arrived everywhere, once.
"""

import argparse
import asyncio
import json
import logging
import os
import platform as python
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks import bare, follow, load, steps
from benchmarks.platform import PARTITIONS, Platform, platform
from tests.support.feed import RealMatch, Source, real_matches

BATCH, LANES = 500, 8
RATE, TICK_S, LATENCY_LOOPS = 1000, 0.01, 4
DEADLINE_S = 180


class Size(NamedTuple):
    """How much is run."""

    runs: int
    loops: int
    latency_s: float


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    matches = real_matches()
    _say("steps")
    pure = steps.measure(matches)
    size = Size(1, 1, 4) if chosen.quick else Size(3, 6, 15)
    result = asyncio.run(measure(size, matches, pure))
    if chosen.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name}: {json.dumps(figures)}")


async def measure(size: Size, matches: Sequence[RealMatch], pure: steps.Steps) -> dict[str, Any]:
    """The whole benchmark; fails when anything is lost or comes twice."""
    async with platform() as node:
        _say("warm-up")
        await throughput(node, matches, 1, "warm-")
        runs = []
        for turn in range(size.runs):
            _say(f"throughput, run {turn + 1} of {size.runs}")
            runs.append(await throughput(node, matches, size.loops, f"run{turn}-"))
        _say("latency")
        late = await latency(node, matches, size.latency_s)
        # The same broker and database, without the node: the limit has the cores to itself.
        node.node.close()
        _say("bare clients")
        records, rows = pure.records * size.loops, pure.rows * size.loops
        dsn = node.services.addresses.postgres
        limit = await bare.measure(node.cluster, dsn, records, rows, partitions=PARTITIONS, runs=size.runs)
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    rates = ("accept_per_s", "postgres_per_s", "socket_per_s")
    slower = min(middle["socket_per_s"], middle["postgres_per_s"])
    return {
        "throughput": {
            "events": round(runs[0]["events"]),
            "runs": [{key: round(run[key]) for key in rates} for run in runs],
            **{key: round(middle[key]) for key in rates},
        },
        "latency": late,
        "cpu_us_per_event": {
            **{name: round(middle[f"cpu_{name}"], 1) for name in ("node", "kafka", "postgres")},
            "steps": {name: round(us, 1) for name, us in pure.us.items()},
        },
        "bare": {key: round(value) for key, value in limit._asdict().items()},
        "ratio": round(slower / limit.chain_per_s, 3),
        "path_ratio": round(slower / limit.path_per_s, 3),
        "machine": {
            "cores": os.cpu_count(),
            "python": python.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


async def throughput(node: Platform, matches: Sequence[RealMatch], loops: int, run: str) -> dict[str, float]:
    """Everything at once over 8 connections; events/s from the first post to all at the socket, and in Postgres."""
    names = await _declare(node, matches, loops, run)
    lanes = [_in_turn([_bodies(i, m, BATCH) for i, m in names[n::LANES]]) for n in range(LANES)]
    socket = follow.Socket(node.node.url, node.token())
    progress = follow.Progress(node.services.addresses.postgres)
    source = load.Load(load.Plan(node.node.url, node.broadcast_key, lanes))
    try:
        await socket.open([i for i, _ in names])
        progress.open()
        await source.ready()
        total = sum(len(m.feed.records) for _, m in names)
        before, started = node.cpu_s(), perf_counter()
        source.go()
        arrived_at = await socket.all(total, DEADLINE_S)
        stored_at = await progress.passed(socket.ends(), DEADLINE_S)
        used = {name: after - before[name] for name, after in node.cpu_s().items()}
        sent = await source.sent()
    finally:
        source.close()
        await progress.close()
        await socket.close()
    assert len(sent.ids) == total, f"{len(sent.ids)} of {total} were accepted"
    _same(sent.ids, [one.event_id for one in socket.arrived()], "at the socket")
    _same(sent.ids, await follow.stored(node.services.addresses.postgres, run), "in Postgres")
    return {
        "events": total,
        "accept_per_s": total / sent.took_s,
        "socket_per_s": total / (arrived_at - started),
        "postgres_per_s": total / (stored_at - started),
        **{f"cpu_{name}": seconds / total * 1e6 for name, seconds in used.items()},
    }


async def latency(node: Platform, matches: Sequence[RealMatch], seconds: float) -> dict[str, float]:
    """1,000 events/s, open loop, ten at a time over 24 matches: accept to frame, and post to 202."""
    names = await _declare(node, matches, LATENCY_LOOPS, "late-")
    size = round(RATE * TICK_S)
    bodies = _in_turn([_bodies(i, m, size) for i, m in names])[: round(seconds / TICK_S)]
    socket = follow.Socket(node.node.url, node.token())
    source = load.Load(load.Plan(node.node.url, node.broadcast_key, [bodies], TICK_S))
    try:
        await socket.open([i for i, _ in names])
        await source.ready()
        source.go()
        sent = await source.sent()
        await socket.all(len(bodies) * size, DEADLINE_S)
    finally:
        source.close()
        await socket.close()
    arrived = socket.arrived()
    _same(sent.ids, [one.event_id for one in arrived], "at the socket")
    late = statistics.quantiles((one.late_ms for one in arrived), n=100)
    ack = statistics.quantiles(sent.ack_ms, n=100)
    return {
        "events": len(arrived),
        "rate": round(len(sent.ids) / sent.took_s),
        "p50_ms": round(late[49], 1),
        "p99_ms": round(late[98], 1),
        "ack_p50_ms": round(ack[49], 1),
        "ack_p99_ms": round(ack[98], 1),
    }


async def _declare(node: Platform, matches: Sequence[RealMatch], loops: int, run: str) -> list[tuple[str, RealMatch]]:
    source = Source([node.node.url], node.broadcast_key, node.admin_key)
    names = [(f"{run}{k}-{m.name}", m) for k in range(loops) for m in matches]
    try:
        for match_id, match in names:
            await source.declare(match_id, match)
    finally:
        await source.close()
    return names


def _bodies(match_id: str, match: RealMatch, size: int) -> list[load.Body]:
    path = f"/v1/ingest/broadcast/wyscout?match_id={match_id}"
    records = [one[-1] for one in match.feed.records]
    return [(path, b"\n".join(records[n : n + size])) for n in range(0, len(records), size)]


def _in_turn(bodies: Sequence[Sequence[load.Body]]) -> list[load.Body]:
    """The first body of each match, then the second of each, as matches at the same hour would send them."""
    longest = max(map(len, bodies), default=0)
    return [of[n] for n in range(longest) for of in bodies if n < len(of)]


def _same(accepted: Sequence[str], found: Sequence[str], where: str) -> None:
    want, got = Counter(accepted), Counter(found)
    missing, extra = (want - got).total(), (got - want).total()
    assert want == got, f"{len(accepted)} accepted, {len(found)} {where}: {missing} missing, {extra} too many"


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
