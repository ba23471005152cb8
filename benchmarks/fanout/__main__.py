"""`python -m benchmarks.fanout [--loads G1,G2] [--peers] [--json] [--quick]`: from the tail to many sockets.

Log records are fed into a node's tail, and everything from there to the client is the product's. Beside it, in the same
run, in turns, with the same messages on the same plan: `raw-write`, which only writes frames to sockets, as the limit;
with `--peers` (needs Go, Node.js and their registries) the centrifuge library at its default and with its write delay,
and Socket.IO. One core has the server, the other the load, which is written in Go.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.fanout import chart
from benchmarks.fanout.loads import LOADS, Load, put
from benchmarks.fanout.peers import build, peers

ALL = ("eventhub", "raw-write", "centrifuge", "centrifuge-delay", "socketio")
ROUNDS, SECONDS = 5, 6.0
FIGURES = (
    "us_per_delivery", "deliveries_per_core_s", "p50_ms", "p99_ms", "p999_ms", "lost", "gaps", "closed",
    "stuck_freed", "slow_closed", "grown_mb", "messages_per_frame", "bytes_per_idle_socket", "load_busy",
)  # fmt: skip


def measure(names: Sequence[str], loads: Sequence[str], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Every load on every server, in turns; medians of the rounds, and of the ratios to the product within a round."""
    runs = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        build(folder, *names)
        for name in loads:
            load, every = LOADS[name], peers(folder, channels=LOADS[name].channels)
            chosen = [one for one in names if _can(one, load)]
            found: dict[str, list[dict[str, Any]]] = {one: [] for one in chosen}
            for turn in range(rounds):
                for one in chosen[turn % len(chosen) :] + chosen[: turn % len(chosen)]:
                    _say(f"{name}, round {turn + 1} of {rounds}: {one}")
                    found[one].append(put(load, every[one], folder, seconds=seconds))
            runs += [_row(one, name, load, found) for one in chosen]
    return runs


def _can(name: str, load: Load) -> bool:
    """The peers have one channel, and no views."""
    return name == "eventhub" or load.channels == load.views == 1


def _row(name: str, load_name: str, load: Load, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    middle = {key: statistics.median(run[key] for run in found[name]) for key in FIGURES}
    pairs = zip(found[name], found["eventhub"], strict=True)
    times = [a["us_per_delivery"] / b["us_per_delivery"] for a, b in pairs if b["us_per_delivery"]]
    head = {"name": name, "load": load_name, "sockets": load.sockets, "rate": load.rate}
    return {**head, **{k: round(v, 3) for k, v in middle.items()}, "times_eventhub": _middle(times)}


def _middle(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 2) if values else None


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def main() -> None:
    """Run it and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loads", default=",".join(LOADS), help="which, by name")
    parser.add_argument("--peers", action="store_true", help="also beside centrifuge and Socket.IO")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--chart", type=Path, help="draw it into this file (SVG)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works")
    given = parser.parse_args()
    rounds, seconds = (1, 2.0) if given.quick else (ROUNDS, SECONDS)
    runs = measure(ALL if given.peers else ALL[:2], given.loads.split(","), rounds, seconds)
    if given.chart is not None:
        at = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, medians of {rounds}"
        given.chart.write_text(chart.svg(runs, f"Fan-out beside its limit and peers; {at}; shorter is better"))
    if given.json:
        about = {"at": datetime.now(UTC).isoformat(), "python": platform.python_version(), "cores": os.cpu_count()}
        print(json.dumps({**about, "rounds": rounds, "runs": runs}))
        return
    for run in runs:
        print(json.dumps(run))


if __name__ == "__main__":
    main()
