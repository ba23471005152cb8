"""How many clients each user and each address has on the other nodes, by way of Redis (path: beside step 3).

Every node says its own counts under a lease and reads what the others said, once a second, in one task. So the check
at the door is a look into memory: no handshake ever waits for Redis. What a node said ends with its lease, so those
that were killed count for nobody after `LEASE_S`.

This task is its own circuit breaker: it is the only caller, asks one question at a time, and after a failure nothing
of Redis is used until an answer comes (aiobreaker would add a counter that alternating failures never trip).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol, cast

import msgspec
import structlog

from eventhub.storage.redis import Client, RedisError, client

EVERY_S = 1.0
LEASE_S = 5.0
TIMEOUT_S, LATE_S = 0.25, 0.1
AGAIN_S, AGAIN_MOST_S = 0.1, 5.0
CONNECTIONS = 2
ALARM_AFTER = 2
"""Failures in a row: after the first one this node counts alone, and only then somebody is called."""
PREFIX = "{eventhub}:clients"
"""In braces what decides the slot of a Redis cluster: one command may then ask for all nodes."""
log = structlog.get_logger(__name__)


class Own(Protocol):
    """What this node counts."""

    @property
    def addresses(self) -> Mapping[str, int]:
        """Clients by address."""

    @property
    def users(self) -> Mapping[str, int]:
        """Clients by user."""


class _Said(msgspec.Struct):
    """What one node says of itself."""

    addresses: dict[str, int]
    users: dict[str, int]


_decode = msgspec.json.Decoder(_Said).decode


class Counts:
    """The other nodes' clients, at most a few seconds old; nobody's while Redis is away. `run` keeps it up to date.

    `node` names this node among all that share the Redis. `own` is asked once a second. Without a URL there are no
    other nodes. Raises ConfigError for a URL that is none.
    """

    def __init__(
        self, url: str | None, *, node: str, own: Callable[[], Own], jitter: Callable[[], float] = random.random
    ) -> None:
        self.addresses: Mapping[str, int] = {}
        self.users: Mapping[str, int] = {}
        self._refusal: str | None = None
        self.rounds = self.failures = 0
        self._own, self._jitter = own, jitter
        self._name, self._key = node, f"{PREFIX}:{node}"
        self._failed = 0
        self._redis = None if url is None else client(url, connections=CONNECTIONS, timeout_s=TIMEOUT_S)

    def away(self) -> str | None:
        """Why Redis is away; None while it answers, or when it has failed only once."""
        return self._refusal

    async def run(self) -> None:
        """Say and read for ever. Never raises."""
        while self._redis is not None:
            await asyncio.sleep(await self.ask(self._redis))

    async def ask(self, redis: Client) -> float:
        """Say and read once; returns how long to wait, in seconds, before it is done again."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                said = await self._exchange(redis)
            self.addresses, self.users = await _sum(said)
        except (RedisError, OSError, TimeoutError) as error:
            # Where this node's own loop was late, Redis may have answered in time: that alone alarms nobody.
            was_late = loop.time() - started > TIMEOUT_S + LATE_S
            return self._fail(type(error).__name__, counts=not was_late)
        except Exception as error:
            log.error("counting clients failed", exc_info=error, hint="a defect: report it; nodes count alone")
            return self._fail(type(error).__name__)
        self.rounds += 1
        self._failed, self._refusal = 0, None
        return EVERY_S

    async def close(self) -> None:
        """Take back what this node said, if Redis answers, and disconnect."""
        redis, self._redis = self._redis, None
        if redis is None:
            return
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                if not self._failed:
                    await redis.delete(self._key)
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                await redis.aclose()

    def _fail(self, refusal: str, *, counts: bool = True) -> float:
        self.addresses, self.users = {}, {}
        self.failures += 1
        self._failed += counts
        if self._failed >= ALARM_AFTER:
            self._refusal = refusal
        most_s: float = min(AGAIN_MOST_S, AGAIN_S * 2.0 ** min(self._failed, 10))
        return AGAIN_S + self._jitter() * (most_s - AGAIN_S)

    async def _exchange(self, redis: Client) -> list[bytes | None]:
        """Say this node's counts, then fetch what every other node said; None for those whose lease is over."""
        own = self._own()
        told = msgspec.json.encode(_Said(dict(own.addresses), dict(own.users)))
        async with redis.pipeline(transaction=False) as pipe:
            pipe.set(self._key, told, px=int(LEASE_S * 1000))
            pipe.sadd(PREFIX, self._name)
            pipe.smembers(PREFIX)
            *_, names = await pipe.execute()
        others = sorted(name.decode() for name in names if name.decode() != self._name)
        if not others:
            return []
        said = await redis.mget([f"{PREFIX}:{name}" for name in others])
        gone = [name for name, one in zip(others, said, strict=True) if one is None]
        if gone:
            # Who lives says its name again within a second.
            await redis.srem(PREFIX, *gone)
        return cast(list[bytes | None], said)


async def _sum(said: list[bytes | None]) -> tuple[Counter[str], Counter[str]]:
    addresses: Counter[str] = Counter()
    users: Counter[str] = Counter()
    for one in said:
        if one is not None:
            found = _decode(one)
            addresses.update(found.addresses)
            users.update(found.users)
            # A node of 20,000 users takes some milliseconds, in which a goal would wait.
            await asyncio.sleep(0)
    return addresses, users
