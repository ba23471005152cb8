"""Brokers that want a user, over TLS and without: a node's clients get in, others are told why not, no secret leaks."""

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from eventhub import config, kafka, operations, topics
from eventhub.embedded import Addresses
from eventhub.errors import ConfigError, EventhubError, UnavailableError
from eventhub.kafka.describe import describe
from eventhub.record import Outgoing
from eventhub.streams.stage import Family, Stage
from eventhub.tasks import end
from tests.support.brokers import Brokers, running
from tests.support.nodes import NodeProcess
from tests.support.nodes import running as nodes_running
from tests.support.wait import until

pytestmark = pytest.mark.timeout(300)  # the start of several brokers counts too
PARTITIONS = 2
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


class Authority(NamedTuple):
    """Who signs a broker's certificate, as PEM files: its own, and the broker's key and certificate."""

    ca: Path
    broker: Path


class Guarded(NamedTuple):
    """A broker that wants a user, and the settings that get a node in."""

    brokers: Brokers
    settings: config.Kafka
    password: str
    other_ca: Path


def authority(folder: Path) -> Authority:
    folder.mkdir()
    key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority {folder.name}")])
    now = datetime.now(UTC)

    def certificate(name: x509.Name, of: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(ca_name)
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    signed_ca = certificate(ca_name, ca_key, ca=True).sign(ca_key, hashes.SHA256())
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    broker_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    signed = certificate(broker_name, key, ca=False).add_extension(loopback, critical=False)
    made = Authority(folder / "ca.pem", folder / "broker.pem")
    made.ca.write_bytes(signed_ca.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made.broker.write_bytes(private + signed.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return made


def scram_over_tls(folder: Path, password: str, signer: Authority) -> Brokers:
    return Brokers(
        folder,
        count=1,
        protocol="SASL_SSL",
        properties={
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.client.scram-sha-512.sasl.jaas.config": SCRAM,
            "listener.name.client.ssl.keystore.type": "PEM",
            "listener.name.client.ssl.keystore.location": str(signer.broker),
        },
        format_arguments=("--add-scram", f"SCRAM-SHA-512=[name=eventhub,password={password}]"),
    )


def plain_without_tls(folder: Path, password: str) -> Brokers:
    return Brokers(
        folder,
        count=1,
        protocol="SASL_PLAINTEXT",
        properties={
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.client.plain.sasl.jaas.config": f'{PLAIN} user_eventhub="{password}";',
        },
    )


@pytest.fixture(scope="module", params=["SASL_SSL", "SASL_PLAINTEXT"])
async def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    """A broker of each kind."""
    folder, password = tmp_path_factory.mktemp("guarded"), secrets.token_hex(12)
    signer, other = authority(folder / "one"), authority(folder / "two")
    tls = request.param == "SASL_SSL"
    made = scram_over_tls(folder / "b", password, signer) if tls else plain_without_tls(folder / "b", password)
    async with running(made) as brokers:
        settings = config.Kafka(
            bootstrap_servers=brokers.bootstrap,
            partitions=PARTITIONS,
            replication=1,
            security_protocol=request.param,
            sasl_mechanism="SCRAM-SHA-512" if tls else "PLAIN",
            username="eventhub",
            password=SecretStr(password),
            ca_file=signer.ca if tls else None,
        )
        yield Guarded(brokers, settings, password, other.ca)


def reach(settings: config.Kafka) -> kafka.Kafka:
    """As a node does from its settings."""
    return operations.reach(config.Settings(kafka=settings), Addresses(settings.bootstrap_servers or "", ""))


@pytest.fixture
async def cluster(guarded: Guarded) -> kafka.Kafka:
    inside = reach(guarded.settings)
    await kafka.declare(inside, partitions=PARTITIONS, replication=1, min_insync_replicas=1)
    return inside


class Listening:
    """A duty that keeps what it is given, and is ready at once."""

    def __init__(self, heard: list[bytes]) -> None:
        self.ready = False
        self.topics: tuple[str, ...] = (topics.BILLING,)
        self.refresh_s: float | None = None
        self._heard = heard
        self._next = 0

    def next_offsets(self) -> dict[str, int]:
        return {topics.BILLING: self._next}

    async def acquire(self, _: Any) -> None:
        self.ready = True

    async def apply(self, batches: Sequence[Any]) -> None:
        for batch in batches:
            self._heard += [one.value for one in batch.records]
            self._next = batch.records[-1].offset + 1

    def forget(self) -> None:
        self.ready = False

    async def release(self) -> None:
        return


async def test_what_a_node_does_works_as_that_user_and_the_secret_is_in_no_log(
    guarded: Guarded, cluster: kafka.Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.INFO)  # as a node does; below that aiokafka shows what it sends, the password with it
    writer, offsets = kafka.Writer(cluster), kafka.Offsets(cluster)
    await writer.open()
    await offsets.open()
    await writer.append(topics.BILLING, 0, [Outgoing(b"k", b"hello", [])], timeout_s=10)
    read = [r.value async for some in kafka.read_range(cluster, topics.BILLING, 0, 0) for r in some]
    assert read[-1] == b"hello"
    assert len((await describe(cluster)).topics) >= len(topics.TOPICS)
    heard: list[bytes] = []
    family = Family("listening", (topics.BILLING,), lambda _: Listening(heard))
    stage = Stage(family, kafka=cluster, offsets=offsets, session_timeout_s=6, data_dir=tmp_path)
    working = asyncio.create_task(stage.run())
    await until(lambda: stage.partitions == list(range(PARTITIONS)), "Faust to join its group")
    await until(lambda: b"hello" in heard, "Faust to hand on what was written")
    await end(working)
    for part in (stage, writer, offsets):
        await part.close()
    told = capfd.readouterr()
    assert guarded.password not in caplog.text + told.out + told.err


async def test_a_wrong_password_is_told_without_it(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)  # as a node does; below that aiokafka shows what it sends, the password with it
    wrong = "wrong-" + secrets.token_hex(8)
    cluster = reach(guarded.settings.model_copy(update={"password": SecretStr(wrong)}))
    with pytest.raises(ConfigError, match=r"refuses user eventhub: look at .*kafka\.password") as told:
        await describe(cluster)
    with pytest.raises(EventhubError) as declared:
        await kafka.declare(cluster, partitions=PARTITIONS, replication=1, min_insync_replicas=1)
    everything = told.value.detail + declared.value.detail + caplog.text
    assert wrong not in everything
    assert guarded.password not in everything


async def test_a_certificate_of_another_authority_is_told(guarded: Guarded) -> None:
    if guarded.settings.ca_file is None:
        return
    cluster = reach(guarded.settings.model_copy(update={"ca_file": guarded.other_ca}))
    with pytest.raises(ConfigError, match=r"is not trusted .* look at kafka\.ca_file") as told:
        await describe(cluster)
    assert guarded.password not in told.value.detail


async def test_a_client_that_speaks_without_what_the_broker_wants_is_told_where_to_look(guarded: Guarded) -> None:
    bare = config.Kafka(bootstrap_servers=guarded.brokers.bootstrap, partitions=PARTITIONS)
    with pytest.raises(UnavailableError, match=r"kafka\.security_protocol"):
        await describe(reach(bare))


async def test_a_node_serves_on_it_with_the_password_from_a_file(
    guarded: Guarded, database: str, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text(guarded.password)
    given = guarded.settings
    environ = {
        "EVENTHUB_KAFKA__BOOTSTRAP_SERVERS": str(given.bootstrap_servers),
        "EVENTHUB_KAFKA__PARTITIONS": str(PARTITIONS),
        "EVENTHUB_KAFKA__REPLICATION": "1",
        "EVENTHUB_KAFKA__SECURITY_PROTOCOL": given.security_protocol,
        "EVENTHUB_KAFKA__SASL_MECHANISM": str(given.sasl_mechanism),
        "EVENTHUB_KAFKA__USERNAME": str(given.username),
        "EVENTHUB_KAFKA__PASSWORD_FILE": str(secret),
        **({"EVENTHUB_KAFKA__CA_FILE": str(given.ca_file)} if given.ca_file else {}),
        "EVENTHUB_POSTGRES__DSN": database,
    }
    node = NodeProcess("node", tmp_path, environ)
    async with nodes_running(node):

        async def owns_all() -> bool:
            return await node.owns("enrichment") == list(range(PARTITIONS)) == await node.owns("history")

        await until(owns_all, "its families to work on every partition")
        assert await node.end() == 0
    assert guarded.password not in node.log_path.read_text()
