"""The carrier keeps the order of a match between the log and the spool, against a real Kafka that is killed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from eventhub import kafka, record, topics
from eventhub.embedded import Services
from eventhub.errors import UnavailableError
from eventhub.ingest import Carrier, Spool, sender
from eventhub.kafka.writer import Group
from eventhub.record import Outgoing
from eventhub.tasks import end
from tests.conftest import join_on
from tests.support.wait import until

pytestmark = pytest.mark.own_services


class Scene(NamedTuple):
    carrier: Carrier
    spool: Spool
    drainer: kafka.Writer
    cluster: kafka.Kafka
    services: Services
    folder: Path
    match_id: str

    async def append(self, *numbers: int) -> str:
        head = [("h", record.pack_tags(b"\0" * 16, b"\0" * 8, b"n:pass"))]
        rows = [Outgoing(self.match_id.encode(), str(n).encode(), head) for n in numbers]
        return (await self.carrier.append(topics.SOCIAL, {self.match_id: rows})).durable

    @asynccontextmanager
    async def down(self) -> AsyncIterator[None]:
        """Kafka is killed, so that nothing that was sent to it arrives late; then it is started again."""
        broker = psutil.Process(self.services.pid("kafka"))
        broker.kill()
        await until(lambda: not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE, "Kafka to end")
        try:
            yield
        finally:
            share = await asyncio.to_thread(join_on, self.folder)
            await asyncio.to_thread(share.leave)
            await until(self._takes, "Kafka to take records again")

    async def _takes(self) -> bool:
        try:
            await self.drainer.append(topics.SOCIAL, 0, [Outgoing(b"other", b"0", [])], timeout_s=5)
        except UnavailableError:
            return False
        return True

    async def drained(self) -> list[int]:
        """The numbers on the topic in the order of their first appearance, once the spool is empty."""
        task = asyncio.create_task(self.spool.run(sender(self.drainer, kafka.Partitioner(8), timeout_s=10)))
        await until(lambda: self.spool.records == 0, "the drain")
        await end(task)
        found: dict[int, None] = {}
        async for records in kafka.read_range(self.cluster, topics.SOCIAL, kafka.Partitioner(8)(self.match_id), 0):
            found |= dict.fromkeys(int(r.value) for r in records if r.key == self.match_id.encode())
        return list(found)


@pytest.fixture
async def scene(
    own_cluster: kafka.Kafka,
    own_declared: kafka.Declared,
    own_services: Services,
    own_folder: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Scene]:
    writer, drainer = kafka.Writer(own_cluster), kafka.Writer(own_cluster)
    await asyncio.gather(writer.open(), drainer.open())
    spool = Spool(tmp_path / "spool", max_bytes=1 << 20)
    carrier = Carrier(writer, kafka.Partitioner(8), spool, lost=lambda: False, timeout_s=2)
    yield Scene(carrier, spool, drainer, own_cluster, own_services, own_folder, request.node.name)
    await asyncio.gather(writer.close(), drainer.close(), spool.close())


async def what_comes_after_goes_behind(scene: Scene) -> None:
    assert await scene.append(1) == "log"
    async with scene.down():
        assert await scene.append(2) == "spool"
    # Kafka is back, and 2 is not there yet.
    await scene.append(3)
    assert await scene.drained() == [1, 2, 3], "a later event overtook the spooled one"
    assert await scene.append(4) == "log"
    assert await scene.drained() == [1, 2, 3, 4]


async def test_what_comes_after_a_spooled_event_goes_behind_it(scene: Scene) -> None:
    await what_comes_after_goes_behind(scene)


async def test_mutant_a_match_is_not_held_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spool, "holds", lambda self, topic, match_id: False)
    monkeypatch.setattr(Carrier, "_hand_over", _hand_over_and_forget)
    monkeypatch.setattr(scene.carrier._writer, "_spill", scene.carrier._hand_over)
    with pytest.raises(AssertionError, match="overtook"):
        await what_comes_after_goes_behind(scene)


def _hand_over_and_forget(self: Carrier, groups: Sequence[Group]) -> None:
    """As the product does it, but Kafka counts as there again at once."""
    for group in groups:
        assert self._spool is not None
        self._spool.put(group.topic, group.key, group.records).add_done_callback(
            lambda done, group=group: group.done.set_result(None)  # type: ignore[misc]
        )


async def what_was_in_hand_goes_first(scene: Scene) -> None:
    assert await scene.append(1) == "log"
    async with scene.down():
        # 2 is under way, 3 and 4 wait behind it, 5 comes once Kafka is known to be lost.
        early = [asyncio.create_task(scene.append(n)) for n in (2, 3, 4)]
        await until(lambda: scene.spool.down, "the writer's deadline")
        late = asyncio.create_task(scene.append(5))
        assert await asyncio.gather(*early, late) == ["spool"] * 4
    assert await scene.drained() == [1, 2, 3, 4, 5], "what waited for the producer was overtaken"


async def test_what_the_producer_had_in_hand_is_handed_over_in_its_order(scene: Scene) -> None:
    await what_was_in_hand_goes_first(scene)


async def test_mutant_what_waits_is_handed_over_later(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_over = Carrier._hand_over

    def reversed_order(self: Carrier, groups: Sequence[Group]) -> None:
        hand_over(self, list(reversed(groups)))

    monkeypatch.setattr(Carrier, "_hand_over", reversed_order)
    monkeypatch.setattr(scene.carrier._writer, "_spill", scene.carrier._hand_over)
    with pytest.raises(AssertionError, match="overtaken"):
        await what_was_in_hand_goes_first(scene)
