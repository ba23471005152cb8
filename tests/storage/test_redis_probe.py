"""Whether Redis answers, asked once, of a real Valkey."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eventhub.errors import ConfigError, UnavailableError
from eventhub.storage import redis
from tests.support.valkeys import Server


async def test_a_probe_tells_a_server_that_answers_from_one_that_refuses_and_one_that_stands_still(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    try:
        await redis.probe(server.url, timeout_s=5)
        stranger = f"redis://:hidden-word@127.0.0.1:{urlsplit(server.url).port}/0"
        with pytest.raises(ConfigError, match="refuses") as refused:
            await redis.probe(stranger, timeout_s=5)
        assert "hidden-word" not in refused.value.detail
        server.freeze()
        with pytest.raises(UnavailableError, match="does not answer"):
            await redis.probe(server.url, timeout_s=0.2)
        server.wake()
    finally:
        server.kill()
    with pytest.raises(UnavailableError, match="does not answer"):
        await redis.probe(server.url, timeout_s=5)


async def test_what_is_no_address_is_said() -> None:
    with pytest.raises(ConfigError, match=r"redis\.url"):
        await redis.probe("http://127.0.0.1:1", timeout_s=1)
