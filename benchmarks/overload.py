"""`python -m benchmarks.overload [--json] [--quick]`: critical events while ten times too many tracking frames come.

One node. First its capacity is found: how many frames a second it takes for as long as they are sent one batch after
another. Then pairs of windows: goals and cards alone, and the same while frames are offered at ten times that. Printed
are p50 and p99 from the POST of a critical event to its frame at a subscriber, and what became of the frames.
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
from typing import Any, NamedTuple

import httpx2

from benchmarks.flood import Flood, Flooded, Plan, clock
from benchmarks.platform import PARTITIONS, Platform, platform
from eventhub import kafka, operations
from tests.drills import wire
from tests.support import oracle
from tests.support.wait import until

TIMES, RATE_PER_S = 10, 20
PAIRS, WINDOW_S, FIND_S, AT_ONCE = 5, 15.0, 10.0, 64
GOAL_MS, GOAL = 150, 1.5
DRAIN_S, ARRIVE_S = 300, 60
KINDS = ("goal", "yellow_card")
NAME = b'"source_event_id":"c'


class Window(NamedTuple):
    """One window: delays of critical events in ms, how many were sent, and the frames that were offered meanwhile."""

    p50_ms: float
    p99_ms: float
    critical: int
    flood: Flooded | None


class Critical:
    """Posts goals and cards at a steady rate, and times each until it is at a subscriber."""

    def __init__(self, node: Platform, matches: Sequence[str]) -> None:
        self._node, self._matches = node, matches
        self._number = 0
        self._sent: dict[bytes, float] = {}
        self._came: dict[bytes, list[float]] = {}
        self._http = httpx2.AsyncClient(base_url=node.node.url, timeout=ARRIVE_S)

    async def open(self) -> None:
        """The subscriber is there."""
        answered = asyncio.Event()

        def take(line: bytes) -> None:
            if NAME in line:
                start = line.index(NAME) + len(NAME)
                self._came.setdefault(line[start : line.index(b'"', start)], []).append(clock())
            elif b'"type":"subscribed"' in line:
                answered.set()

        made = await wire.connect(self._node.node.port, self._node.token(), take)
        channels = [{"channel": f"match:{m}"} for m in self._matches]
        made.say(id=2, type="subscribe", channels=channels, lanes=["critical"])
        await asyncio.wait_for(answered.wait(), ARRIVE_S)

    async def close(self) -> None:
        """Leave."""
        await self._http.aclose()

    async def run(self, seconds: float) -> list[float]:
        """The delays of one window in ms; fails unless each came exactly once."""
        began, names = clock(), []
        posts = []
        for turn in range(round(seconds * RATE_PER_S)):
            await asyncio.sleep(max(0.0, began + turn / RATE_PER_S - clock()))
            self._number += 1
            names.append(str(self._number).encode())
            posts.append(asyncio.create_task(self._post(names[-1], self._number)))
        await asyncio.gather(*posts)
        await until(lambda: all(name in self._came for name in names), "every critical event", ARRIVE_S)
        assert all(len(self._came[name]) == 1 for name in names), "a critical event came twice"
        return [(self._came[name][0] - self._sent[name]) * 1000 for name in names]

    async def _post(self, name: bytes, number: int) -> None:
        event = {
            "match_id": self._matches[number % len(self._matches)],
            "type": KINDS[number % len(KINDS)],
            "source_event_id": f"c{name.decode()}",
            "occurred_at": datetime.now(UTC).isoformat(),
            "team_id": "home",
            "period": "first_half",
            "clock_s": 60,
        }
        body, headers = json.dumps(event).encode(), {"Authorization": f"Bearer {self._node.broadcast_key}"}
        self._sent[name] = clock()
        while True:
            answer = await self._http.post("/v1/ingest/broadcast", content=body, headers=headers)
            if answer.status_code == 202:
                return
            # What it waits for because it was refused is a part of its delay.
            assert answer.status_code in (429, 503), answer.text
            await asyncio.sleep(0.05)


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="one pair of short windows, which shows that it works")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    size: Any = (1, 2.0, 2.0, 8) if chosen.quick else (PAIRS, WINDOW_S, FIND_S, AT_ONCE)
    result = asyncio.run(measure(*size))
    if chosen.json:
        print(json.dumps(result))
        return
    print(f"capacity {result['capacity_per_s']} frames/s; offered {TIMES} times that")
    for number, pair in enumerate(result["pairs"]):
        alone, loaded, flood = pair["alone"], pair["loaded"], pair["loaded"]["flood"]
        print(
            f"pair {number + 1}: alone p50 {alone['p50_ms']} p99 {alone['p99_ms']} ms, loaded p50 {loaded['p50_ms']}"
            f" p99 {loaded['p99_ms']} ms, ratio {pair['ratio']}; frames offered {flood['offered']}, accepted"
            f" {flood['accepted']}, refused {flood['refused']}, unsent {flood['unsent']}, came {flood['came']}"
            f" ({flood['meanwhile']} of them meanwhile) in {flood['seconds']:.1f} s, answers {flood['said']}"
        )
    print(
        f"critical p99 loaded, median {result['p99_ms']} ms (aim {GOAL_MS}), ratio, median {result['ratio']}"
        f" (aim {GOAL}), none lost of {result['critical']}; {result['machine']}"
    )


async def measure(pairs: int, window_s: float, find_s: float, at_once: int) -> dict[str, Any]:
    """The whole benchmark, the bulk over `at_once` connections.

    Fails when a critical event is lost or twice, or nothing of the bulk comes.
    """
    matches = [f"over{n}" for n in range(PARTITIONS)]
    async with platform() as node:
        key = await _declare(node, matches)
        critical = Critical(node, matches)
        flood = Flood(Plan(node.node.port, key, node.token(), matches, at_once))
        try:
            await critical.open()
            await flood.ready()
            await critical.run(2)
            await flood.run(find_s / 2, None)
            found = await _flooded(node, flood, find_s, None)
            capacity = found.accepted / found.seconds
            _say(f"capacity {capacity:.0f} frames/s ({found})")
            windows = []
            for number in range(pairs):
                _say(f"pair {number + 1} of {pairs}")
                alone = _window(await critical.run(window_s), None)
                windows.append((alone, await _loaded(node, critical, flood, window_s, capacity)))
        finally:
            flood.close()
            await critical.close()
    return _result(capacity, windows)


async def _loaded(node: Platform, critical: Critical, flood: Flood, window_s: float, capacity: float) -> Window:
    flooding = asyncio.create_task(flood.run(window_s, TIMES * capacity))
    delays = await critical.run(window_s)
    flooded = await flooding
    assert flooded.came > 0, "nothing of the bulk came"
    await _drained(node)
    return _window(delays, flooded)


async def _flooded(node: Platform, flood: Flood, seconds: float, per_s: float | None) -> Flooded:
    found = await flood.run(seconds, per_s)
    # The capacity is of the whole path: what waits on the raw topics afterwards takes its time too.
    began = clock()
    await _drained(node)
    return found._replace(seconds=found.seconds + clock() - began)


async def _drained(node: Platform) -> None:
    async def is_drained() -> bool:
        return await oracle.backlog(node.cluster, node.ground.partitions) == 0

    await until(is_drained, "the raw topics to be on the log", DRAIN_S)


def _window(delays: Sequence[float], flood: Flooded | None) -> Window:
    cut = statistics.quantiles(delays, n=100)
    return Window(round(cut[49], 1), round(cut[98], 1), len(delays), flood)


def _result(capacity: float, windows: Sequence[tuple[Window, Window]]) -> dict[str, Any]:
    ratios = [loaded.p99_ms / alone.p99_ms for alone, loaded in windows]
    return {
        "capacity_per_s": round(capacity),
        "pairs": [
            {"alone": _told(alone), "loaded": _told(loaded), "ratio": round(ratio, 2)}
            for (alone, loaded), ratio in zip(windows, ratios, strict=True)
        ],
        "critical": sum(window.critical for pair in windows for window in pair),
        "p99_ms": statistics.median(loaded.p99_ms for _, loaded in windows),
        "ratio": round(statistics.median(ratios), 2),
        "machine": {
            "cores": os.cpu_count(),
            "python": python.python_version(),
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


def _told(window: Window) -> dict[str, Any]:
    flood = None if window.flood is None else window.flood._asdict()
    return {**window._asdict(), "flood": flood}


async def _declare(node: Platform, matches: Sequence[str]) -> str:
    """The matches, and a key for sensors."""
    writer = kafka.Writer(node.cluster)
    await writer.open()
    key = await operations.write_key(writer, "sensors")
    await writer.close()
    sides = {side: {"id": side, "name": side.title()} for side in ("home", "away")}
    body = {**sides, "starts_at": datetime.now(UTC).isoformat()}
    headers = {"Authorization": f"Bearer {node.admin_key}"}
    async with httpx2.AsyncClient() as http:
        for match_id in matches:
            answer = await http.put(f"{node.node.url}/v1/matches/{match_id}", json=body, headers=headers)
            assert answer.status_code == 201, answer.text
    return key


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
