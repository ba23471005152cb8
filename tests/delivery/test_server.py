"""A real server on loopback: the handshake, the stream, and the GET routes."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from eventhub.errors import EventhubError
from eventhub.server import Listener, bind
from eventhub.web import on_error
from tests.delivery.world import World, until

PROTOCOL = [Subprotocol("eventhub.v1+json")]
AUTHORIZED = {"Authorization": "Bearer good"}


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    """The address of a started world's routes on the server that nodes have."""
    await world.start()
    app = Starlette(routes=world.delivery.routes(), exception_handlers={EventhubError: on_error})
    async with Listener(app, bind("127.0.0.1", 0, exact=True, setting="port")) as listening:
        yield listening.url.removeprefix("http://")


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client with an access token."""
    async with httpx2.AsyncClient(base_url=f"http://{url}", headers=AUTHORIZED) as client:
        yield client


def stream(url: str, **more: Any) -> connect:
    return connect(f"ws://{url}/v1/stream", subprotocols=PROTOCOL, **more)


async def frame(client: ClientConnection) -> list[dict[str, Any]]:
    text = await asyncio.wait_for(client.recv(), 10)
    assert isinstance(text, str)
    return [json.loads(line) for line in text.split("\n")]


async def test_a_client_connects_subscribes_and_follows_live(world: World, url: str) -> None:
    async with stream(url) as client:
        assert client.subprotocol == "eventhub.v1+json"
        await client.send('{"id":1,"type":"connect","token":"good"}')
        [connected] = await frame(client)
        assert (connected["id"], connected["type"], connected["node"], connected["mode"]) == (
            1, "connected", "n1", "normal",
        )  # fmt: skip
        await client.send('{"id":2,"type":"subscribe","channel":"match:m0"}\n')
        assert [m["type"] for m in await frame(client)] == ["subscribed", "state"]
        world.log.append("m0", "c:goal", player="Jürgen")
        [event] = await frame(client)
        assert (event["type"], event["cursor"], event["event"]["player"]) == ("event", "e1.0.0", "Jürgen")
    await until(lambda: world.delivery.connections == 0, "leaving")


async def test_a_token_in_the_header_stands_in_for_connect(world: World, url: str) -> None:
    async with stream(url, additional_headers=AUTHORIZED) as client:
        await client.send('{"id":2,"type":"subscribe","channel":"match:m0"}')
        assert [m["type"] for m in await frame(client)] == ["subscribed", "state"]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"subprotocols": None}, 400),
        ({"subprotocols": [Subprotocol("other")]}, 400),
        ({"subprotocols": PROTOCOL, "additional_headers": {"Authorization": "Bearer bad"}}, 401),
    ],
)
async def test_a_wrong_handshake_is_refused_with_a_problem(url: str, more: dict[str, Any], status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://{url}/v1/stream", **more):
            pass
    assert refused.value.response.status_code == status
    assert refused.value.response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("sent", "code"), [("{", 3501), (b"{}", 3501), ('{"type":"connect","token":"bad"}', 3500)])
async def test_a_fatal_error_is_told_before_the_close_that_carries_its_code(
    url: str, sent: str | bytes, code: int
) -> None:
    async with stream(url) as client:
        await client.send(sent)
        [error] = await frame(client)
        assert error["type"] == "error" and error["message"]
        with pytest.raises(ConnectionClosed):
            await frame(client)
        assert client.close_code == code


async def test_draining_closes_with_3001_and_refuses_new_clients(world: World, url: str) -> None:
    async with stream(url, additional_headers=AUTHORIZED) as client:
        await until(lambda: world.delivery.connections == 1)
        await world.delivery.drain(5)
        assert (await frame(client))[0]["type"] == "reconnect"
        with pytest.raises(ConnectionClosed):
            await frame(client)
        assert client.close_code == 3001
    with pytest.raises(InvalidStatus) as refused:
        async with stream(url):
            pass
    assert refused.value.response.status_code == 503


async def test_events_are_paged_in_log_order_with_the_bytes_of_the_log(world: World, http: httpx2.AsyncClient) -> None:
    kinds = ("n:pass", "c:goal", "n:duel", "n:pass", "c:goal", "n:pass", "n:pass")
    records = [world.log.append("m0", kind, text="€") for kind in kinds]
    world.history.store()
    await world.tailed()
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    for size in (3, 3, 1):
        more = {} if cursor is None else {"cursor": cursor}
        answer = await http.get("/v1/matches/m0/events", params={"limit": "3", **more})
        page = answer.json()
        assert len(page["items"]) == size
        first = records[len(items)]
        assert answer.content.startswith(b'{"items":[' + (first.value or b"")[:-1] + b',"cursor":"')
        items += page["items"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [item["cursor"] for item in items] == [f"e1.0.{o}" for o in range(7)]
    goals = (await http.get("/v1/matches/m0/events", params={"type": "goal"})).json()
    assert [item["event_id"] for item in goals["items"]] == ["0-1", "0-4"] and goals["next_cursor"] is None


async def test_matches_are_listed_by_status_date_and_competition(world: World, http: httpx2.AsyncClient) -> None:
    world.log.append("m1")
    world.log.state("m1", cause=0)
    await world.tailed()

    async def listed(**params: str) -> list[str]:
        return [sheet["match_id"] for sheet in (await http.get("/v1/matches", params=params)).json()["items"]]

    assert await listed() == ["m0", "m1", "m2", "m3"]
    assert await listed(status="live") == ["m1"]
    assert await listed(competition="league", date="2026-05-30", status="scheduled") == ["m3"]
    assert await listed(date="2026-05-31") == []
    sheet = (await http.get("/v1/matches/m1")).json()
    assert (sheet["status"], sheet["cursor"], sheet["stale"]) == ("live", "e1.1.0", False)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/matches/m9", 404, "unknown_match"),
        ("/v1/matches/m9/events", 404, "unknown_match"),
        ("/v1/matches?date=yesterday", 400, "malformed"),
        ("/v1/matches?status=odd", 400, "malformed"),
        ("/v1/matches/m0/events?limit=0", 400, "malformed"),
        ("/v1/matches/m0/events?limit=1001", 400, "malformed"),
        ("/v1/matches/m0/events?limit=x", 400, "malformed"),
        ("/v1/matches/m0/events?cursor=x", 400, "bad_cursor"),
        ("/v1/matches/m0/events?cursor=e1.1.4", 400, "bad_cursor"),
        ("/v1/matches/m0/events?cursor=e0.0.4", 400, "epoch_changed"),
        ("/v1/matches/m0/events?type=odd", 400, "unknown_type"),
    ],
)
async def test_a_wrong_read_is_a_problem_with_a_code(
    http: httpx2.AsyncClient, path: str, status: int, code: str
) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_every_read_needs_an_access_token(url: str) -> None:
    async with httpx2.AsyncClient(base_url=f"http://{url}") as http:
        for path in ("/v1/matches", "/v1/matches/m0", "/v1/matches/m0/events"):
            assert (await http.get(path)).status_code == 401
