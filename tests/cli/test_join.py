"""Ctrl-C and SIGTERM while services start: the start is given up, whatever the interpreter is doing just then."""

import os
import signal
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventhub import embedded
from eventhub.cli import node
from eventhub.config import Settings
from eventhub.errors import UnavailableError


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class _Referred:
    """Something that a weak reference can be to."""


def interrupted(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A signal comes amid a callback, where what is raised is lost; then services take their time to start."""

    def amid_a_callback(_: object) -> None:
        os.kill(os.getpid(), number)
        for _ in range(1000):
            pass

    @contextmanager
    def meter() -> Iterator[None]:
        one = _Referred()
        watched = weakref.ref(one, amid_a_callback)
        del one
        assert watched() is None
        yield

    def join(*_: Any, given_up: Callable[[], bool], **__: Any) -> embedded.Services:
        deadline_s = time.monotonic() + 1
        while not given_up():
            assert time.monotonic() < deadline_s, "the signal was lost"
        raise UnavailableError("the start was given up")

    monkeypatch.setattr(embedded, "join", join)
    monkeypatch.setattr(node, "meter", meter)
    node._join(Settings(data_dir=tmp_path))


def test_ctrl_c_is_never_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(signal.SIGINT, monkeypatch, tmp_path)


def test_sigterm_is_never_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        interrupted(signal.SIGTERM, monkeypatch, tmp_path)
    assert ended.value.code == node.ENDED_BY_SIGTERM


def test_once_services_have_started_a_signal_ends_the_node_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "join", lambda *_, **__: object())
    node._join(Settings(data_dir=tmp_path))
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_mutant_a_handler_that_only_raises(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_handler = signal.signal
    monkeypatch.setattr(signal, "signal", lambda number, _: set_handler(number, signal.default_int_handler))
    with pytest.raises(AssertionError, match="lost"):
        interrupted(signal.SIGINT, monkeypatch, tmp_path)
