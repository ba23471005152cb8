"""How long `--help` takes, for every command: `python -m benchmarks.help [--runs 9] [--json]`.

Each run is a process of its own, from its start to its end, with bytecode cached as in an installed package. CPU stands
beside the time by the clock, because it says the same on a busy machine; so does an interpreter that does nothing.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tests.cli.process import COMMAND, commands


def measure(command: Sequence[str], environ: dict[str, str], runs: int) -> dict[str, float]:
    """Milliseconds that a command takes, medians and the least of `runs`, after one that is not counted."""
    wall, cpu = [], []
    for _ in range(runs + 1):
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append((time.perf_counter() - begun) * 1000)
        cpu.append((after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000)
    return {
        "median_ms": round(statistics.median(wall[1:]), 1),
        "min_ms": round(min(wall[1:]), 1),
        "cpu_median_ms": round(statistics.median(cpu[1:]), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        environ["PYTHONPYCACHEPREFIX"] = cache
        found["(python alone)"] = measure([sys.executable, "-c", "pass"], environ, asked.runs)
        for path in commands():
            found[" ".join((*path, "--help"))] = measure([*COMMAND, *path, "--help"], environ, asked.runs)
    if asked.json:
        about = {"at": datetime.now(UTC).isoformat(), "python": platform.python_version(), "cores": os.cpu_count()}
        print(json.dumps({**about, "runs": asked.runs, "help": found}))
    else:
        for name, figures in found.items():
            least, cpu = figures["min_ms"], figures["cpu_median_ms"]
            print(f"{name:<24} {figures['median_ms']:>7} ms   least {least:>7} ms   CPU {cpu:>7} ms")


if __name__ == "__main__":
    main()
