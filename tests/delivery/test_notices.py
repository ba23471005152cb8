"""Notices: on entering and leaving, to whoever has connected, with the whole state each time."""

from datetime import UTC, datetime

from tests.delivery.world import World, until

SINCE = datetime(2026, 7, 1, 19, tzinfo=UTC)


async def test_entering_and_leaving_is_told_to_every_client_once(world: World) -> None:
    await world.start()
    one, two, stranger = world.client(), world.client(), world.client(token=None)
    notices = world.delivery.notices
    notices.enter("postgres", ("postgres",), SINCE, "no answer")
    notices.enter("postgres", ("postgres",), SINCE, "no answer")
    notices.leave("postgres", SINCE, "it answers")
    notices.leave("postgres", SINCE, "it answers")
    for client in (one, two):
        await until(lambda client=client: len(client.of_type("notice")) == 2, "both notices")  # type: ignore[misc]
        lost, back = client.of_type("notice")
        assert (lost["mode"], lost["affected"], lost["reason"]) == ("degraded", ["postgres"], "no answer")
        assert lost["since"] == "2026-07-01T19:00:00Z"
        assert (back["mode"], back["affected"], back["reason"]) == ("normal", [], "it answers")
    assert stranger.messages == []


async def test_read_only_stands_before_a_loss_and_both_are_named(world: World) -> None:
    await world.start()
    notices = world.delivery.notices
    notices.enter("kafka", ("kafka",), SINCE, "no answer")
    notices.enter("mode", ("writes",), SINCE, "upgrade")
    client = world.client()
    await until(lambda: bool(client.of_type("notice")), "the standing notice")
    # In the frame of the answer, so that no client acts on `connected` before it knows.
    assert [m["type"] for m in client.frames[0]] == ["connected", "notice"]
    connected, standing = client.frames[0]
    assert connected["mode"] == standing["mode"] == "read_only"
    assert (standing["affected"], standing["reason"]) == (["kafka", "writes"], "no answer; upgrade")
    notices.leave("mode", SINCE, "writes again")
    await until(lambda: len(client.of_type("notice")) == 2, "the change")
    assert (client.of_type("notice")[1]["mode"], client.of_type("notice")[1]["affected"]) == ("degraded", ["kafka"])
