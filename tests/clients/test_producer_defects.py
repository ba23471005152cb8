"""What the producer's tests would notice: the producer with one guarantee taken away."""

import importlib
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli.replay_server import Server
from tests.clients import test_producer as checks
from tests.clients.drivers import PYTHON

ALIAS = "eventhub_client_with_a_defect"


class Defect(NamedTuple):
    """`before` in `file` becomes `after`; this check must fail with it."""

    file: str
    before: str
    after: str
    check: Callable[[Server], Awaitable[None]]


DEFECTS = {
    "it takes overload for a refusal": Defect(
        "ingest.py", "frozenset({429, 500, 502, 503, 504})", "frozenset({429, 500, 502, 504})",
        checks.test_overload_and_lost_answers_are_waited_out,
    ),
    "it comes back before Retry-After": Defect(
        "ingest.py", "at_least(error.retry_after_s)", "0.0", checks.test_overload_and_lost_answers_are_waited_out
    ),
    "its checkpoint is ahead of the answers": Defect(
        "producer.py", "self._checkpoint(self.done)", "self._checkpoint(self.done + len(self._waiting))",
        checks.test_items_go_out_in_order_in_bounded_batches_and_the_checkpoint_follows,
    ),
    "its batches are unbounded": Defect(
        "producer.py", "len(batch) >= self._batch_items or ", "",
        checks.test_items_go_out_in_order_in_bounded_batches_and_the_checkpoint_follows,
    ),
    "it waits for others for ever": Defect(
        "producer.py", "asyncio.timeout(self._linger_s)", "asyncio.timeout(None)",
        checks.test_an_item_that_comes_alone_waits_for_others_no_longer_than_it_may,
    ),
    "it names the wrong item": Defect(
        "producer.py", "self.done + index", "index",
        checks.test_refused_items_are_reported_with_their_numbers_before_the_checkpoint_moves,
    ),
    "it is silent of refusals": Defect(
        "producer.py", "if refused and self._on_rejected is None:", "if False:",
        checks.test_a_refused_item_that_nobody_takes_stops_it_before_the_checkpoint,
    ),
    "it takes whatever it is given": Defect(
        "producer.py", "len(self._waiting) < self._waiting_items", "True",
        checks.test_send_waits_while_too_much_is_on_its_way,
    ),
}  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Defect], Any]]:
    """Makes the checks use the package with a defect, under a name of its own; returns that package."""

    def made(defect: Defect) -> Any:
        package = tmp_path / ALIAS
        shutil.copytree(PYTHON / "eventhub_client", package, ignore=shutil.ignore_patterns("__pycache__"))
        for path in package.glob("*.py"):
            path.write_text(path.read_text().replace("eventhub_client", ALIAS))
        path = package / defect.file
        text = path.read_text()
        times = text.count(defect.before)
        assert times == 1, f"{defect.before!r} is in {defect.file} {times} times, and not once"
        path.write_text(text.replace(defect.before, defect.after))
        loaded = importlib.import_module(ALIAS)
        for shared in ("Producer", "RejectedError", "Rejected"):
            monkeypatch.setattr(checks, shared, getattr(loaded, shared))
        return loaded

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(checks, "PATIENCE_S", 1)
    yield made
    for module in [m for m in sys.modules if m.partition(".")[0] == ALIAS]:
        del sys.modules[module]


@pytest.mark.parametrize("name", DEFECTS)
async def test_it_is_found_out(name: str, server: Server, plant: Callable[[Defect], Any]) -> None:
    package = plant(DEFECTS[name])
    with pytest.raises((AssertionError, package.ClientError, pytest.fail.Exception)):
        await DEFECTS[name].check(server)


@pytest.mark.parametrize("check", sorted({one.check for one in DEFECTS.values()}, key=str), ids=lambda c: c.__name__)
async def test_without_a_defect_nothing_is_found(
    check: Callable[[Server], Awaitable[None]], server: Server, plant: Callable[[Defect], Any]
) -> None:
    same = "class Producer:"
    plant(Defect("producer.py", same, same, check))
    await check(server)
