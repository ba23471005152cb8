"""Ports of services that come back: whoever knew the old ones finds them again."""

import socket
import threading
import time

import pytest

from eventhub.embedded import lease
from eventhub.embedded.lease import is_free, ports


def it_waits_for_its_port() -> None:
    """A process that was killed has not given its port back yet."""
    port = ports({}, ["broker"], "Kafka", print)["broker"]
    held = socket.create_server(("127.0.0.1", port))
    assert not is_free(port)
    given_back = threading.Timer(0.3, held.close)
    given_back.start()
    said: list[str] = []
    try:
        assert ports({"broker": port}, ["broker"], "Kafka", said.append) == {"broker": port}, (
            "nodes that live on know another port"
        )
        assert not said
    finally:
        given_back.join()


def test_a_port_that_is_given_back_in_a_moment_is_taken_again() -> None:
    it_waits_for_its_port()


def test_mutant_another_one_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "FREE_WAIT_S", 0)
    with pytest.raises(AssertionError, match="know another port"):
        it_waits_for_its_port()


def test_a_port_that_somebody_else_keeps_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "FREE_WAIT_S", 0.1)
    port = ports({}, ["broker"], "Kafka", print)["broker"]
    with socket.create_server(("127.0.0.1", port)):
        began = time.monotonic()
        said: list[str] = []
        assert ports({"broker": port}, ["broker"], "Kafka", said.append) != {"broker": port}
        assert time.monotonic() - began >= 0.1
    assert said == [f"Port {port}, where Kafka was, is taken: Kafka moves, and nodes that run must be restarted."]
