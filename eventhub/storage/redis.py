"""The one door to Redis (or Valkey): clients that give up soon and never retry by themselves.

The library's own defaults wait 5 s, eleven times over, for a server that does not answer; here whoever asks decides
when to ask again, so there is exactly one retrying layer.
"""

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from eventhub.errors import ConfigError, UnavailableError

__all__ = ["Client", "RedisError", "client", "probe"]

Client = Redis


def client(url: str, *, connections: int, timeout_s: float) -> Client:
    """A client with a pool of its own; connects at its first command. Close it with `aclose`.

    `timeout_s` bounds each of: a free connection, connecting, and every answer. Commands raise RedisError or OSError.
    Raises ConfigError for what is no address.
    """
    limits: dict[str, Any] = {
        "max_connections": connections,
        "timeout": timeout_s,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
        # RESP2: with RESP3 this version of the library also subscribes to maintenance notices, which move connections.
        "protocol": 2,
    }
    try:
        return Redis.from_pool(BlockingConnectionPool.from_url(url, **limits))
    except ValueError as error:
        raise ConfigError("redis.url is no address of Redis; write redis://[user:password@]host:port/0") from error


async def probe(url: str, *, timeout_s: float) -> None:
    """Ask once whether it answers, within a few times `timeout_s`.

    Raises UnavailableError when it does not, and ConfigError when it refuses, or for what is no address.
    """
    asked = client(url, connections=1, timeout_s=timeout_s)
    try:
        await asked.ping()
    except (AuthenticationError, ResponseError) as error:
        raise ConfigError(f"Redis refuses: {error}; look at the user and the password in redis.url") from error
    except (RedisError, OSError) as error:
        raise UnavailableError(f"Redis does not answer: {error}; look at redis.url and at the server") from error
    finally:
        await asked.aclose()
