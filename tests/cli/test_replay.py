"""`feed replay` against a server that refuses, is overloaded, loses answers and restarts: in order, nothing lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from eventhub.cli.replay import (
    Checkpoint,
    Replay,
    Summary,
    Target,
    starts_at,
    steps,
)
from eventhub.errors import ForbiddenError, NotFoundError, RejectedError, UnavailableError
from eventhub.events import Source
from eventhub.ingest.adapters import Feed
from eventhub.tasks import end
from tests.cli.replay_server import Server

NOW = datetime(2026, 7, 1, 18, tzinfo=UTC)
FEED = Feed(
    declaration={"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}},
    records=[
        *(("first_half", float(s), b'{"n":%d}' % s) for s in range(0, 2800, 2)),
        *(("second_half", float(s), b'{"n":%d}' % (s + 10_000)) for s in range(2700, 5500, 2)),
    ],
    periods=[("first_half", 0.0, 2798.0), ("second_half", 2700.0, 5498.0)],
)
FRAMES = Feed(FEED.declaration, [("first_half", n / 20, b'{"n":%d}' % n) for n in range(195)])
POSTS = Feed({}, [("", at_s, b'{"n":%d}' % at_s) for at_s in (30.0, 40.0, 20.0, 50.0)])


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


def target(source: Source, url: str = "") -> Target:
    return Target(url, "some", source, "m1", "key", "admin")


def started(feed: Feed, source: Source, speed: float) -> datetime:
    """When a match begins that nobody declared."""
    return starts_at(steps(feed, target(source), NOW), NOW, speed)


async def replay(
    server: Server,
    checkpoint: Path,
    *,
    feed: Feed = FEED,
    source: Source = "broadcast",
    give_up_after_s: float = 30,
    speed: float = 1e9,
) -> Summary:
    to = target(source, server.url)
    async with httpx2.AsyncClient(timeout=5) as http:
        sender = Replay(
            http,
            to,
            speed=speed,
            give_up_after_s=give_up_after_s,
            progress=lambda *_: None,
            say=lambda _: None,
        )
        start = await sender.declare(feed, NOW)
        return await sender.send(steps(feed, to, start), Checkpoint(checkpoint, feed), dated=feed.dated)


def names(lines: list[dict[str, Any]]) -> list[Any]:
    return [line.get("n", line.get("type")) for line in lines]


WHOLE = [
    "period_start",
    *range(0, 2800, 2),
    "period_end",
    "period_start",
    *range(12700, 15500, 2),
    "period_end",
    "match_end",
]


async def test_everything_is_sent_in_order_between_the_periods_own_events(server: Server, tmp_path: Path) -> None:
    summary = await replay(server, tmp_path / "note")
    assert names(server.lines) == WHOLE
    assert summary == Summary(len(WHOLE), 0, [])
    assert server.declared is not None
    assert datetime.fromisoformat(server.declared["starts_at"]) == started(FEED, "broadcast", 1e9)
    assert set(server.paths) == {"/v1/ingest/broadcast", "/v1/ingest/broadcast/some"}


async def test_overload_and_limits_are_waited_out(server: Server, tmp_path: Path) -> None:
    async def overloaded(_: Request) -> Response:
        return Response(status_code=503)

    async def limited(_: Request) -> Response:
        return Response(status_code=429, headers={"Retry-After": "0"})

    server.faults = [overloaded, limited, overloaded]
    await replay(server, tmp_path / "note")
    assert server.happened == 3
    assert names(server.lines) == WHOLE


async def test_an_answer_that_is_lost_means_sending_again(server: Server, tmp_path: Path) -> None:
    async def lose_the_answer(request: Request) -> Response:
        server.lines += [json.loads(line) for line in (await request.body()).split(b"\n")]
        return Response(status_code=502)

    server.faults = [lose_the_answer]
    await replay(server, tmp_path / "note")
    assert server.happened == 1
    assert names(server.lines) == ["period_start", *WHOLE]


async def test_it_outlives_a_restart_of_the_node(server: Server, tmp_path: Path) -> None:
    async def restart(_: Request) -> Response:
        restarting.append(asyncio.create_task(again()))
        return Response(status_code=503)

    async def again() -> None:
        await server.stop()
        await server.start()

    restarting: list[asyncio.Task[None]] = []
    server.faults = [restart]
    await replay(server, tmp_path / "note")
    await restarting[0]
    assert names(server.lines) == WHOLE


async def test_a_killed_replay_resumes_behind_the_last_acknowledged_batch(server: Server, tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def hang(_: Request) -> Response | None:
        reached.set()
        await asyncio.Event().wait()
        return None

    async def go_on(_: Request) -> Response | None:
        return None

    server.faults = [go_on, go_on, hang]
    killed = asyncio.create_task(replay(server, tmp_path / "note"))
    await asyncio.wait_for(reached.wait(), 10)
    await end(killed)
    before = len(server.lines)
    assert 0 < before < len(WHOLE)
    server.faults = []
    await replay(server, tmp_path / "note")
    assert names(server.lines) == WHOLE
    done = await replay(server, tmp_path / "note")
    assert done == Summary(0, 0, [])
    assert names(server.lines) == WHOLE


async def test_a_declared_match_keeps_its_start(server: Server, tmp_path: Path) -> None:
    server.declared = {"starts_at": "2026-06-30T12:00:00Z"}
    await replay(server, tmp_path / "note")
    assert server.lines[0]["occurred_at"] == "2026-06-30T12:00:00+00:00"


async def test_refused_items_are_counted_and_the_rest_is_sent(server: Server, tmp_path: Path) -> None:
    async def refuse_one(_: Request) -> Response:
        refusal = {"index": 0, "code": "unmapped", "pointer": "/subEventId", "detail": "no"}
        return JSONResponse({"accepted": 0, "items": [], "rejected": [refusal]}, 422)

    server.faults = [refuse_one]
    summary = await replay(server, tmp_path / "note")
    assert summary.rejected == 1
    assert summary.refusals[0]["code"] == "unmapped"
    assert names(server.lines) == WHOLE[1:]


async def test_a_key_that_the_node_does_not_know_yet_is_waited_for(server: Server, tmp_path: Path) -> None:
    async def unknown(_: Request) -> Response:
        return JSONResponse({"detail": "the key is unknown"}, 401)

    async def a_date(_: Request) -> Response:
        return Response(status_code=503, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})

    server.faults = [unknown, a_date]
    await replay(server, tmp_path / "note")
    assert server.happened == 2
    assert names(server.lines) == WHOLE


async def test_an_answer_that_is_cut_in_the_middle_means_sending_again(server: Server, tmp_path: Path) -> None:
    async def cut(request: Request) -> Response:
        server.lines += [json.loads(line) for line in (await request.body()).split(b"\n")]
        return Response(b'{"accep', 202, {"Content-Length": "5000"})

    server.faults = [cut]
    await replay(server, tmp_path / "note")
    assert server.happened == 1
    assert names(server.lines) == ["period_start", *WHOLE]


async def test_a_checkpoint_of_another_file_is_refused(server: Server, tmp_path: Path) -> None:
    Checkpoint(tmp_path / "note", Feed({}, [("first_half", 0.0, b"{}")], [])).write(10, 0)
    with pytest.raises(RejectedError, match="another file"):
        await replay(server, tmp_path / "note")


async def test_a_wrong_key_ends_it_at_once(server: Server, tmp_path: Path) -> None:
    async def forbid(_: Request) -> Response:
        return JSONResponse({"detail": "not with this key"}, 403)

    server.faults = [forbid]
    with pytest.raises(ForbiddenError, match="not with this key"):
        await replay(server, tmp_path / "note")


async def test_it_gives_up_with_the_way_to_resume(server: Server, tmp_path: Path) -> None:
    async def overloaded(_: Request) -> Response:
        return Response(status_code=503)

    server.faults = [overloaded] * 100
    with pytest.raises(UnavailableError, match="run the same command again to resume"):
        await replay(server, tmp_path / "note", give_up_after_s=0.5)


async def test_a_feed_without_periods_is_its_records_alone_in_match_time(server: Server, tmp_path: Path) -> None:
    server.declared = {"starts_at": NOW.isoformat()}
    await replay(server, tmp_path / "posts", feed=POSTS, source="social")
    assert names(server.lines) == [20, 30, 40, 50]
    assert set(server.paths) == {"/v1/ingest/social/some"}


async def test_periods_of_another_source_than_broadcast_are_not_sent(server: Server, tmp_path: Path) -> None:
    feed = Feed(FRAMES.declaration, FRAMES.records, periods=[("first_half", 0.0, 10.0)])
    await replay(server, tmp_path / "frames", feed=feed, source="sensors")
    assert names(server.lines) == list(range(195))
    assert set(server.paths) == {"/v1/ingest/sensors/some"}


async def test_a_file_that_does_not_say_who_plays_needs_a_declared_match(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="PUT /v1/matches"):
        await replay(server, tmp_path / "note", feed=POSTS, source="social")
    assert server.lines == []


def outside(count: int, code: str) -> JSONResponse:
    refusals = [
        {"index": n, "code": code, "pointer": "/occurred_at", "detail": "it was long ago"} for n in range(count)
    ]
    return JSONResponse({"accepted": 0, "items": [], "rejected": refusals}, 422)


@pytest.mark.parametrize("code", ["too_late", "too_early"])
async def test_a_batch_that_is_outside_the_window_altogether_ends_it(server: Server, tmp_path: Path, code: str) -> None:
    async def refuse(request: Request) -> Response:
        return outside(len((await request.body()).split(b"\n")), code)

    server.faults = [refuse] * 10
    with pytest.raises(RejectedError, match="it was long ago"):
        await replay(server, tmp_path / "note", feed=FRAMES, source="sensors")
    assert server.happened == 1
    assert Checkpoint(tmp_path / "note", FRAMES).read() == (0, 0)


async def test_posts_with_dates_of_their_own_are_sent_to_the_end_and_refusals_counted(
    server: Server, tmp_path: Path
) -> None:
    async def refuse(request: Request) -> Response:
        return outside(len((await request.body()).split(b"\n")), "too_late")

    server.declared = {"starts_at": NOW.isoformat()}
    server.faults = [refuse] * 10
    summary = await replay(server, tmp_path / "note", feed=Feed({}, POSTS.records, dated=True), source="social")
    assert (summary.accepted, summary.rejected) == (0, 4)
