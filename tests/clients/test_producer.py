"""The producer against a node that refuses, is overloaded, loses answers and goes away: in order, nothing lost."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from eventhub_client import (
    CheckpointError,
    CheckpointFile,
    GaveUpError,
    IngestError,
    LostError,
    Producer,
    Rejected,
    RejectedError,
)
from tests.cli.replay_server import Server
from tests.support.wait import until

PATIENCE_S = 10
REFUSAL = {"code": "unknown_type", "pointer": "/type", "detail": "there is no such type"}


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


def producer(server: Server, **how: Any) -> Producer:
    return Producer(server.url, "key", "broadcast", **{"backoff_s": (0.01, 0.05), **how})


async def send(made: Producer, first: int, last: int) -> None:
    for n in range(first, last):
        await made.send({"n": n})


def numbers(server: Server) -> list[int]:
    return [line["n"] for line in server.lines]


async def test_items_go_out_in_order_in_bounded_batches_and_the_checkpoint_follows(server: Server) -> None:
    noted: list[int] = []
    async with producer(server, batch_items=4, checkpoint=noted.append) as made:
        assert [await made.send({"n": n}) for n in range(10)] == list(range(10))
    assert numbers(server) == list(range(10))
    assert noted == [4, 8, 10]
    assert (made.done, made.accepted) == (10, 10)


async def test_a_batch_has_no_more_bytes_than_it_may_and_what_is_bigger_goes_alone(server: Server) -> None:
    noted: list[int] = []
    async with producer(server, batch_bytes=30, checkpoint=noted.append) as made:
        for text in ("12345", "12345", "12345", "x" * 100, "12345"):
            await made.send({"n": text})
    assert noted == [2, 3, 4, 5]


async def test_an_item_that_comes_alone_waits_for_others_no_longer_than_it_may(server: Server) -> None:
    async with producer(server, linger_s=0.01) as made:
        await made.send(b'{"n":1}')
        await until(lambda: numbers(server) == [1], "the item, which nobody flushed", PATIENCE_S)


async def test_a_provider_has_its_own_route_and_names_are_quoted(server: Server) -> None:
    async with producer(server, provider="wyscout", match_id="a b&c") as made:
        await made.send({"n": 1})
    assert server.paths == ["/v1/ingest/broadcast/wyscout"]
    with pytest.raises(ValueError, match="one line"):
        await made.send(b'{"n":\n1}')
    with pytest.raises(RuntimeError, match="async with"):
        await made.send({"n": 2})


async def test_overload_and_lost_answers_are_waited_out(server: Server) -> None:
    async def overloaded(_: Request) -> Response:
        return Response(status_code=503, headers={"Retry-After": "0.3"})

    async def limited(_: Request) -> Response:
        return Response(status_code=429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})

    async def lost(_: Request) -> Response:
        return Response(status_code=502)

    async def cut(_: Request) -> Response:
        return Response(b'{"accep', 202, {"Content-Length": "5000"})

    async def unknown_yet(_: Request) -> Response:
        return JSONResponse({"detail": "the key is unknown"}, 401)

    waits: list[tuple[str, float]] = []
    server.faults = [overloaded, limited, lost, cut, unknown_yet]

    def on_retry(error: LostError, wait_s: float) -> None:
        waits.append((str(error), wait_s))

    async with producer(server, on_retry=on_retry) as made:
        await send(made, 0, 3)
    assert server.happened == 5
    assert numbers(server) == [0, 1, 2]
    assert [re.split(r"[:(]", reason)[0] for reason, _ in waits] == [
        "503",
        "429",
        "502",
        "IncompleteRead",
        "401",
    ]
    assert waits[0][1] >= 0.3
    assert all(wait_s <= 0.05 for _, wait_s in waits[1:])


async def test_it_outlives_a_node_that_is_away(server: Server) -> None:
    waited = asyncio.Event()
    async with producer(server, on_retry=lambda *_: waited.set()) as made:
        await send(made, 0, 2)
        await made.flush()
        await server.stop()
        await send(made, 2, 4)
        await asyncio.wait_for(waited.wait(), 10)
        await server.start()
    assert numbers(server) == [0, 1, 2, 3]


async def refuse_the_second(request: Request) -> Response:
    count = len((await request.body()).split(b"\n"))
    return JSONResponse({"accepted": count - 1, "items": [], "rejected": [{"index": 1, **REFUSAL}]}, 202)


async def refuse_all(request: Request) -> Response:
    return JSONResponse({"accepted": 0, "items": [], "rejected": [{"index": 0, **REFUSAL}]}, 422)


async def test_refused_items_are_reported_with_their_numbers_before_the_checkpoint_moves(server: Server) -> None:
    seen: list[Any] = []
    server.faults = [refuse_the_second, refuse_all]
    async with producer(server, batch_items=3, done=100, on_rejected=seen.append, checkpoint=seen.append) as made:
        await send(made, 0, 3)
        await made.flush()
        await made.send({"n": 3})
    why = (REFUSAL["code"], REFUSAL["pointer"], REFUSAL["detail"])
    assert seen == [Rejected(101, *why, b'{"n": 1}'), 103, Rejected(103, *why, b'{"n": 3}'), 104]
    assert (made.done, made.accepted) == (104, 2)


async def test_a_refused_item_that_nobody_takes_stops_it_before_the_checkpoint(server: Server) -> None:
    noted: list[int] = []
    server.faults = [refuse_the_second]
    with pytest.raises(RejectedError, match=r"number 1, with unknown_type at /type: there is no such type"):
        async with producer(server, checkpoint=noted.append) as made:
            await send(made, 0, 3)
    assert noted == []


async def test_who_starts_again_goes_on_from_the_checkpoint(server: Server, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def go_on(_: Request) -> Response | None:
        return None

    async def hang(_: Request) -> Response | None:
        reached.set()
        await asyncio.Event().wait()
        return None

    note = CheckpointFile(tmp_path / "note")

    async def run() -> None:
        done = note.read()
        async with producer(server, batch_items=4, done=done, checkpoint=note.write) as made:
            await send(made, done, 10)

    server.faults = [go_on, hang]
    killed = asyncio.create_task(run())
    await asyncio.wait_for(reached.wait(), 10)
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    assert note.read() == 4
    await run()
    assert numbers(server) == list(range(10))
    assert note.read() == 10


def test_a_broken_checkpoint_is_told(tmp_path: Path) -> None:
    note = CheckpointFile(tmp_path / "note")
    assert note.read() == 0
    for text in ("no json", '{"other": 1}', '{"done": -1}'):
        (tmp_path / "note").write_text(text)
        with pytest.raises(CheckpointError, match="remove it"):
            note.read()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, {"code": "forbidden", "detail": "not with this key"}, "403 forbidden: not with this key"),
        (413, {"code": "too_large", "detail": "too much"}, "413 too_large: too much"),
        (422, {"code": "malformed", "detail": "no"}, "422 malformed: no"),
        (200, "hello", "is this an eventhub node"),
    ],
)
async def test_a_request_that_is_refused_for_good_ends_it(server: Server, status: int, body: Any, told: str) -> None:
    async def refuse(_: Request) -> Response:
        return Response(body, status) if isinstance(body, str) else JSONResponse(body, status)

    server.faults = [refuse]
    with pytest.raises(IngestError, match=told):
        async with producer(server) as made:
            await made.send({"n": 1})
    assert server.happened == 1


async def test_it_gives_up_when_it_is_told_to(server: Server) -> None:
    async def overloaded(_: Request) -> Response:
        return Response(status_code=503)

    server.faults = [overloaded] * 1000
    with pytest.raises(GaveUpError, match=r"accepted nothing for 0\.2 s"):
        async with producer(server, give_up_after_s=0.2) as made:
            await made.send({"n": 1})


async def test_send_waits_while_too_much_is_on_its_way(server: Server) -> None:
    free = asyncio.Event()

    async def wait(_: Request) -> Response | None:
        await free.wait()
        return None

    server.faults = [wait]
    async with producer(server, waiting_items=3) as made:
        sending = asyncio.create_task(send(made, 0, 5))
        await until(lambda: made.waiting == 3, "three items to wait", PATIENCE_S)
        done, _ = await asyncio.wait([sending], timeout=0.1)
        assert not done
        free.set()
        await sending
    assert json.dumps(numbers(server)) == "[0, 1, 2, 3, 4]"


def test_an_address_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="http://localhost:8000"):
        Producer("localhost:8000", "key", "broadcast")
