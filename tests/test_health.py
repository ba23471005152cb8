"""Health by progress, on a real family and a real Kafka: what stands still is named, what waits for others is not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from eventhub import topics
from eventhub.health import Health, Once, routes
from eventhub.kafka import Bounds, Declared, Kafka, Offsets, Writer
from eventhub.record import Outgoing
from eventhub.streams.lease import Lease
from eventhub.streams.owner import Batch
from eventhub.streams.stage import Family, Stage
from eventhub.tasks import end
from tests.support.wait import until

STUCK_AFTER_S = 2.0
PARTITIONS = range(8)
WEDGED = 3


class Duty:
    """Counts what it is given; goes wrong in one partition as `wrong` says, by name."""

    refresh_s: float | None = None

    def __init__(self, topic: str, partition: int, wrong: set[str]) -> None:
        self.topics: tuple[str, ...] = (topic,)
        self.ready = False
        self.partition, self._wrong = partition, wrong if partition == WEDGED else set()
        self._next = self._durable = 0

    def next_offsets(self) -> dict[str, int]:
        return {self.topics[0]: self._next}

    async def acquire(self, lease: Lease) -> None:
        await lease.prove({(self.topics[0], self.partition): self._next})
        if "acquire" in self._wrong:
            raise OSError("refused")
        self._next = self._durable
        self.ready = True

    async def apply(self, batches: Sequence[Batch]) -> None:
        if "swallow" in self._wrong:
            return
        if "hang" in self._wrong:
            await asyncio.Event().wait()
        if "poison" in self._wrong:
            # The record at the third place always fails; those before it are done again and again.
            self._next = min(2, batches[0].records[-1].offset + 1)
            raise OSError("poison")
        self._next = batches[-1].records[-1].offset + 1
        self._durable = self._next

    def forget(self) -> None:
        self.ready = False

    async def release(self) -> None:
        self.ready = False


class Scene:
    """A family on this Kafka with its health, as a node composes them; `causes` is what is away."""

    def __init__(self, cluster: Kafka, offsets: Offsets, writer: Writer, folder: Path) -> None:
        self.cluster, self.offsets, self.writer, self.folder = cluster, offsets, writer, folder
        self.wrong: set[str] = set()
        self.causes: dict[str, Any] = {}
        self.conditions: dict[str, Callable[[], bool]] = {}
        self.stages: list[Stage] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._nodes: list[httpx2.AsyncClient] = []

    def start(self, *, topic: str = topics.LOG, partitions: int = 8, kafka: Kafka | None = None) -> httpx2.AsyncClient:
        """A node; returns a client of its admin port."""
        name = f"n{len(self.stages)}"
        stage = Stage(
            Family(
                f"test-{self.folder.name}",
                (topic,),
                lambda p: Duty(topic, p, self.wrong),
                needs=("kafka", "postgres", "mode"),
            ),
            kafka=kafka or self.cluster,
            offsets=self.offsets,
            session_timeout_s=3,
            data_dir=self.folder / name,
        )
        health = Health(
            node=name,
            families=[stage],
            degraded=SimpleNamespace(mode="normal", causes=self.causes),
            conditions=self.conditions,
            stuck_after_s=STUCK_AFTER_S,
            now=lambda: datetime.now(UTC),
        )

        async def reach(_: Sequence[str]) -> Mapping[tuple[str, int], Bounds]:
            return await self.offsets.reach([topic], partitions)

        self.stages.append(stage)
        self._tasks += [asyncio.create_task(work) for work in (stage.run(), health.ask(reach), health.watch())]
        transport = httpx2.ASGITransport(Starlette(routes=routes(health, lambda: {"nodes": []})))
        self._nodes.append(httpx2.AsyncClient(transport=transport, base_url="http://node"))
        return self._nodes[-1]

    async def append(self, partition: int, count: int, topic: str = topics.LOG) -> None:
        for _ in range(count):
            await self.writer.append(topic, partition, [Outgoing(b"k", b"v", [])], timeout_s=10)

    async def close(self) -> None:
        await end(*self._tasks)
        await asyncio.gather(*(one.close() for one in self.stages), *(one.aclose() for one in self._nodes))


@pytest.fixture
async def scene(own_cluster: Kafka, own_declared: Declared, tmp_path: Path) -> AsyncIterator[Scene]:
    offsets, writer = Offsets(own_cluster), Writer(own_cluster)
    await offsets.open()
    await writer.open()
    made = Scene(own_cluster, offsets, writer, tmp_path)
    yield made
    await made.close()
    await writer.close()
    await offsets.close()


async def live(node: httpx2.AsyncClient) -> bool:
    return (await node.get("/livez")).status_code == 200


async def dead(node: httpx2.AsyncClient) -> bool:
    return not await live(node)


async def body(node: httpx2.AsyncClient, path: str) -> Any:
    return (await node.get(path)).json()


async def named(node: httpx2.AsyncClient) -> Any:
    """The wedged partition's entry once it is the only one; under load others may be late for a moment."""
    found: list[Any] = []

    async def only_it() -> bool:
        answer = await node.get("/livez")
        found[:] = answer.json()["stuck"]
        assert answer.status_code == (503 if found else 200)
        return [one["partition"] for one in found] == [WEDGED]

    await until(only_it, "the wedged partition to be found", 20)
    return found[0]


def lags(stage: Stage) -> dict[int, int | None]:
    return {p: report.lag for p, report in stage.reports.items()}


async def working(scene: Scene) -> httpx2.AsyncClient:
    """A node that owns every partition and has done something in each."""
    node = scene.start()
    for p in PARTITIONS:
        await scene.append(p, 1)
    await until(lambda: lags(scene.stages[0]) == dict.fromkeys(PARTITIONS, 0), "everything to be applied")
    return node


async def times_over(scene: Scene, times: int = 3) -> None:
    """Wait for several times as long as a partition may be stuck."""
    loop = asyncio.get_running_loop()
    over_at = loop.time() + times * STUCK_AFTER_S
    await until(lambda: loop.time() > over_at, "time to pass")


async def a_wedged_partition_is_named(scene: Scene, how: str) -> None:
    node = await working(scene)
    await until(lambda: live(node), "the node to be well")
    scene.wrong.add(how)
    for p in PARTITIONS:
        await scene.append(p, 5)
    stuck = await named(node)
    told = await body(node, "/livez")
    assert (stuck["family"], stuck["lag"]) == (scene.stages[0].name, 5)
    since = datetime.fromisoformat(stuck["since"])
    assert timedelta(seconds=STUCK_AFTER_S - 1) < datetime.now(UTC) - since < timedelta(minutes=5)
    assert told["status"] == "stuck" and told["blocked"] == []
    await until(
        lambda: {p: lag for p, lag in lags(scene.stages[0]).items() if lag} == {WEDGED: 5}, "all others to go on"
    )
    assert (await body(node, "/status"))["stuck"][0]["partition"] == WEDGED


HOW = ["hang", "swallow", "poison"]


@pytest.mark.parametrize("how", HOW)
async def test_a_wedged_partition_is_named(scene: Scene, how: str) -> None:
    await a_wedged_partition_is_named(scene, how)


async def test_mutant_a_probe_that_only_says_that_the_loop_turns(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def turns(self: Health, now: float) -> None:
        for family in self.families:
            family.judge([], now)

    monkeypatch.setattr(Health, "judge", turns)
    with pytest.raises(pytest.fail.Exception, match="wedged partition to be found"):
        await a_wedged_partition_is_named(scene, "hang")


async def test_a_partition_that_is_healed_is_no_longer_named(scene: Scene) -> None:
    node = await working(scene)
    scene.wrong.add("poison")
    await scene.append(WEDGED, 5)
    await named(node)
    scene.wrong.clear()
    await until(lambda: live(node), "the node to be well again")


async def test_a_partition_that_cannot_be_acquired_is_named_although_nothing_is_to_be_done(scene: Scene) -> None:
    scene.wrong.add("acquire")
    node = scene.start()
    assert (await named(node))["state"] == "acquiring"
    assert WEDGED not in (await body(node, "/status"))["families"][scene.stages[0].name]["partitions"]


async def test_partitions_with_nothing_to_do_are_well_for_ever(scene: Scene) -> None:
    node = await working(scene)
    stage = scene.stages[0]
    await until(
        lambda: all(r.progressed_s_ago > 4 * STUCK_AFTER_S for r in stage.reports.values()), "a long time of nothing"
    )
    assert await live(node)
    assert {report.state for report in stage.reports.values()} == {"idle"}


@pytest.mark.parametrize("cause", ["kafka", "postgres", "mode"])
async def test_what_waits_for_others_is_blocked_and_not_stuck(scene: Scene, cause: str) -> None:
    node = await working(scene)
    scene.causes[cause] = SimpleNamespace(_asdict=dict)
    scene.wrong.add("hang")
    await scene.append(WEDGED, 1)

    async def blocked() -> bool:
        told = (await body(node, "/livez"))["blocked"]
        return {"family": scene.stages[0].name, "partition": WEDGED, "by": [cause]}.items() <= (
            next((b for b in told if b["partition"] == WEDGED), {}).items()
        )

    await until(blocked, "the partition to be blocked")
    await times_over(scene)
    assert await live(node) and await blocked()
    # What blocked it is back, and it does nothing all the same.
    scene.causes.clear()
    assert await live(node), "its time begins anew"
    await named(node)


async def test_what_a_family_does_not_need_is_no_excuse(scene: Scene) -> None:
    node = await working(scene)
    scene.causes["opensearch"] = SimpleNamespace(_asdict=dict)
    scene.wrong.add("hang")
    await scene.append(WEDGED, 1)
    await named(node)


async def test_a_family_that_never_gets_an_assignment_is_named(scene: Scene) -> None:
    node = scene.start(kafka=Kafka("127.0.0.1:1"))
    await until(lambda: dead(node), "the family to be found")
    (stuck,) = (await body(node, "/livez"))["stuck"]
    assert (stuck["family"], stuck["partition"], stuck["state"]) == (scene.stages[0].name, None, "joining")


async def test_nodes_without_partitions_are_well_and_report_none(scene: Scene) -> None:
    """One partition, so that of several nodes all but one have nothing, and who has it changes as they come."""
    members = []
    for turn in range(1, 5):
        members.append(scene.start(topic=topics.CONTROL, partitions=1))
        await until(
            lambda: (
                [len(stage.reports) for stage in scene.stages].count(1) == 1
                and sum(len(stage.partitions) for stage in scene.stages) == 1
                and all(stage.joining_s == 0 for stage in scene.stages)
            ),
            f"one of {turn} nodes to own the partition",
        )
    await scene.append(0, 3, topics.CONTROL)
    await times_over(scene, 4)
    await scene.append(0, 3, topics.CONTROL)
    assert [await live(node) for node in members] == [True] * 4


@pytest.mark.parametrize("ended", [-1, -2], ids=["watch", "ask"])
async def test_a_watch_that_ended_is_no_good_news(scene: Scene, ended: int) -> None:
    node = await working(scene)
    scene._tasks[ended].cancel()
    await until(lambda: dead(node), "the probe to say so")


async def test_readiness_names_each_condition(scene: Scene) -> None:
    holds = {"caught_up": True, "schema": False}
    scene.conditions |= {"caught_up": lambda: holds["caught_up"], "schema": Once(lambda: holds["schema"])}
    node = scene.start()
    answer = await node.get("/readyz")
    assert (answer.status_code, answer.json()["conditions"]) == (503, {"caught_up": True, "schema": False})
    holds["schema"] = True
    assert (await node.get("/readyz")).status_code == 200
    holds["schema"] = False
    assert (await node.get("/readyz")).status_code == 200, "what was done once is done"
    holds["caught_up"] = False
    assert (await node.get("/readyz")).status_code == 503
    scene.causes |= {"kafka": SimpleNamespace(_asdict=dict), "postgres": SimpleNamespace(_asdict=dict)}
    holds["caught_up"] = True
    assert (await node.get("/readyz")).status_code == 200, "what is away is no reason to send clients elsewhere"
