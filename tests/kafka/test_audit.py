"""Weak clusters, each really made: found by its own code and by nothing else. Three good brokers have no finding."""

import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from eventhub import kafka, topics
from eventhub.documents.findings import FINDINGS
from eventhub.embedded import Services
from eventhub.errors import ConfigError
from eventhub.kafka import audit
from eventhub.kafka.audit import RULES, Finding, Wanted, judge
from eventhub.kafka.describe import Partition, Snapshot, TopicState, describe
from eventhub.kafka.plan import plan
from tests.cli.process import run
from tests.support.brokers import Brokers, running
from tests.support.weaken import alter, delete, make

pytestmark = [pytest.mark.own_services, pytest.mark.timeout(300)]  # the start of several brokers counts too
PARTITIONS = 4
PRODUCTION = Wanted(PARTITIONS, 3, 10.0, 21_600.0, production=True)
DEVELOPMENT = PRODUCTION._replace(production=False)
HOUR_MS = 3_600_000
RULE_OF = {"under_replicated": "in_sync", "unwritable": "in_sync"}


@pytest.fixture(scope="module")
async def brokers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Brokers]:
    """Three good brokers with the topics as eventhub declares them."""
    async with running(Brokers(tmp_path_factory.mktemp("good") / "brokers", dedicated=True, proxied=True)) as good:
        await declare(kafka.Kafka(good.bootstrap))
        yield good


@pytest.fixture(scope="module")
def good(brokers: Brokers) -> kafka.Kafka:
    return kafka.Kafka(brokers.bootstrap)


async def declare(cluster: kafka.Kafka) -> None:
    await kafka.declare(cluster, partitions=PARTITIONS, replication=3, min_insync_replicas=2)


async def settled(cluster: kafka.Kafka, condition: Callable[[list[Finding]], bool]) -> Snapshot:
    """The cluster, once a change has reached every broker and what is found is as it should be, or after a while."""
    snapshot = await describe(cluster)
    deadline = time.monotonic() + 20
    while not condition(judge(snapshot, PRODUCTION)) and time.monotonic() < deadline:
        snapshot = await describe(cluster)
    return snapshot


class Weak(NamedTuple):
    """A topic made weak, and the one code that must find it."""

    code: str
    topic: str
    changes: dict[str, str]


ALTERED = (
    Weak("min_isr", topics.LOG, {"min.insync.replicas": "1"}),
    Weak("min_isr", topics.LOG, {"min.insync.replicas": "3"}),
    Weak("unclean", topics.CONTROL, {"unclean.leader.election.enable": "true"}),
    Weak("cleanup", topics.REGISTRY, {"cleanup.policy": "delete"}),
    Weak("cleanup", topics.LOG, {"cleanup.policy": "compact,delete"}),
    Weak("retention", topics.SENSORS, {"retention.ms": str(24 * HOUR_MS)}),
    Weak("retention_order", topics.BROADCAST, {"retention.ms": str(9 * 24 * HOUR_MS)}),
    Weak("retention_order", topics.SOCIAL, {"retention.ms": "-1"}),
    Weak("retention_bytes", topics.LOG, {"retention.bytes": str(1 << 30)}),
    Weak("timestamps", topics.LOG, {"message.timestamp.type": "CreateTime"}),
    Weak("message_bytes", topics.STATS, {"max.message.bytes": "100000"}),
)


def check(snapshot: Snapshot, code: str, place: str, severity: str = "error", wanted: Wanted = PRODUCTION) -> None:
    """Found by this code only, and by no other rule when that one is taken away."""
    found = judge(snapshot, wanted)
    assert [(f.code, f.place, f.severity) for f in found] == [(code, place, severity)]
    assert found[0].found and found[0].wanted and found[0].advice
    others = {name: rule for name, rule in RULES.items() if name != RULE_OF.get(code, code)}
    assert judge(snapshot, wanted, others) == []


async def test_three_good_brokers_have_no_finding_and_pass_the_gate_of_production(good: kafka.Kafka) -> None:
    assert judge(await describe(good), PRODUCTION) == []
    assert await audit.gate(good, PRODUCTION) == []


@pytest.mark.parametrize("weak", ALTERED, ids=lambda w: f"{w.code}-{w.topic}")
async def test_a_weak_topic_is_found_by_its_own_code_and_nothing_else(good: kafka.Kafka, weak: Weak) -> None:
    await alter(good, weak.topic, weak.changes)
    try:
        snapshot = await settled(good, bool)
        check(snapshot, weak.code, f"topic {weak.topic}")
        with pytest.raises(ConfigError, match=weak.code):
            await audit.gate(good, PRODUCTION)
    finally:
        await alter(good, weak.topic, {})
    assert judge(await settled(good, lambda found: not found), PRODUCTION) == []


@pytest.mark.parametrize(
    ("code", "partitions", "replication"), [("partitions", PARTITIONS + 1, 3), ("replication", PARTITIONS, 2)]
)
async def test_a_topic_that_was_made_otherwise_is_found(
    good: kafka.Kafka, code: str, partitions: int, replication: int
) -> None:
    try:
        await make(good, topics.BILLING, partitions=partitions, replication=replication)
        check(await settled(good, lambda found: [f.code for f in found] == [code]), code, f"topic {topics.BILLING}")
    finally:
        await delete(good, topics.BILLING)
        await declare(good)


async def test_a_missing_topic_is_a_warning_because_a_node_makes_it(good: kafka.Kafka) -> None:
    await delete(good, topics.BILLING)
    try:
        check(await settled(good, bool), "missing", f"topic {topics.BILLING}", "warning")
        planned = {one.topic: one for one in plan(await describe(good), PRODUCTION)}
        assert planned[topics.BILLING].state == "missing"
        assert "--create --topic billing-events --partitions 4" in planned[topics.BILLING].commands[0]
    finally:
        await declare(good)


async def test_an_append_time_ahead_of_this_clock_is_found_but_keeps_no_node_from_starting(good: kafka.Kafka) -> None:
    await alter(good, topics.BILLING, {"message.timestamp.type": "CreateTime"})
    await settled(good, bool)
    producer = good.producer()
    await producer.start()
    ahead = int((time.time() + 600) * 1000)
    await producer.send_and_wait(topics.BILLING, b"x", partition=0, timestamp_ms=ahead)
    await producer.stop()
    await alter(good, topics.BILLING, {})
    try:
        snapshot = await settled(good, lambda found: [f.code for f in found] == ["clock_ahead"])
        check(snapshot, "clock_ahead", f"topic {topics.BILLING}")
        assert 590 < snapshot.ahead_s[topics.BILLING] < 601
        assert [f.code for f in await audit.gate(good, PRODUCTION)] == ["clock_ahead"]
    finally:
        await delete(good, topics.BILLING)
        await declare(good)


async def test_a_broker_that_the_others_see_and_this_node_does_not_is_told(brokers: Brokers, good: kafka.Kafka) -> None:
    brokers.proxies[1].refuse()
    try:
        found = judge(await describe(good), PRODUCTION)
        assert [(f.code, f.severity, f.found) for f in found] == [("brokers", "warning", "2 brokers (0, 2)")]
    finally:
        brokers.proxies[1].accept()


async def test_a_dead_broker_is_told_and_keeps_no_node_from_starting(brokers: Brokers, good: kafka.Kafka) -> None:
    await brokers.kill(1)
    try:
        codes = {"brokers", "under_replicated"}
        snapshot = await settled(good, lambda found: {f.code for f in found} == codes)
        assert {(f.code, f.severity) for f in judge(snapshot, PRODUCTION)} == {(code, "warning") for code in codes}
        assert {f.code for f in await audit.gate(good, PRODUCTION)} == codes
        await brokers.kill(2)
        codes = {"brokers", "under_replicated", "unwritable"}
        snapshot = await settled(good, lambda found: {f.code for f in found} == codes)
        assert {f.code for f in judge(snapshot, PRODUCTION)} == codes
        assert {f.code for f in await audit.gate(good, PRODUCTION)} == codes
    finally:
        for i in (1, 2):
            if not brokers.processes[i].alive:
                await brokers.restart(i)
        await brokers.healthy()
    assert judge(await describe(good), PRODUCTION) == []


async def test_in_development_the_gate_warns_once_for_each_code_and_lets_pass(good: kafka.Kafka) -> None:
    for name in (topics.LOG, topics.SENSORS):
        await alter(good, name, {"retention.bytes": "1000000"})
    try:
        await settled(good, lambda found: len(found) == 2)
        with capture_logs() as logs:
            assert len(await audit.gate(good, DEVELOPMENT)) == 2
        assert [(line["log_level"], line["code"], len(line["places"])) for line in logs] == [
            ("warning", "retention_bytes", 2)
        ]
    finally:
        for name in (topics.LOG, topics.SENSORS):
            await alter(good, name, {})
        await settled(good, lambda found: not found)


def test_every_code_is_explained_in_the_reference() -> None:
    assert {*RULES, *RULE_OF} - {"in_sync"} <= set(FINDINGS)


def test_settings_that_a_user_may_not_see_are_told_and_nothing_is_made_up_of_them() -> None:
    partition = Partition(0, (0, 1, 2), (0, 1, 2))
    there = {
        topic.name: TopicState(
            dict.fromkeys(range(PARTITIONS if topic.partitioned else 1), partition),
            topics.configs(topic, min_insync_replicas=2),
        )
        for topic in topics.TOPICS.values()
    }
    found = judge(Snapshot({number: {} for number in range(3)}, there, {}), PRODUCTION)
    assert [(f.code, f.severity, f.place) for f in found] == [("hidden", "warning", f"broker {i}") for i in range(3)]


WEAK_BROKERS = {
    "auto_create": {"auto.create.topics.enable": "true"},
    "transactional_id": {"transactional.id.expiration.ms": str(HOUR_MS)},
    "producer_id": {"producer.id.expiration.ms": str(HOUR_MS)},
    "session_timeout": {"group.max.session.timeout.ms": "6000"},
    "internal_replication": {"offsets.topic.replication.factor": "1"},
}


async def test_each_weak_broker_is_found_by_its_own_code_and_nothing_else(tmp_path: Path) -> None:
    own = dict(enumerate(WEAK_BROKERS.values()))
    async with running(Brokers(tmp_path / "brokers", count=len(own), own_properties=own)) as weak:
        cluster = kafka.Kafka(weak.bootstrap)
        await declare(cluster)
        await weak.healthy()
        snapshot = await describe(cluster)
    assert {f.place: f.code for f in judge(snapshot, PRODUCTION)} == {
        f"broker {i}": code for i, code in enumerate(WEAK_BROKERS)
    }
    assert len(judge(snapshot, PRODUCTION)) == len(WEAK_BROKERS)
    for i, code in enumerate(WEAK_BROKERS):
        without = {name: rule for name, rule in RULES.items() if name != code}
        assert f"broker {i}" not in {f.place for f in judge(snapshot, PRODUCTION, without)}


async def test_one_broker_with_one_copy_is_a_note_in_development_and_refused_in_production(
    own_cluster: kafka.Kafka, own_declared: kafka.Declared
) -> None:
    single = Wanted(8, 1, 10.0, 21_600.0, production=False)
    snapshot = await describe(own_cluster)
    assert [(f.code, f.severity) for f in judge(snapshot, single)] == [("replication", "note")]
    assert await audit.gate(own_cluster, single) == judge(snapshot, single)
    with pytest.raises(ConfigError, match=r"internal_min_isr, internal_replication, min_isr, replication"):
        await audit.gate(own_cluster, single._replace(production=True))


def settings_of(brokers: Brokers, services: Services) -> dict[str, str]:
    return {
        "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": brokers.bootstrap,
        "EVENTHUB_KAFKA__PARTITIONS": str(PARTITIONS),
        "EVENTHUB_POSTGRES__DSN": services.addresses.postgres,
    }


async def test_doctor_says_what_is_wrong_and_what_to_do_and_ends_with_the_code_of_it(
    brokers: Brokers, good: kafka.Kafka, own_services: Services, tmp_path: Path
) -> None:
    environ = settings_of(brokers, own_services)
    well = run("doctor", cwd=tmp_path, **environ)
    assert (well.returncode, "error" in well.stdout) == (0, False), well.stderr
    assert "3 brokers" in well.stdout
    await alter(good, topics.LOG, {"min.insync.replicas": "1"})
    await alter(good, topics.SENSORS, {"min.insync.replicas": "1"})
    await settled(good, lambda found: len(found) == 2)
    try:
        ill = run("doctor", cwd=tmp_path, **environ)
        told = json.loads(run("doctor", "--json", cwd=tmp_path, **environ).stdout)
    finally:
        await alter(good, topics.LOG, {})
        await alter(good, topics.SENSORS, {})
    assert ill.returncode == 78
    block = ill.stdout[ill.stdout.index("error ") :].splitlines()
    assert block[0] == f"error    min_isr: topic {topics.SENSORS}, topic {topics.LOG}"
    assert [line.split()[0] for line in block[1:4]] == ["found", "wanted", "next"]
    assert "refused: min_isr" in ill.stderr
    assert told["good"] is False
    assert [f["code"] for f in told["findings"] if f["severity"] == "error"] == ["min_isr", "min_isr"]
    await settled(good, lambda found: not found)


def test_doctor_says_that_the_embedded_broker_is_one_and_does_not_fail(
    own_services: Services, own_folder: Path
) -> None:
    run("topics", "plan", EVENTHUB_DATA_DIR=str(own_folder))
    told = run("doctor", EVENTHUB_DATA_DIR=str(own_folder))
    assert told.returncode == 0, told.stderr
    assert "embedded: one broker, one copy" in told.stdout
    assert "note     replication: cluster" in told.stdout


def test_doctor_tells_servers_that_do_not_answer_from_weak_ones(own_services: Services, tmp_path: Path) -> None:
    environ = {
        "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "EVENTHUB_POSTGRES__DSN": "postgresql://someone:hidden-word@127.0.0.1:1/x",
        "EVENTHUB_REDIS__URL": "redis://someone:hidden-word@127.0.0.1:1/0",
    }
    told = run("doctor", cwd=tmp_path, **environ)
    assert told.returncode == 69
    assert "error    kafka_unreachable: kafka" in told.stdout
    assert "error    postgres_unreachable: postgres" in told.stdout
    assert "warning  redis_unreachable: redis" in told.stdout
    assert "hidden-word" not in told.stdout + told.stderr


async def test_the_plan_prints_a_table_and_commands_and_changes_nothing(
    brokers: Brokers, good: kafka.Kafka, own_services: Services, tmp_path: Path
) -> None:
    environ = settings_of(brokers, own_services)
    nothing = run("topics", "plan", cwd=tmp_path, **environ)
    assert nothing.returncode == 0, nothing.stderr
    assert len(nothing.stdout.splitlines()) == 1 + len(topics.TOPICS)
    await alter(good, topics.LOG, {"retention.ms": "1000"})
    await settled(good, bool)
    try:
        told = run("topics", "plan", cwd=tmp_path, **environ)
        rows: list[Any] = json.loads(run("topics", "plan", "--json", cwd=tmp_path, **environ).stdout)
        assert judge(await describe(good), PRODUCTION) != []
    finally:
        await alter(good, topics.LOG, {})
        await settled(good, lambda found: not found)
    assert told.returncode == 78
    eight_days = str(8 * topics.DAY_MS)
    assert told.stdout.splitlines()[-1] == (
        "kafka-configs.sh --bootstrap-server $BOOTSTRAP --alter --entity-type topics --entity-name match-events"
        f" --add-config retention.ms={eight_days}"
    )
    differences = {row["topic"]: row["differences"] for row in rows if row["state"] != "good"}
    assert differences == {topics.LOG: {"retention.ms": ["1000", eight_days]}}
