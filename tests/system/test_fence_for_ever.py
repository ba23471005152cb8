"""Kafka forgets who has fenced, loses the log's head, a raw topic or a topic's tail: healed, or told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eventhub import config
from eventhub.embedded import join
from tests.drills import forever, losses
from tests.drills.forever import PARTITIONS, QUICK
from tests.support.brokers import Brokers
from tests.support.brokers import running as brokers_running
from tests.support.feed import RealMatch
from tests.system.conftest import Platform, platform_on

FOUND_OUT = (AssertionError, pytest.fail.Exception)
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
async def forgetful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Brokers]:
    """One broker that forgets in seconds what it should keep for days."""
    one = Brokers(tmp_path_factory.mktemp("forgetful") / "brokers", count=1, properties=QUICK)
    async with brokers_running(one) as running:
        yield running


@pytest.fixture
async def on_it(forgetful: Brokers, own_folder: Path, tmp_path: Path) -> AsyncIterator[Platform]:
    given = config.Settings(data_dir=own_folder, kafka=config.Kafka(bootstrap_servers=forgetful.bootstrap))
    services = await asyncio.to_thread(lambda: join(given, say=lambda _: None, progress=lambda *_: None))
    async with platform_on(services, forgetful.bootstrap, tmp_path, partitions=PARTITIONS) as platform:
        yield platform
    await asyncio.to_thread(services.leave)


async def test_a_zombie_that_was_frozen_for_longer_than_kafka_remembers_writes_nothing(
    on_it: Platform, matches: list[RealMatch]
) -> None:
    await forever.frozen_across_the_expiry(on_it, matches[0])


async def test_it_finds_out_owners_that_fence_once_and_for_all(on_it: Platform, matches: list[RealMatch]) -> None:
    with pytest.raises(FOUND_OUT, match=r"on the log twice|a raw offset went backwards|has forgotten the fence"):
        await forever.frozen_across_the_expiry(on_it, matches[0], renew_s=forever.NEVER_S)


async def test_a_quiet_owner_stays_known_and_one_that_was_forgotten_goes_on(
    on_it: Platform, matches: list[RealMatch]
) -> None:
    await forever.quiet(on_it, matches[0])


async def test_what_retention_took_is_a_gap_that_is_noted_and_told(
    on_it: Platform, forgetful: Brokers, matches: list[RealMatch]
) -> None:
    await losses.head_lost(on_it, forgetful, matches[0])


async def test_a_raw_topic_that_is_made_anew_is_read_from_its_beginning(
    on_it: Platform, forgetful: Brokers, matches: list[RealMatch]
) -> None:
    await losses.topic_lost(on_it, forgetful, matches[0])


async def test_a_log_that_loses_its_tail_begins_anew_and_clients_are_reset(
    on_it: Platform, forgetful: Brokers, matches: list[RealMatch]
) -> None:
    await losses.log_tail_lost(on_it, forgetful, matches[0])


async def test_a_raw_topic_that_loses_its_tail_swallows_nothing_that_comes_later(
    on_it: Platform, forgetful: Brokers, matches: list[RealMatch]
) -> None:
    await losses.raw_tail_lost(on_it, forgetful, matches[0])


@pytest.mark.parametrize(
    ("name", "lost", "told"),
    [
        ("gaps-untold", losses.head_lost, r"to be told of a reset \(gone\)"),
        ("topics-are-for-ever", losses.topic_lost, "every accepted event to be on the log"),
        ("cut-log-goes-on", losses.log_tail_lost, r"to be told of a reset \(epoch_changed\)"),
        ("cut-topics-go-on", losses.raw_tail_lost, "every accepted event to be on the log"),
    ],
)
async def test_it_finds_out_a_node_of_which(
    on_it: Platform, forgetful: Brokers, matches: list[RealMatch], name: str, lost: losses.Lost, told: str
) -> None:
    with pytest.raises(FOUND_OUT, match=told):
        await lost(on_it, forgetful, matches[0], program=("tests.drills.mutants", name), patience_s=forever.SHORT_S)
