"""Runs schedules: one seed, or many."""

import gc
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from random import Random
from typing import NamedTuple

import structlog

from tests.simulation import heard, model
from tests.simulation.bugs import planted
from tests.simulation.disk import Disk, simulated
from tests.simulation.loop import SimLoop, StuckError
from tests.simulation.plan import Plan, plan
from tests.simulation.world import World

CHUNK = 100
"""Seeds that one process runs before it ends: what they leave is never collected, and about 120 MB."""


class Outcome(NamedTuple):
    """How a schedule ended; `mark` is the same whenever the same seed is run."""

    seed: int
    failure: str | None
    mark: int
    virtual_s: float
    callbacks: int


class Runner:
    """Runs schedules one after the other; use it within `prepared`."""

    def __init__(self) -> None:
        self.disk = Disk()

    def run(self, seed: int, trace: Callable[[str], None] | None = None, given: Plan | None = None) -> Outcome:
        """One schedule, by its seed alone, unless another plan is given."""
        loop = SimLoop(Random(seed ^ 0x100F))
        failure = None
        world = World(loop, given or plan(seed), seed, trace)
        self.disk = world.disk
        try:
            loop.run_until_complete(loop.world.start(world.run()))
            model.check(world)
            for watcher in world.watchers:
                heard.check_client(world, watcher)
        except (AssertionError, StuckError) as error:
            failure = str(error) or repr(error)
        except Exception:
            failure = traceback.format_exc()
        outcome = Outcome(seed, failure, _mark(world), loop.now, loop.callbacks)
        world.disk.remove()
        _bury(loop)
        return outcome


@contextmanager
def prepared(*, quiet: bool = True) -> Iterator[Runner]:
    """The simulation's clock, names, threads and disk in place of the real ones; no collector in between."""
    if quiet:
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), wrapper_class=_Silent)
    runner = Runner()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    gc.disable()
    try:
        with simulated(lambda: runner.disk):
            yield runner
    finally:
        gc.enable()
        sys.unraisablehook = hook
        structlog.reset_defaults()


def run_all(seeds: range, *, processes: int, bug: str | None = None, first: bool = False) -> Iterator[Outcome]:
    """Many schedules in the order of their seeds, in processes of their own; `first`: failures end a process."""
    chunks = [(seeds[i : i + CHUNK], bug, first) for i in range(0, len(seeds), CHUNK)]
    with get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        for outcomes in pool.imap(_chunk, chunks, chunksize=1):
            yield from outcomes


def _chunk(work: tuple[range, str | None, bool]) -> list[Outcome]:
    seeds, bug, first = work
    outcomes: list[Outcome] = []
    with planted(bug), prepared() as runner:
        for seed in seeds:
            outcomes.append(runner.run(seed))
            if first and outcomes[-1].failure is not None:
                break
        # This process ends now; nothing of it is worth a collection.
        gc.freeze()
        return outcomes


class _Silent(structlog.BoundLogger):
    def _proxy_to_logger(self, *_: object, **__: object) -> None:
        return


def _mark(world: World) -> int:
    mark = zlib.crc32(b"%d %r" % (world.loop.callbacks, world.loop.now))
    for (topic, p), partition in sorted(world.broker.partitions.items()):
        for one in partition.present():
            mark = zlib.crc32(f"{topic}{p}{one.offset}{one.timestamp}".encode() + (one.value or b""), mark)
    for watcher in world.watchers:
        mark = zlib.crc32(repr([told[:3] for told in watcher.told]).encode(), mark)
    return mark


def _bury(loop: SimLoop) -> None:
    """Nothing of the schedule may run any more: not by the loop, and no finaliser may complain."""
    loop.call_exception_handler = lambda context: None  # type: ignore[method-assign]
    loop.close()
