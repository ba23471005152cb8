"""What nodes count together, over a real Valkey that is frozen, killed, and started again."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from eventhub.errors import ConfigError
from eventhub.storage import counts
from eventhub.storage.counts import Counts
from eventhub.tasks import end
from tests.support.valkeys import Server
from tests.support.wait import until


class Own:
    """A node's clients."""

    def __init__(self, addresses: dict[str, int], users: dict[str, int]) -> None:
        self.addresses, self.users = addresses, users


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("counting"))
    yield made
    made.kill()


@pytest.fixture(autouse=True)
def quick(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds and leases of a tenth of the product's, and nothing left of the test before."""
    monkeypatch.setattr(counts, "EVERY_S", 0.1)
    monkeypatch.setattr(counts, "LEASE_S", 0.5)
    monkeypatch.setattr(counts, "AGAIN_MOST_S", 0.3)
    with redis.Redis.from_url(server.url, protocol=2) as client:
        client.flushall()


@asynccontextmanager
async def counting(server: Server, node: str, own: Own) -> AsyncIterator[Counts]:
    made = Counts(server.url, node=node, own=lambda: own)
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        await end(task)
        await made.close()


def told(of: Counts) -> tuple[dict[str, int], dict[str, int]]:
    return dict(of.addresses), dict(of.users)


async def test_a_node_knows_what_all_others_count_and_not_itself(server: Server) -> None:
    one, two, three = Own({"a": 2}, {"ann": 1}), Own({"a": 3, "b": 1}, {}), Own({}, {"ann": 4})
    async with counting(server, "n1", one) as first, counting(server, "n2", two), counting(server, "n3", three):
        await until(lambda: told(first) == ({"a": 3, "b": 1}, {"ann": 4}), "the first node to know", 10)
        two.addresses = {"b": 2}
        await until(lambda: told(first) == ({"b": 2}, {"ann": 4}), "the first node to know better", 10)
    async with counting(server, "n1", one) as first:
        await until(lambda: first.rounds > 0, "a round", 10)
        assert told(first) == ({}, {}), "nodes that end take back what they said"


async def test_what_a_killed_node_said_ends_with_its_lease(server: Server) -> None:
    killed = Counts(server.url, node="killed", own=lambda: Own({"a": 7}, {"ann": 7}))
    assert killed._redis
    await killed.ask(killed._redis)
    said_at = time.monotonic()
    async with counting(server, "n1", Own({}, {})) as first:
        await until(lambda: told(first) == ({"a": 7}, {"ann": 7}), "what the killed node said", 10)
        await until(lambda: told(first) == ({}, {}), "its lease to be over", 5)
        assert time.monotonic() - said_at >= 0.5
        with redis.Redis.from_url(server.url, protocol=2) as client:
            assert client.smembers(counts.PREFIX) == {b"n1"}
    # It goes without a word, as killed nodes do.
    await killed._redis.aclose()


async def falls_back_at_once(server: Server) -> None:
    """Frozen, then killed, then started again: nobody waits, others' counts are gone, and come back by themselves."""
    loop = asyncio.get_running_loop()
    async with counting(server, "n1", Own({}, {})) as first, counting(server, "n2", Own({"a": 1}, {})):
        await until(lambda: told(first) == ({"a": 1}, {}), "the other node's count", 10)
        assert first.away() is None
        server.freeze()
        frozen_at = loop.time()
        await until(lambda: told(first) == ({}, {}), "the node to count alone", 5)
        # A round, its timeout, and what a busy machine adds.
        assert loop.time() - frozen_at < 0.1 + counts.TIMEOUT_S + 1
        await until(lambda: first.away() is not None, "the alarm", 5)
        server.wake()
        await until(lambda: first.away() is None and told(first) == ({"a": 1}, {}), "the other node's count again", 10)
        server.kill()
        await until(lambda: first.away() is not None and told(first) == ({}, {}), "the node to count alone", 5)
        assert first.failures > 2
        server.start()
        await until(lambda: first.away() is None and told(first) == ({"a": 1}, {}), "the other node's count again", 10)


async def test_a_node_counts_alone_while_redis_is_away_and_together_again_after(server: Server) -> None:
    await falls_back_at_once(server)


async def test_a_single_failure_alarms_nobody(server: Server) -> None:
    alone = Counts("redis://127.0.0.1:1/0", node="n1", own=lambda: Own({}, {}))
    assert alone._redis
    pauses = []
    for expected in (None, "ConnectionError", "ConnectionError"):
        pauses.append(await alone.ask(alone._redis))
        assert alone.away() == expected
    assert all(counts.AGAIN_S <= pause <= counts.AGAIN_MOST_S for pause in pauses)
    await alone.close()


async def test_a_server_that_refuses_is_as_good_as_none(server: Server) -> None:
    wrong = "redis://:wrong@" + server.url.partition("@")[2]
    refused = Counts(wrong, node="n1", own=lambda: Own({}, {}))
    assert refused._redis
    for _ in range(counts.ALARM_AFTER):
        await refused.ask(refused._redis)
    assert refused.away() == "AuthenticationError"
    await refused.close()


async def test_without_redis_there_is_nobody_else() -> None:
    alone = Counts(None, node="n1", own=lambda: Own({"a": 1}, {}))
    await alone.run()
    assert (told(alone), alone.away()) == (({}, {}), None)
    await alone.close()


def test_what_is_no_address_is_refused_with_the_next_step() -> None:
    with pytest.raises(ConfigError, match=r"redis\.url is no address of Redis; write redis://"):
        Counts("localhost:6379", node="n1", own=lambda: Own({}, {}))


async def test_mutant_what_was_said_has_no_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "LEASE_S", 3600)
    with pytest.raises(pytest.fail.Exception, match="its lease to be over"):
        await test_what_a_killed_node_said_ends_with_its_lease(server)


async def test_mutant_the_last_word_is_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fail = Counts._fail

    def keeping(self: Counts, refusal: str, *, counts: bool = True) -> float:
        kept = self.addresses, self.users
        pause_s = fail(self, refusal, counts=counts)
        self.addresses, self.users = kept
        return pause_s

    monkeypatch.setattr(Counts, "_fail", keeping)
    with pytest.raises(pytest.fail.Exception, match="the node to count alone"):
        await falls_back_at_once(server)
    server.wake()
