"""Clients of one Kafka cluster, and the partitioner that every topic shares."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import murmur2

REQUEST_TIMEOUT_MS = 10_000
CLOSE_TIMEOUT_S = 1
MAX_BATCH_BYTES = 900_000
"""Below the broker's default message.max.bytes (1 MiB), so that a full batch is never refused."""


class Partitioner:
    """Key to partition by murmur2, as every Kafka client does it; remembers the keys it has hashed."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._known: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        """The partition of this key, the same on every node and for every topic with this partition count."""
        found = self._known.get(key)
        if found is None:
            if len(self._known) > 50_000:
                self._known.clear()
            found = self._known[key] = (murmur2(key.encode()) & 0x7FFFFFFF) % self.partitions
        return found


class Kafka:
    """How to reach one cluster; makes clients and owns none of them."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        security_protocol: str = "PLAINTEXT",
        sasl_mechanism: str | None = None,
        username: str | None = None,
        password: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._common: dict[str, Any] = {
            "bootstrap_servers": bootstrap_servers,
            "security_protocol": security_protocol,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "retry_backoff_ms": 50,
        }
        if "SSL" in security_protocol:
            self._common["ssl_context"] = ssl.create_default_context(cafile=ca_file)
        if sasl_mechanism:
            self._common |= {
                "sasl_mechanism": sasl_mechanism,
                "sasl_plain_username": username,
                "sasl_plain_password": password,
            }

    @property
    def credentials(self) -> Mapping[str, Any]:
        """Keyword arguments of any aiokafka client of this cluster."""
        return self._common

    def producer(self, **options: Any) -> Any:
        """An idempotent producer that waits for every in-sync replica; not started.

        No linger: the writers above gather what is due, so that a batch never waits for company.
        """
        made = AIOKafkaProducer(
            **self._common,
            acks="all",
            linger_ms=0,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_BATCH_BYTES + 65_536,
            **({"enable_idempotence": True} | options),
        )
        _close_in_time(made.client)
        return made

    def consumer(self, **options: Any) -> Any:
        """A consumer without a group, assigned by hand; not started."""
        made = AIOKafkaConsumer(
            **self._common,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
            **({"fetch_max_wait_ms": 20} | options),
        )
        _close_in_time(made._client)
        return made

    def admin(self) -> Any:
        """An admin client; not started."""
        made = AIOKafkaAdminClient(**self._common)
        _close_in_time(made._client)
        return made


def _close_in_time(client: Any) -> None:
    """Over TLS, uvloop takes 30 s to close a connection with a fetch under way, and aiokafka waits for it."""
    close = client.close

    async def in_time() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(close(), CLOSE_TIMEOUT_S)

    client.close = in_time


async def abandon(producer: Any, timeout_s: float = 2) -> None:
    """End a producer at once, unsent batches and all.

    `stop` flushes first, and cut short by a deadline it leaves a sender behind that delivers when Kafka is back, after
    what was decided meanwhile. Private attributes of aiokafka 0.14; tests/kafka/test_writer.py holds them.
    """
    producer._closed = True
    for close in (producer._sender.close, producer.client.close):
        with suppress(Exception, asyncio.CancelledError):
            await asyncio.wait_for(close(), timeout_s)
