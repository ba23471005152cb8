"""`python -m benchmarks.pipeline [--brokers 1|3] [--json] [--quick]`: from HTTP accept to Postgres and to a socket.

Real events (six matches under fresh ids) go as NDJSON from a process of their own to one node with embedded services; a
client on a socket follows every match. Beside it, in the same run, bare clients do the same work, as the limit, and
bare hops at the same rate, as the least latency. Nothing is printed unless every accepted event arrived everywhere,
once.
"""

import argparse
import asyncio
import json
import logging
import os
import platform as python
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

import uvloop

from benchmarks import bare, feeding, follow, latency, load, records, steps
from benchmarks.platform import PARTITIONS, Platform, platform
from tests.support.feed import RealMatch, real_matches

BATCH, LANES = 500, 8
DEADLINE_S = 180


class Size(NamedTuple):
    """How much is run."""

    runs: int
    loops: int
    windows: int
    latency_s: float


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one short run, to see that it works")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="three replicate every record")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    matches = real_matches()
    _say("steps")
    pure = steps.measure(matches)
    size = Size(1, 1, 1, 2) if chosen.quick else Size(3, 6, 5, 5)
    # As in a node: else the bare clients would pay for a slower loop than the product.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    result = asyncio.run(measure(size, matches, pure, brokers=chosen.brokers))
    if chosen.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(f"{name}: {json.dumps(figures)}")


async def measure(size: Size, matches: Sequence[RealMatch], pure: steps.Steps, *, brokers: int) -> dict[str, Any]:
    """The whole benchmark; fails when anything is lost or comes twice."""
    async with platform(brokers=brokers) as node:
        _say("warm-up")
        await throughput(node, matches, 1, "warm-")
        runs = []
        for turn in range(size.runs):
            _say(f"throughput, run {turn + 1} of {size.runs}")
            runs.append(await throughput(node, matches, size.loops, f"run{turn}-"))
        _say("latency")
        late = await latency.measure(node, matches, size.windows, size.latency_s)
        # The same broker and database, without the node: the limit has the cores to itself.
        node.node.close()
        _say("bare clients")
        many, rows = pure.records * size.loops, pure.rows * size.loops
        limit = await bare.measure(node.cluster, node.ground.dsn, many, rows, partitions=PARTITIONS, runs=size.runs)
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
            "brokers": brokers,
            "cores": os.cpu_count(),
            "python": python.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


async def throughput(node: Platform, matches: Sequence[RealMatch], loops: int, run: str) -> dict[str, float]:
    """Everything at once over 8 connections; events/s from the first post to all at the socket, and in Postgres."""
    names = records.named(matches, run, loops)
    await feeding.declare(node, names)
    lanes = [feeding.in_turn([feeding.bodies(i, m, BATCH) for i, m in names[n::LANES]]) for n in range(LANES)]
    socket = follow.Socket(node.node.url, node.token())
    progress = follow.Progress(node.ground.dsn)
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
    feeding.same(sent.ids, [one.event_id for one in socket.arrived()], "at the socket")
    feeding.same(sent.ids, await follow.stored(node.ground.dsn, run), "in Postgres")
    return {
        "events": total,
        "accept_per_s": total / sent.took_s,
        "socket_per_s": total / (arrived_at - started),
        "postgres_per_s": total / (stored_at - started),
        **{f"cpu_{name}": seconds / total * 1e6 for name, seconds in used.items()},
    }


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
