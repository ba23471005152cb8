"""Windows grow with the sockets of a node, and where flushes come late."""

import pytest

from eventhub.delivery.pace import MOST, QUIET, Pace

LEAST_S = 0.02


def run(pace: Pace, *, sockets: int, seconds: float, cost_s: float = 0.0, start_s: float = 1000.0) -> float:
    """Flush to so many sockets each window; each send takes `cost_s`, and a flush waits for the one before it."""
    now = due = start_s
    while now < start_s + seconds:
        now = max(now, due)
        pace.late(now - due)
        pace.sent(sockets, now)
        due = now + pace.window_s
        now += sockets * cost_s
    return now


@pytest.mark.parametrize("sockets", [1, 10, QUIET])
def test_few_sockets_keep_the_least_window(sockets: int) -> None:
    pace = Pace(LEAST_S)
    run(pace, sockets=sockets, seconds=5)
    assert pace.window_s == pytest.approx(LEAST_S, rel=0.05)


def test_four_times_the_sockets_are_served_in_windows_twice_as_long() -> None:
    pace = Pace(LEAST_S)
    run(pace, sockets=4 * QUIET, seconds=20)
    assert pace.window_s == pytest.approx(2 * LEAST_S, rel=0.1)


def test_no_window_is_longer_than_the_most() -> None:
    pace = Pace(LEAST_S)
    run(pace, sockets=10**6, seconds=20)
    assert pace.window_s == pytest.approx(MOST * LEAST_S)


def test_where_sends_are_slow_windows_grow_until_flushes_are_in_time_and_shrink_again() -> None:
    pace = Pace(LEAST_S)
    # 2,000 sends of 40 µs take 80 ms, where the sockets alone would make it 40.
    end = run(pace, sockets=2000, seconds=30, cost_s=40e-6)
    assert 0.06 <= pace.window_s <= 0.16
    run(pace, sockets=100, seconds=40, start_s=end)
    assert pace.window_s == pytest.approx(LEAST_S, rel=0.05)
