"""Thousands of disturbed schedules against a simple model; every planted bug is found, and every seed replays exactly.

`make drill ONLY=simulation` runs 10,000. One schedule again, step by step:
`python -m tests.simulation --seed N --trace`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.bugs import BUGS

SEEDS, BUG_SEEDS = 1_500, 10_000
ROOT = Path(__file__).parents[2]


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In processes of its own, for the order of sets belongs to a schedule, and time is replaced."""
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--processes", "2", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def every_schedule_holds(seeds: int) -> None:
    ran = simulate("--seeds", f"0-{seeds}")
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert f"{seeds} schedules, 0 failed" in ran.stdout


@pytest.mark.timeout(600)
def test_whatever_happens_each_event_takes_effect_once() -> None:
    every_schedule_holds(SEEDS)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    ran = simulate("--seeds", f"0-{BUG_SEEDS}", "--bug", bug, "--first")
    assert re.search(r"^seed \d+: ", ran.stdout, re.MULTILINE), f"{bug} was not found: {ran.stdout}{ran.stderr}"
    assert "Traceback" not in ran.stdout, f"not an invariant, but the simulation itself broke: {ran.stdout}"


def test_a_seed_replays_exactly_whatever_ran_before_it() -> None:
    marks = [
        [line for line in simulate("--seeds", seeds, "--marks").stdout.splitlines() if line.startswith("seed 3")]
        for seeds in ("0-40", "30-40")
    ]
    many, few = ([line for line in lines if re.match(r"seed 3\d", line)] for lines in marks)
    assert len(few) == 10
    assert many == few
