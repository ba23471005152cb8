"""How much is taken at once, and of whom first; the rule alone, without a server."""

import asyncio
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventhub.bucket import Bucket
from eventhub.errors import LimitError, UnavailableError
from eventhub.ingest import Gate, Lateness, Limits, pressure
from eventhub.ingest.pressure import KEPT, overload
from eventhub.tasks import end
from tests.support.wait import until

LIMITS = Limits(max_body_bytes=1000, max_items=10, max_depth=8, ack_timeout_s=1, max_pending_bytes=1000)
ORDER = ("broadcast", "social", "sensors")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0, 2), st.floats(0, 5))
def test_who_is_worth_less_is_refused_at_the_latest_when_others_are(pending: float, late_s: float) -> None:
    refused = [overload(source, pending=pending, late_s=late_s) is not None for source in ORDER]
    assert refused == sorted(refused)


@pytest.mark.parametrize(
    ("source", "pending", "late_s", "cause"),
    [
        ("sensors", 0.5, 0.25, None),
        ("sensors", 0.51, 0, "pending"),
        ("sensors", 0, 0.26, "late"),
        ("social", 0.75, 0.5, None),
        ("social", 0.76, 0, "pending"),
        ("social", 0, 0.51, "late"),
        ("broadcast", 1, 1000, None),
        ("broadcast", 1.01, 0, "pending"),
    ],
)
def test_the_thresholds(source: str, pending: float, late_s: float, cause: str | None) -> None:
    assert overload(source, pending=pending, late_s=late_s) == cause


def test_one_long_pause_is_no_overload_and_a_second_of_late_timers_is() -> None:
    late = Lateness()
    late.note(15)
    assert late.late_s() == 0
    for _ in range(KEPT):
        late.note(0.3)
    assert late.late_s() == 0.3
    late.note(0)
    assert late.late_s() == 0


async def test_a_loop_that_is_kept_busy_is_seen_to_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "EVERY_S", 0.02)
    late, loop = Lateness(), asyncio.get_running_loop()

    async def busy() -> None:
        while True:
            until_at = loop.time() + 0.06
            while loop.time() < until_at:
                pass
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(late.run()), asyncio.create_task(busy())]
    try:
        await until(lambda: late.late_s() > 0.02, "ten late timers", 10)
    finally:
        await end(*tasks)


def test_what_is_in_hand_is_given_back_whatever_happens() -> None:
    gate = Gate(LIMITS)
    with gate.hold("broadcast", 600):
        assert gate.pending_bytes == 600
        with pytest.raises(UnavailableError) as refused, gate.hold("broadcast", 401):
            pass
        assert refused.value.name == "overloaded" and refused.value.retry_after_s
        with pytest.raises(RuntimeError), gate.hold("broadcast", 400):
            raise RuntimeError
        assert gate.pending_bytes == 600
    assert gate.pending_bytes == 0
    assert gate.refused == {("broadcast", "pending"): 1}


def test_alone_a_request_is_taken_however_large_it_is() -> None:
    gate = Gate(LIMITS)
    with gate.hold("sensors", 5000), pytest.raises(UnavailableError):
        gate.look("sensors", "k")
    gate.look("sensors", "k")


@given(
    st.integers(1, 50),
    st.integers(1, 40),
    st.lists(st.tuples(st.floats(0, 2), st.integers(1, 60), st.integers(0, 300)), max_size=60),
)
def test_a_key_has_its_burst_and_its_rate_whole_requests_only_and_never_waits_for_ever(
    per_s: int, burst: int, requests: list[tuple[float, int, int]]
) -> None:
    clock = Clock()
    gate = Gate(LIMITS._replace(items_per_s=per_s, items_burst=burst, bytes_per_s=100), clock=clock)
    taken = size = 0
    for pause, items, size_bytes in requests:
        clock.now += pause
        try:
            gate.take("broadcast", "k", items, size_bytes)
        except LimitError as error:
            # It says how long to wait, and then it takes it.
            clock.now += (error.retry_after_s or 0) + 1e-6
            gate.take("broadcast", "k", items, size_bytes)
        taken, size = taken + items, size + size_bytes
        # What is larger than the burst is taken from a full bucket, and the debt is waited for.
        assert taken <= max(burst, items) + per_s * clock.now + 1e-3
        assert size <= max(200, size_bytes) + 100 * clock.now + 1e-3


def test_one_key_does_not_use_up_what_another_may_send() -> None:
    gate = Gate(LIMITS._replace(items_per_s=1, items_burst=5), clock=Clock())
    gate.take("sensors", "a", 5, 10)
    with pytest.raises(LimitError):
        gate.take("sensors", "a", 1, 10)
    with pytest.raises(LimitError):
        gate.look("sensors", "a")
    gate.take("sensors", "b", 5, 10)
    assert gate.refused == {("sensors", "key_rate"): 2}


def test_mutant_a_bucket_that_takes_what_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Bucket.take

    def greedy(self: Bucket, now: float, cost: float = 1) -> float:
        take(self, now, cost)
        return 0

    def never(self: Bucket, now: float, cost: float = 1) -> float:
        return 0

    monkeypatch.setattr(Bucket, "take", greedy)
    monkeypatch.setattr(Bucket, "wait_s", never)
    with pytest.raises(pytest.fail.Exception):
        test_one_key_does_not_use_up_what_another_may_send()


def test_the_defaults_do_not_limit_what_the_benchmarks_send() -> None:
    gate = Gate(LIMITS._replace(max_pending_bytes=inf), clock=(clock := Clock()))  # type: ignore[arg-type]
    for _ in range(200):
        clock.now += 0.02
        gate.take("broadcast", "k", 1000, 500_000)
