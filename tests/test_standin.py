"""What a node says while it starts: to come again soon, to whoever asks and however."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from eventhub.standin import Front


async def answer(scope: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """The status and the headers with which a port that is starting answers."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    more = {"path": "/v1/stream", "query_string": b"", "headers": [], "root_path": ""}
    await Front()({**more, **scope}, receive, send)
    start = sent[0]
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "http", "method": "GET"},
        {"type": "websocket", "subprotocols": [], "extensions": {"websocket.http.response": {}}},
    ],
    ids=["http", "websocket"],
)
async def test_it_is_503_with_a_time_to_come_again(scope: dict[str, Any]) -> None:
    status, headers = await answer(scope)
    assert (status, headers["retry-after"]) == (503, "1")
