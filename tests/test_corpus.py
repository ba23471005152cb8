"""Hostile and broken input against every route of a real node: refused with a reason, and nobody else notices.

The input is data, tests/corpus/*.json. Each test runs one group and then holds the node to what it promises
(`unharmed`): nothing is stored but what was accepted, nothing accepted is lost, memory is bounded, an honest client
beside it gets every event in order, the node is ready, and neither log nor answers hold a traceback or a secret.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventhub import auth, kafka, operations, topics
from eventhub.embedded import Services
from eventhub.kafka import read_range
from eventhub.record import Outgoing
from tests import corpus_cases as cases
from tests.corpus_run import Target
from tests.corpus_scene import LIVE, Scene, unharmed
from tests.support.nodes import NodeProcess, running
from tests.support.wait import until

MATCH = "corpus"
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def scene(own_services: Services, own_folder: Path) -> AsyncIterator[Scene]:
    """A node of this module, with a match for the corpus and one for an honest source."""
    cluster = kafka.Kafka(own_services.addresses.kafka)
    declared = await kafka.declare(cluster, partitions=8, replication=1, min_insync_replicas=1)
    writer = kafka.Writer(cluster)
    await writer.open()
    keys = {source: await operations.write_key(writer, source) for source in auth.SOURCES}
    await writer.close()
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    environ = {
        "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": own_services.addresses.kafka,
        "EVENTHUB_KAFKA__REPLICATION": "1",
        "EVENTHUB_POSTGRES__DSN": own_services.addresses.postgres,
        "EVENTHUB_AUTH__SIGNING_KEY": pem.decode(),
        "EVENTHUB_DELIVERY__PING_S": "5",
    }
    node = NodeProcess(f"corpus-{secrets.token_hex(2)}", own_folder, environ)
    tokens = auth.load_tokens(pem.decode(), own_folder)
    names = {
        "MATCH": MATCH,
        "NOW": datetime.now(UTC).isoformat(),
        "EPOCH": declared.epoch,
        "PARTITION": str(kafka.Partitioner(8)(MATCH)),
    }
    target = Target(node.url, keys, lambda: tokens.sign("corpus", "test", datetime.now(UTC)), names)
    made = Scene(node, cluster, own_services.addresses.postgres, target)
    async with running(node):
        await made.declare(MATCH)
        await made.declare(LIVE)
        yield made


@pytest.mark.parametrize("group", ["requests", "reads", "matches"])
async def test_a_hostile_request_is_refused_with_a_reason_that_names_the_place(scene: Scene, group: str) -> None:
    async with unharmed(scene) as runner:
        for case in cases.requests(group):
            await runner.request(case)


async def test_a_hostile_item_is_refused_and_its_neighbours_are_stored(scene: Scene) -> None:
    async with unharmed(scene) as runner:
        for item in cases.items(scene.target.names):
            await runner.item(item)


async def test_an_event_that_is_cut_anywhere_is_refused(scene: Scene) -> None:
    async with unharmed(scene) as runner:
        await runner.cuts()


async def test_what_is_hardly_http_gets_a_4xx_and_an_end(scene: Scene) -> None:
    async with unharmed(scene) as runner:
        for case in cases.load("wire")["cases"]:
            if not case.get("slow"):
                await runner.wire(case)


async def test_who_sends_slowly_or_nothing_is_cut_off(scene: Scene) -> None:
    async with unharmed(scene) as runner:
        await asyncio.gather(*(runner.wire(case) for case in cases.load("wire")["cases"] if case.get("slow")))


async def test_hostile_frames_of_a_client_hurt_no_other_client(scene: Scene) -> None:
    async with unharmed(scene) as runner:
        for case in cases.load("stream")["cases"]:
            await runner.stream(case)


BROKEN: dict[str, tuple[bytes, bytes | None, list[tuple[str, bytes]]]] = {
    "not JSON": (MATCH.encode(), b"\xff\x00 not JSON", [("h", b"")]),
    "nothing at all": (MATCH.encode(), None, []),
    "no header": (MATCH.encode(), b'{"event_id":"x"}', []),
    "deep": (MATCH.encode(), b"[" * 200_000, [("h", bytes(32))]),
    "an event without its header": (
        MATCH.encode(),
        b'{"event_id":"e","source":"broadcast","match_id":"corpus","type":"pass",'
        b'"occurred_at":"2026-01-01T00:00:00Z","accepted_at":"2026-01-01T00:00:00Z"}',
        [("h", b"short")],
    ),
}


async def test_a_broken_raw_record_goes_to_the_dead_letters_and_the_rest_flows(scene: Scene) -> None:
    """Straight onto the raw topic, as only a fault of our own could put it; tests/streams holds the rule alone."""
    partition = kafka.Partitioner(8)(MATCH)
    dead = await scene.ends(topics.DEAD)
    writer = kafka.Writer(scene.cluster)
    await writer.open()
    for key, value, headers in BROKEN.values():
        await writer.append(topics.BROADCAST, partition, [Outgoing(key, value, headers)], timeout_s=10)
    await writer.close()

    async def buried() -> bool:
        return await scene.ends(topics.DEAD) - dead == len(BROKEN)

    await until(buried, f"{len(BROKEN)} dead letters")
    letters = [r async for rs in read_range(scene.cluster, topics.DEAD, partition, 0) for r in rs]
    for letter, (name, (_, value, _)) in zip(letters[-len(BROKEN) :], BROKEN.items(), strict=True):
        said: dict[str, Any] = dict(letter.headers)
        assert letter.value == value, name
        assert letter.key.startswith(f"{topics.BROADCAST}.{partition}.".encode())
        assert (said["stage"], said["attempts"]) == (b"enrichment", b"1")
        assert said["code"] in (b"malformed", b"enrichment_failed") and said["detail"], name
    async with unharmed(scene) as runner:
        await runner.cuts()


async def test_it_finds_out_a_node_that_takes_what_it_must_refuse(scene: Scene) -> None:
    # In place of such a node: an item that is good. The last test here, for another one would find its rows.
    good = cases.Item("a good one", cases.valid(scene.target.names), "broadcast", "malformed", "")
    with pytest.raises(AssertionError, match="of 2:\na good one"):
        async with unharmed(scene) as runner:
            await runner.item(good)
