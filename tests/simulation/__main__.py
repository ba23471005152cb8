"""`python -m tests.simulation --seed N [--trace]` replays one schedule, `--seeds A-B` runs many (B is not among them).

Prints what fails; the exit code is 1 when anything did.
"""

import argparse
import os
import sys
import time

import structlog

from tests.simulation.bugs import BUGS, planted
from tests.simulation.plan import plan
from tests.simulation.run import Outcome, prepared, run_all


def main() -> int:
    """Run; the exit code says whether everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one")
    parser.add_argument("--trace", action="store_true", help="tell what happens")
    parser.add_argument("--seeds", default="0-1000", help="run these, A-B; B is not among them")
    parser.add_argument("--processes", type=int, default=1, help="share the seeds among so many")
    parser.add_argument("--bug", choices=sorted(BUGS), help="with this planted bug")
    parser.add_argument("--first", action="store_true", help="stop at the first failure")
    parser.add_argument(
        "--shrink", action="store_true", help="leave out what the failure does not need, and trace that"
    )
    parser.add_argument("--marks", action="store_true", help="tell the mark of each, by which two runs are compared")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings belongs to the schedule too.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    first, last = map(int, arguments.seeds.split("-"))
    if arguments.seed is not None:
        with planted(arguments.bug):
            return _shrunk(arguments.seed) if arguments.shrink else _one(arguments.seed, arguments.trace)
    return _many(range(first, last), arguments)


def _one(seed: int, trace: bool) -> int:
    if trace:
        structlog.configure(processors=[structlog.dev.ConsoleRenderer(colors=False)])
        print(plan(seed).settings)
    with prepared(quiet=not trace) as runner:
        outcome = runner.run(seed, print if trace else None)
    _tell(outcome)
    return outcome.failure is not None


def _shrunk(seed: int) -> int:
    """Leave out steps for as long as something fails; the network's draws shift with each, so not all are tried."""
    whole = plan(seed)
    steps = list(whole.steps)
    with prepared() as runner:
        for index in range(len(steps) - 1, -1, -1):
            fewer = whole._replace(steps=(*steps[:index], *steps[index + 1 :]))
            if runner.run(seed, given=fewer).failure is not None:
                del steps[index]
        outcome = runner.run(seed, print, whole._replace(steps=tuple(steps)))
    _tell(outcome)
    return outcome.failure is not None


def _many(seeds: range, arguments: argparse.Namespace) -> int:
    began, count, failed, callbacks = time.perf_counter(), 0, 0, 0
    for outcome in run_all(seeds, processes=arguments.processes, bug=arguments.bug, first=arguments.first):
        count, callbacks = count + 1, callbacks + outcome.callbacks
        if outcome.failure is not None or arguments.marks:
            failed += outcome.failure is not None
            _tell(outcome)
            if arguments.first:
                break
    took_s = time.perf_counter() - began
    print(
        f"{count} schedules, {failed} failed, {took_s:.1f} s, {1000 * took_s / max(1, count):.1f} ms and"
        f" {callbacks / max(1, count):.0f} callbacks each",
        flush=True,
    )
    return failed > 0


def _tell(outcome: Outcome) -> None:
    print(
        f"seed {outcome.seed}: {outcome.failure or 'holds'}"
        f" (mark {outcome.mark:08x}, {outcome.virtual_s:.1f} virtual s, {outcome.callbacks} callbacks)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
