"""The owner feeds its duty without a hole and in order, whatever is fetched, and starts over after any failure."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import pytest

from eventhub import topics
from eventhub.kafka import Bounds
from eventhub.streams.lease import Lease, Membership
from eventhub.streams.owner import Batch, Owner

LOG = topics.LOG


class Record(NamedTuple):
    topic: str
    offset: int


class Consumer:
    """The group consumer's port: remembers seeks, and accepts proofs of one membership."""

    def __init__(self) -> None:
        self.token = 0
        self.seeks: list[dict[tuple[str, int], int]] = []
        self.accepted = Membership(1, "me")
        self.proofs: list[Membership] = []
        self.held: set[tuple[str, int]] = set()

    def membership(self) -> Membership:
        return self.accepted

    async def prove(self, membership: Membership, offsets: dict[tuple[str, int], int]) -> bool:
        self.proofs.append(membership)
        return membership == self.accepted

    async def seek_partition(self, partition: int, offsets: dict[tuple[str, int], int]) -> int:
        self.token += 1
        self.seeks.append(offsets)
        return self.token

    def hold(self, tps: set[tuple[str, int]]) -> None:
        self.held |= tps

    def flow(self, tps: set[tuple[str, int]]) -> None:
        self.held -= tps


class Offsets:
    """Answers with a beginning that the test sets."""

    beginning = 0
    end = 10_000

    async def bounds(self, topic: str, partition: int) -> Bounds:
        return Bounds(self.beginning, self.end)


class Duty:
    """Collects what it is given; fails when told to."""

    refresh_s: float | None = None

    def __init__(self, *names: str) -> None:
        self.topics = names
        self.ready = False
        self.applied: dict[str, list[int]] = {name: [] for name in names}
        self.looks: list[list[tuple[str, int]]] = []
        self.acquired = 0
        self.fail = 0

    def next_offsets(self) -> dict[str, int]:
        return {name: (seen[-1] + 1 if seen else 0) for name, seen in self.applied.items()}

    async def acquire(self, lease: Lease) -> None:
        await lease.prove({(name, 0): 0 for name in self.topics})
        self.acquired += 1
        self.ready = True

    async def apply(self, batches: Sequence[Batch]) -> None:
        await asyncio.sleep(0)
        if self.fail:
            self.fail -= 1
            raise OSError("refused")
        self.looks.append([(b.topic, len(b.records)) for b in batches])
        for topic, records in batches:
            self.applied[topic] += [r.offset for r in records]

    def forget(self) -> None:
        self.ready = False

    async def release(self) -> None:
        self.ready = False


class Scene(NamedTuple):
    owner: Owner
    duty: Duty
    consumer: Consumer
    offsets: Offsets


Make = Callable[..., Scene]


@pytest.fixture
async def scene() -> AsyncIterator[Make]:
    owners: list[Owner] = []

    def make(*names: str) -> Scene:
        duty, consumer, offsets = Duty(*(names or (LOG,))), Consumer(), Offsets()
        owner = Owner("test", 0, duty, consumer, offsets)  # type: ignore[arg-type]
        owners.append(owner)
        return Scene(owner, duty, consumer, offsets)

    yield make
    for owner in owners:
        await owner.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def records(first: int, last: int, topic: str = LOG) -> list[Record]:
    return [Record(topic, offset) for offset in range(first, last + 1)]


async def started(make: Make, *names: str) -> Scene:
    scene = make(*names)
    scene.owner.assign(Membership(1, "me"))
    await until(lambda: scene.consumer.seeks)
    return scene


async def test_it_proves_seeks_to_the_dutys_position_and_applies_in_order(scene: Make) -> None:
    owner, duty, consumer, _ = await started(scene)
    assert consumer.seeks == [{(LOG, 0): 0}]
    owner.offer(LOG, 1, records(0, 4))
    owner.offer(LOG, 1, records(5, 9))
    await until(lambda: len(duty.applied[LOG]) == 10)
    assert duty.applied[LOG] == list(range(10))


async def test_a_chunk_of_before_the_seek_is_dropped(scene: Make) -> None:
    owner, duty, _, _ = await started(scene)
    owner.offer(LOG, 0, records(0, 4))
    owner.offer(LOG, 1, records(0, 1))
    await until(lambda: duty.applied[LOG])
    assert duty.applied[LOG] == [0, 1]


async def test_what_lies_lower_is_skipped(scene: Make) -> None:
    owner, duty, _, _ = await started(scene)
    owner.offer(LOG, 1, records(0, 4))
    owner.offer(LOG, 1, records(0, 3))
    owner.offer(LOG, 1, records(3, 6))
    await until(lambda: len(duty.applied[LOG]) == 7)
    assert duty.applied[LOG] == list(range(7))


async def test_what_lies_higher_means_seek_again(scene: Make) -> None:
    owner, duty, consumer, _ = await started(scene)
    owner.offer(LOG, 1, records(3, 6))
    await until(lambda: len(consumer.seeks) == 2)
    assert duty.applied[LOG] == []
    owner.offer(LOG, 2, records(0, 6))
    await until(lambda: duty.applied[LOG])
    assert duty.applied[LOG] == list(range(7))


async def test_what_arrives_before_the_seek_is_over_is_fetched_again(scene: Make) -> None:
    made = scene(LOG)
    seek = made.consumer.seek_partition

    async def slowly(partition: int, offsets: dict[tuple[str, int], int]) -> int:
        token = await seek(partition, offsets)
        if token == 1:
            # A fetch that was under way brings the only records behind the new position.
            made.owner.offer(LOG, token, records(0, 4))
        return token

    made.consumer.seek_partition = slowly  # type: ignore[method-assign]
    made.owner.assign(Membership(1, "me"))
    await until(lambda: len(made.consumer.seeks) == 2)
    made.owner.offer(LOG, 2, records(0, 4))
    await until(lambda: made.duty.applied[LOG])
    assert made.duty.applied[LOG] == list(range(5))


async def test_what_the_transport_dropped_is_fetched_again(scene: Make) -> None:
    owner, duty, consumer, _ = await started(scene)
    owner.offer(LOG, 1, records(0, 1))
    await until(lambda: duty.applied[LOG])
    owner.miss()
    await until(lambda: len(consumer.seeks) == 2)
    assert consumer.seeks[-1] == {(LOG, 0): 2}
    assert duty.acquired == 1, "nothing was done with what was dropped, so the state stands"


async def test_what_the_broker_no_longer_has_is_passed_over(scene: Make) -> None:
    owner, duty, _, offsets = await started(scene)
    offsets.beginning = 3
    owner.offer(LOG, 1, records(3, 6))
    await until(lambda: duty.applied[LOG])
    assert duty.applied[LOG] == [3, 4, 5, 6]


async def what_comes_again_of_a_cut_topic_is_not_skipped(scene: Make) -> None:
    """The topic ends before the position, so the client has begun at its first record, and tells nobody."""
    owner, duty, consumer, offsets = await started(scene)
    owner.offer(LOG, 1, records(0, 9))
    await until(lambda: len(duty.applied[LOG]) == 10)
    offsets.end = 6
    owner.offer(LOG, 1, records(0, 5))
    await until(lambda: duty.acquired == 2 and len(consumer.seeks) == 2)


async def test_what_comes_again_of_a_cut_topic_makes_it_start_over(scene: Make) -> None:
    await what_comes_again_of_a_cut_topic_is_not_skipped(scene)


async def test_mutant_who_does_not_ask_skips_what_comes_again(scene: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Owner, topic: str, expected: int) -> None:
        return

    monkeypatch.setattr(Owner, "_not_cut", nothing)
    with pytest.raises(TimeoutError):
        await what_comes_again_of_a_cut_topic_is_not_skipped(scene)


async def test_after_a_failure_it_acquires_again_and_redoes_the_batch(scene: Make) -> None:
    owner, duty, consumer, _ = await started(scene)
    duty.fail = 1
    owner.offer(LOG, 1, records(0, 4))
    await until(lambda: duty.acquired == 2 and len(consumer.seeks) == 2)
    owner.offer(LOG, 2, records(0, 4))
    await until(lambda: duty.applied[LOG])
    assert duty.applied[LOG] == list(range(5))


async def test_a_refused_proof_waits_until_the_assignment_changes(scene: Make) -> None:
    owner, duty, consumer, _ = scene()
    consumer.accepted = Membership(2, "me")
    owner.assign(Membership(1, "me"))
    await until(lambda: consumer.proofs)
    assert duty.acquired == 0
    owner.assign(Membership(2, "me"))
    await until(lambda: duty.acquired == 1)
    assert consumer.proofs[-1] == Membership(2, "me")


async def test_an_owner_that_lost_its_partition_amid_a_proof_waits_for_none(scene: Make) -> None:
    owner, _, consumer, _ = scene()
    consumer.accepted = Membership(2, "me")
    owner.assign(Membership(1, "me"))
    await until(lambda: consumer.proofs)
    assert owner.proving
    owner.assign(None)
    await until(lambda: not owner.proving)


@pytest.mark.parametrize(
    ("after", "acquisitions"),
    [(Membership(2, "me"), 1), (Membership(3, "me"), 2), (Membership(2, "you"), 2)],
)
async def test_state_is_kept_only_over_the_generation_directly_before_as_the_same_member(
    scene: Make, after: Membership, acquisitions: int
) -> None:
    owner, duty, consumer, _ = await started(scene)
    consumer.accepted = after
    owner.assign(after)
    await until(lambda: len(consumer.seeks) == 2)
    assert duty.acquired == acquisitions


async def test_a_partition_that_was_away_in_between_is_acquired_anew(scene: Make) -> None:
    owner, duty, consumer, _ = await started(scene)
    owner.assign(None)
    await until(lambda: not duty.ready)
    consumer.accepted = Membership(2, "me")
    owner.assign(consumer.accepted)
    await until(lambda: len(consumer.seeks) == 2)
    assert duty.acquired == 2


async def test_a_backlog_of_positions_never_delays_a_goal(scene: Make) -> None:
    owner, duty, _, _ = await started(scene, *topics.RAW)
    for chunk in range(20):
        owner.offer(topics.SENSORS, 1, records(chunk * 500, chunk * 500 + 499, topics.SENSORS))
    await until(lambda: duty.looks)
    before = len(duty.applied[topics.SENSORS])
    owner.offer(topics.BROADCAST, 1, records(0, 0, topics.BROADCAST))
    await until(lambda: duty.applied[topics.BROADCAST])
    look = next(look for look in duty.looks if look[0][0] == topics.BROADCAST)
    behind = sum(count for earlier in duty.looks[: duty.looks.index(look)] for _, count in earlier) - before
    assert behind <= 500
    assert before + behind < 10_000, "the backlog was still there"


async def test_fetching_stops_at_a_backlog_and_goes_on_below_it(scene: Make) -> None:
    owner, duty, consumer, _ = await started(scene)
    for chunk in range(15):
        owner.offer(LOG, 1, records(chunk * 500, chunk * 500 + 499))
    assert (LOG, 0) in consumer.held
    await until(lambda: len(duty.applied[LOG]) == 7500)
    assert (LOG, 0) not in consumer.held


async def test_a_quiet_partition_is_fenced_again_on_the_timer(scene: Make) -> None:
    made = scene()
    made.duty.refresh_s = 0.01
    made.owner.assign(Membership(1, "me"))
    await until(lambda: made.duty.acquired >= 3)
