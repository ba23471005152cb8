"""`python -m benchmarks.corpus [--json] [--pairs 5]`: what hostile input costs those who watch a live match.

One node under a live load (200 events/s into one match, through HTTP) and a socket that follows it. Windows come in
pairs: quiet, then with one client that sends the corpus at a bounded pace, of equal length. Printed are p50 and p99 of
accepted_at to frame in each window, and the median over the pairs of p99 with the corpus by p99 without.
"""

import argparse
import asyncio
import itertools
import json
import logging
import os
import platform as python
import statistics
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx2

from benchmarks import follow, load
from benchmarks.hostile import Hostile, Plan
from benchmarks.platform import PARTITIONS, Platform, platform
from eventhub import kafka, operations
from tests.support.feed import RealMatch, Source, real_matches

RATE, TICK_S = 200, 0.01
PAIRS, WINDOW_S, SETTLE_S, WARM_S = 5, 6.0, 1.0, 3.0
LIVE, HOSTILE = "live", "corpus"
GOAL = 1.5


class _Watch(follow.Socket):
    def delays(self) -> list[tuple[float, float]]:
        """Of every event: when it was accepted (wall clock), and in ms how long after that it was here."""
        found = []
        for at, frame in self._frames:
            for line in frame.split(b"\n"):
                if follow.MARK in line:
                    accepted_at = datetime.fromisoformat(json.loads(line)["event"]["accepted_at"]).timestamp()
                    found.append((accepted_at, (at - accepted_at) * 1000))
        return found


class Window(NamedTuple):
    """What one window showed: delays in ms, and how many cases of the corpus went within it."""

    p50_ms: float
    p99_ms: float
    events: int
    cases: int


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="pairs of windows")
    parser.add_argument("--window", type=float, default=WINDOW_S, help="seconds of one window")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    result = asyncio.run(measure(chosen.pairs, chosen.window))
    if chosen.json:
        print(json.dumps(result))
        return
    for number, pair in enumerate(result["pairs"]):
        quiet, corpus = pair["quiet"], pair["corpus"]
        print(
            f"pair {number + 1}: quiet p50 {quiet['p50_ms']} p99 {quiet['p99_ms']} ms,"
            f" corpus p50 {corpus['p50_ms']} p99 {corpus['p99_ms']} ms ({corpus['cases']} cases),"
            f" ratio {pair['ratio']}"
        )
    print(f"median ratio of p99 {result['ratio']} (goal: at most {GOAL}), {result['machine']}")


async def measure(pairs: int, window_s: float) -> dict[str, Any]:
    """The whole benchmark; fails when a case is not answered as the corpus says, or an event of the load is lost."""
    match = real_matches()[0]
    async with platform() as node:
        hostile = Hostile(await _plan(node))
        source = Source([node.node.url], node.broadcast_key, node.admin_key)
        await source.declare(LIVE, match)
        await _declare(node)
        await source.close()
        total_s = WARM_S + pairs * 2 * (window_s + SETTLE_S) + SETTLE_S
        sender = load.Load(load.Plan(node.node.url, node.broadcast_key, [_bodies(match, total_s)], TICK_S))
        socket = _Watch(node.node.url, node.token())
        try:
            await socket.open([LIVE])
            await sender.ready()
            await hostile.ready()
            sender.go()
            await asyncio.sleep(WARM_S)
            spans = []
            for number in range(pairs):
                _say(f"pair {number + 1} of {pairs}")
                spans += await _pair(hostile, window_s)
            sent = await sender.sent()
            await socket.all(len(sent.ids), 60)
        finally:
            sender.close()
            await socket.close()
            hostile.close()
        came = Counter(one.event_id for one in socket.arrived())
        assert came == Counter(sent.ids), f"{len(sent.ids)} events were accepted, {came.total()} came"
        windows = [_window(socket, *span) for span in spans]
    return _result(list(zip(windows[::2], windows[1::2], strict=True)))


async def _pair(hostile: Hostile, window_s: float) -> list[tuple[float, float, int]]:
    """A quiet window and one with the corpus: from, to (wall clock), and cases sent."""
    spans = []
    for sends in (False, True):
        began = time.time()
        sent = await hostile.run(began + window_s) if sends else 0
        await asyncio.sleep(max(0.0, began + window_s - time.time()))
        spans.append((began, began + window_s, sent))
        # What the last case caused belongs to no quiet window.
        await asyncio.sleep(SETTLE_S)
    return spans


def _window(socket: "_Watch", began: float, ended: float, sent: int) -> Window:
    """Of the events that were accepted within it."""
    late = [late_ms for accepted_at, late_ms in socket.delays() if began <= accepted_at < ended]
    cut = statistics.quantiles(late, n=100)
    return Window(round(cut[49], 2), round(cut[98], 2), len(late), sent)


def _result(pairs: list[tuple[Window, Window]]) -> dict[str, Any]:
    ratios = [corpus.p99_ms / quiet.p99_ms for quiet, corpus in pairs]
    return {
        "pairs": [
            {"quiet": quiet._asdict(), "corpus": corpus._asdict(), "ratio": round(ratio, 2)}
            for (quiet, corpus), ratio in zip(pairs, ratios, strict=True)
        ],
        "ratio": round(statistics.median(ratios), 2),
        "goal": GOAL,
        "rate": RATE,
        "machine": {
            "cores": os.cpu_count(),
            "python": python.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


async def _declare(node: Platform) -> None:
    """The match of the corpus, with the teams that it names."""
    body = {
        "home": {"id": "h", "name": "Home"},
        "away": {"id": "a", "name": "Away"},
        "starts_at": datetime.now(UTC).isoformat(),
    }
    headers = {"Authorization": f"Bearer {node.admin_key}"}
    async with httpx2.AsyncClient() as http:
        answer = await http.put(f"{node.node.url}/v1/matches/{HOSTILE}", json=body, headers=headers)
    assert answer.status_code == 201, answer.text


async def _plan(node: Platform) -> Plan:
    """The node as the corpus sees it, with keys of the sources that the platform has none of."""
    declared = await kafka.declare(node.cluster, partitions=PARTITIONS, replication=1, min_insync_replicas=1)
    writer = kafka.Writer(node.cluster)
    await writer.open()
    more = {source: await operations.write_key(writer, source) for source in ("sensors", "social")}
    await writer.close()
    keys = {**more, "broadcast": node.broadcast_key, "admin": node.admin_key}
    partition = kafka.Partitioner(PARTITIONS)(HOSTILE)
    names = {
        "MATCH": HOSTILE,
        "NOW": datetime.now(UTC).isoformat(),
        "EPOCH": declared.epoch,
        "PARTITION": str(partition),
    }
    return Plan(node.node.url, keys, node.token(), names)


def _bodies(match: RealMatch, seconds: float) -> list[load.Body]:
    """Two events each 10 ms, for so long; a match that ends begins again under other ids."""
    size = round(RATE * TICK_S)
    records = [json.loads(one[-1]) for one in match.feed.records]
    path = f"/v1/ingest/broadcast/wyscout?match_id={LIVE}"
    numbered = (record | {"id": turn * 10**10 + record["id"]} for turn in itertools.count() for record in records)
    return [
        (path, b"\n".join(json.dumps(next(numbered)).encode() for _ in range(size)))
        for _ in range(round(seconds / TICK_S))
    ]


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
