"""Translations go to those who asked for their language, wherever they come from; the original goes to everybody."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from eventhub import record, topics
from eventhub.delivery.hub import MAX_VIEWS
from eventhub.delivery.view import View, view_of
from eventhub.errors import MalformedError
from tests.delivery.test_revisions import in_history, live, on_the_log
from tests.delivery.world import World, until

POST, GERMAN, SWISS, SPANISH, END = (f"0-{n}" for n in range(5))


async def heard(world: World, hide: Callable[[World], None], **view: Any) -> list[str]:
    """A post, its translations into three languages and a goal: what a client with this view gets."""
    await world.start()
    client = world.client()
    if hide is live:
        client.subscribe("match:m0", **view)
    world.log.append("m0", "n:post")
    for language in ("de", "de-CH", "es"):
        world.log.append("m0", f"n:translation/{language}", of=POST, payload={"lang": language, "text": "…"})
    world.log.append("m0", "c:goal")
    await world.tailed()
    if hide is not live:
        hide(world)
        client.subscribe("match:m0", from_="start", **view)
    await until(lambda: END in client.ids, "the goal")
    return client.ids


WANTED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, [POST, END]),
    ({"languages": ["de"]}, [POST, GERMAN, SWISS, END]),
    ({"languages": ["DE-ch", "es"]}, [POST, SWISS, SPANISH, END]),
    ({"languages": ["*"], "types": ["translation", "goal"]}, [GERMAN, SWISS, SPANISH, END]),
    ({"languages": ["fr"]}, [POST, END]),
]


@pytest.mark.parametrize("hide", [live, in_history, on_the_log])
@pytest.mark.parametrize(("view", "due"), WANTED)
async def test_translations_go_to_those_who_asked(
    world: World, hide: Callable[[World], None], view: dict[str, Any], due: list[str]
) -> None:
    assert await heard(world, hide, **view) == due


@pytest.mark.parametrize("hide", [live, in_history, on_the_log])
async def test_mutant_translations_for_everybody(
    world: World, hide: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(View, "_speaks", lambda self, language: True)
    assert await heard(world, hide) == [POST, GERMAN, SWISS, SPANISH, END]


@pytest.mark.parametrize("language", ["", "d", "deutsch and more", "de_CH", "ä"])
def test_what_is_no_language_is_refused(language: str) -> None:
    with pytest.raises(MalformedError, match="BCP 47"):
        view_of([], [], [language])


async def test_the_wider_view_of_who_asked_for_a_language_has_it(world: World) -> None:
    await world.start()
    for number in range(MAX_VIEWS):
        world.client().subscribe("match:m0", languages=[f"x{chr(97 + number // 26)}{chr(97 + number % 26)}"])
    wide, plain = world.client(), world.client()
    wide.subscribe("match:m0", languages=["de"])
    plain.subscribe("match:m0", lanes=["critical"])
    views = [client.of_type("subscribed")[0]["view"] for client in (wide, plain)]
    assert [view["languages"] for view in views] == [["*"], []]
    world.log.append("m0", "n:translation/de")
    world.log.append("m0", "c:goal")
    await until(lambda: "0-1" in plain.ids, "the goal")
    assert (wide.ids, plain.ids) == (["0-0", "0-1"], ["0-1"])


async def test_a_page_of_history_has_every_language(world: World) -> None:
    await heard(world, live)
    transport = httpx2.ASGITransport(app=Starlette(routes=world.delivery.routes()))
    headers = {"Authorization": "Bearer good"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://node", headers=headers) as http:
        page = (await http.get("/v1/matches/m0/events", params={"type": "translation"})).json()
    assert [event["event_id"] for event in page["items"]] == [GERMAN, SWISS, SPANISH]


def test_the_language_is_no_part_of_the_type() -> None:
    vector = record.pack_vector(0, [0] * len(topics.RAW), record.pack_incarnations(["0" * 8] * len(topics.RAW)))
    packed = vector + record.pack_tags(b"i" * 16, b"f" * 8, b"n:translation/de")
    assert record.kind(packed) == b"n:translation"
    assert record.log_tags(packed).kind == b"n:translation/de"
