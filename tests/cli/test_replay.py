"""`feed replay` against a server that refuses, is overloaded, loses answers and restarts: in order, nothing lost."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventhub.cli.replay import Checkpoint, Replay, Summary, Target, starts_at, steps
from eventhub.errors import ForbiddenError, RejectedError, UnavailableError
from eventhub.ingest.adapters import Feed
from eventhub.server import bind
from tests.support.wait import until

NOW = datetime(2026, 7, 1, 18, tzinfo=UTC)
FEED = Feed(
    declaration={"home": {"id": "h", "name": "H"}, "away": {"id": "a", "name": "A"}},
    records=[
        *(("first_half", float(s), b'{"n":%d}' % s) for s in range(0, 2800, 2)),
        *(("second_half", float(s), b'{"n":%d}' % (s + 10_000)) for s in range(2700, 5500, 2)),
    ],
    periods=[("first_half", 0.0, 2798.0), ("second_half", 2700.0, 5498.0)],
)
Fault = Callable[[Request], Awaitable[Response | None]]


class Server:
    """Takes what a node takes, and does as each fault says, once."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.faults: list[Fault] = []
        self.happened = 0
        self.declared: dict[str, Any] | None = None
        self.url = ""
        self._socket = bind("127.0.0.1", 0, exact=True, setting="port")
        self._server: Any = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._socket.fileno() < 0:
            port = int(self.url.rpartition(":")[2])
            self._socket = bind("127.0.0.1", port, exact=True, setting="port")
        app = Starlette(
            routes=[
                Route("/v1/matches/{match_id}", self._put, methods=["PUT"]),
                Route("/v1/ingest/{rest:path}", self._post, methods=["POST"]),
            ]
        )
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        self._server.capture_signals = _no_signals
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        await until(lambda: self._server.started, "the server to start")

    async def stop(self) -> None:
        self._server.should_exit = True
        assert self._task is not None
        await self._task
        self._socket.close()

    async def _put(self, request: Request) -> Response:
        assert request.headers["if-none-match"] == "*"
        if self.declared is not None:
            return JSONResponse({"code": "exists", "match": self.declared}, 412)
        self.declared = await request.json()
        return JSONResponse(self.declared, 201)

    async def _post(self, request: Request) -> Response:
        lines = [json.loads(line) for line in (await request.body()).split(b"\n")]
        if self.faults:
            answer = await self.faults.pop(0)(request)
            self.happened += 1
            if answer is not None:
                return answer
        self.lines += lines
        return JSONResponse({"accepted": len(lines), "items": [], "rejected": []}, 202)


class _no_signals:  # noqa: N801
    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        return


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    await made.start()
    yield made
    await made.stop()


async def replay(server: Server, checkpoint: Path, *, give_up_after_s: float = 30, speed: float = 1e9) -> Summary:
    target = Target(server.url, "wyscout", "m1", "key", "admin")
    async with httpx2.AsyncClient(timeout=5) as http:
        sender = Replay(
            http,
            target,
            speed=speed,
            give_up_after_s=give_up_after_s,
            progress=lambda *_: None,
            say=lambda _: None,
        )
        start = await sender.declare(FEED, NOW)
        return await sender.send(steps(FEED, "m1", start), Checkpoint(checkpoint, FEED))


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
    assert datetime.fromisoformat(server.declared["starts_at"]) == starts_at(NOW, 1e9)


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
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
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


@pytest.mark.parametrize(("speed", "hours_ago"), [(1, 0), (2, 1.5), (1e9, 3)])
def test_nothing_that_is_replayed_lies_ahead_of_the_clock(speed: float, hours_ago: float) -> None:
    start = starts_at(NOW, speed)
    assert (NOW - start).total_seconds() == pytest.approx(hours_ago * 3600, abs=1)
    for elapsed_s in range(0, 3 * 3600, 600):
        occurred = start.timestamp() + elapsed_s
        assert occurred <= NOW.timestamp() + elapsed_s / speed + 1e-3
