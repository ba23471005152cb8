"""How wide the window of sensors is, by the rule alone: events are made up, with delays as a path would have them."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventhub.ingest import pace
from eventhub.ingest.pace import BASE_S, BASES, KNOWN_S, LEAST, MOST, PART, WARM_S, Pace

EVERY_S = 0.05
"""Broadcast comes so often."""


def play(
    made: Pace, seconds: float, *, broadcast: Callable[[float], float] | None, sensors: float, now: float = 0.0
) -> float:
    """Parts of sensors, one after another as the window lets them, and broadcast beside; returns the time at the end.

    `sensors` is how long a part takes; `broadcast`, how long it does when sensors take such a part of the time.
    """
    end, next_at = now + seconds, now
    while now < end:
        pause_s = made.pause_s(PART, now)
        busy = sensors / (sensors + pause_s)
        now += sensors + pause_s
        while broadcast is not None and next_at <= now:
            made.broadcast_took(broadcast(busy), next_at, clean=busy < random.random())
            next_at += EVERY_S
        made.sensors_took(sensors, now, PART, wanted=True)
    return now


@pytest.fixture(autouse=True)
def _always_the_same() -> None:
    random.seed(7)


def quiet(made: Pace, mean_s: float = 0.005, seconds: float = 30.0) -> float:
    """Broadcast alone, which varies by itself."""
    now = 0.0
    while now < seconds:
        made.broadcast_took(vary(mean_s), now, clean=True)
        now += EVERY_S
    return now


def vary(mean_s: float) -> float:
    """Half of it certain, half of it exponential."""
    return mean_s / 2 + random.expovariate(2 / mean_s)


def test_where_broadcast_comes_later_the_window_is_narrow() -> None:
    made = Pace()
    now = quiet(made)
    now = play(made, 20, broadcast=lambda busy: vary(0.005 * (1 + 4 * busy)), sensors=0.008, now=now)
    assert LEAST <= made.window(now) < PART / 3
    assert made.pause_s(PART, now) > 0


@pytest.mark.parametrize("mean_s", [0.002, 0.005, 0.03, 0.2])
def test_broadcast_that_varies_by_itself_does_not_narrow_it(mean_s: float) -> None:
    made = Pace()
    now = quiet(made, mean_s)
    now = play(made, 20 + 5000 * mean_s, broadcast=lambda _: vary(mean_s), sensors=mean_s, now=now)
    assert made.window(now) > PART / 4, "sensors are held back, and nobody is the better for it"


def test_mutant_the_empty_path_is_the_luckiest_event(monkeypatch: pytest.MonkeyPatch) -> None:
    note = pace.Delay._note

    def lucky(self: pace.Delay, delay_s: float, now: float) -> None:
        self._mean = False
        note(self, delay_s, now)

    monkeypatch.setattr(pace.Delay, "_note", lucky)
    with pytest.raises(AssertionError, match="nobody is the better"):
        test_broadcast_that_varies_by_itself_does_not_narrow_it(0.2)


def a_cold_start() -> None:
    made = Pace()
    now = quiet(made, 0.05, WARM_S / 4)
    while now < 25.0:
        made.broadcast_took(vary(0.005), now, clean=True)
        now += EVERY_S
    now = play(made, 20, broadcast=lambda busy: vary(0.005 * (1 + 4 * busy)), sensors=0.008, now=now)
    assert made.window(now) < PART / 8, "the first events, which were late, became the measure"


def test_the_first_events_of_a_cold_node_are_no_measure() -> None:
    a_cold_start()


def test_mutant_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "WARM_S", 0.0)
    with pytest.raises(AssertionError, match="became the measure"):
        a_cold_start()


def it_stays_narrow(made: Pace) -> None:
    now = quiet(made)
    windows = []
    for _ in range(BASES + 3):
        now = play(made, BASE_S, broadcast=lambda busy: vary(0.005 * (1 + busy / 2)), sensors=0.008, now=now)
        windows.append(made.window(now))
    assert max(windows[-3:]) < PART / 2, "what sensors do to broadcast became the measure of it"


def test_an_hour_of_overload_is_not_taken_for_an_empty_path() -> None:
    it_stays_narrow(Pace())


def test_mutant_every_delay_counts_as_that_of_an_empty_path(monkeypatch: pytest.MonkeyPatch) -> None:
    took = pace.Delay.took
    monkeypatch.setattr(pace.Delay, "took", lambda self, delay_s, now, clean=True: took(self, delay_s, now))
    monkeypatch.setattr(pace, "BASES", 1)
    with pytest.raises(AssertionError, match="became the measure"):
        it_stays_narrow(Pace())


def test_without_broadcast_it_widens_until_sensors_queue_and_each_window_is_kept() -> None:
    made = Pace()
    now = play(made, 5, broadcast=None, sensors=0.008)
    wide = made.window(now)
    assert wide > 2 * PART
    made.broadcast_took(0.005, now, clean=True)
    assert made.window(now) == LEAST, "the first goal after a quiet time does not wait"
    assert made.window(now + KNOWN_S) == wide
    for n in range(1000):
        made.sensors_took(0.1, now + KNOWN_S + n / 100, PART, wanted=True)
    assert made.window(now + KNOWN_S) < PART


def test_a_window_that_nobody_fills_does_not_widen() -> None:
    made = Pace()
    for n in range(100):
        made.sensors_took(0.008, float(n), 1000, wanted=False)
    assert made.window(100.0) == PART


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 10), st.floats(0, 30), st.integers(1, 10 << 20), st.booleans()),
        max_size=200,
    )
)
def test_whatever_comes_it_stays_within_its_bounds(took: list[tuple[bool, float, float, int, bool]]) -> None:
    made, now = Pace(), 0.0
    for of_broadcast, delay_s, passed_s, weight, flag in took:
        now += passed_s
        if of_broadcast:
            made.broadcast_took(delay_s, now, clean=flag)
        else:
            made.sensors_took(delay_s, now, weight, wanted=flag)
        assert LEAST <= made.window(now) <= MOST
        assert made.pause_s(weight, now) >= 0
