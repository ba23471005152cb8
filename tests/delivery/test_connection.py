"""What a client is told: subscribing, resuming, errors, slow clients, heartbeats, draining."""

from dataclasses import replace

from eventhub.delivery import Limits
from tests.delivery.conftest import MakeWorld
from tests.delivery.memory import match
from tests.delivery.world import SMALL, World, until


async def test_the_answer_to_a_subscribe_shares_its_frame_with_the_state(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    await until(lambda: len(client.frames) == 2)
    assert [m["type"] for m in client.frames[1]] == ["subscribed", "state"]
    answer = client.frames[1][0]
    assert (answer["id"], answer["channel"], answer["cursor"], answer["recovered"]) == (2, "match:m0", "e1.0.-1", False)


async def test_the_answer_to_a_resume_shares_its_frame_with_the_first_page_from_history(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, ring_bytes=500))
    for _ in range(20):
        world.log.append("m0")
    world.history.store()
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.4")
    await until(lambda: len(client.ids) == 15)
    assert [m["type"] for m in client.frames[1]] == ["subscribed", "event", "event", "event", "event"]
    assert client.frames[1][0]["recovered"] is True
    assert world.history.pages >= 4


async def test_a_resume_with_nothing_new_is_answered_alone(world: World) -> None:
    world.log.append("m0")
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.0")
    await until(lambda: client.of_type("subscribed") != [])
    assert len(client.frames[1]) == 1


async def test_what_history_has_not_stored_and_the_ring_has_lost_is_read_from_the_log(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, ring_bytes=1500))
    for _ in range(10):
        world.log.append("m0")
    world.history.store()
    for _ in range(20):
        world.log.append("m0")
    await world.start()
    client = world.client()
    client.subscribe("match:m0", from_="start")
    await until(lambda: len(client.ids) == 30)
    assert client.ids == [f"0-{o}" for o in range(30)]
    assert world.history.pages > 0 and world.log.reads > 0


async def test_with_history_down_the_log_alone_serves_a_resume(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, ring_bytes=500))
    for _ in range(12):
        world.log.append("m0")
    world.history.down = True
    await world.start()
    client = world.client()
    client.subscribe("match:m0", from_="start")
    await until(lambda: len(client.ids) == 12)
    assert client.ids == [f"0-{o}" for o in range(12)]


async def test_with_history_and_log_down_the_client_is_told_to_try_again(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, ring_bytes=500))
    for _ in range(12):
        world.log.append("m0")
    await world.start()
    world.history.down = world.log.down = True
    client = world.client()
    client.subscribe("match:m0", from_="start")
    await until(lambda: client.of_type("error") != [])
    error = client.of_type("error")[0]
    assert (error["id"], error["code"], error["channel"]) == (2, "unavailable", "match:m0")
    assert error["retry_after_ms"] > 0 and client.closed is None
    world.history.down = world.log.down = False
    client.subscribe("match:m0", from_="start")
    await until(lambda: len(client.ids) == 12)


async def test_a_cursor_of_another_epoch_gets_a_reset_with_the_state_and_what_follows_it(world: World) -> None:
    world.log.append("m0")
    world.log.state("m0", cause=0)
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e0.0.400")
    await until(lambda: client.ids == ["0-1"])
    assert [m["type"] for m in client.frames[1]] == ["subscribed", "reset", "event"]
    assert client.frames[1][0]["recovered"] is False
    reset = client.of_type("reset")[0]
    assert (reset["reason"], reset["cursor"], reset["state"]["match_id"]) == ("epoch_changed", "e1.0.0", "m0")


async def test_a_cursor_ahead_of_the_log_gets_a_reset(world: World) -> None:
    world.log.append("m0")
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.1")
    await until(lambda: client.of_type("reset") != [])
    assert client.of_type("reset")[0]["reason"] == "ahead_of_log"
    assert client.ids == ["0-0"]


async def test_a_cursor_ahead_of_this_nodes_tail_waits_and_nothing_comes_twice(world: World) -> None:
    world.log.append("m0")
    await world.start()
    world.log.hidden = {0: 3, 1: 0}
    for _ in range(3):
        world.log.append("m0")
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.2")
    await until(lambda: client.of_type("subscribed") != [])
    assert client.ids == [] and client.of_type("reset") == []
    world.log.show()
    await until(lambda: client.ids != [])
    world.log.append("m0")
    await until(lambda: len(client.ids) == 2)
    assert client.ids == ["0-3", "0-4"]


async def test_what_neither_history_nor_log_has_gets_a_reset(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, ring_bytes=700))
    for _ in range(12):
        world.log.append("m0")
    world.log.state("m0", cause=11)
    world.log.first[0] = 6
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="e1.0.2")
    await until(lambda: client.ids == ["0-12"])
    assert [m["type"] for m in client.frames[1]] == ["subscribed", "reset", "event"]
    assert client.of_type("reset")[0]["reason"] == "gone"


async def test_a_match_declared_later_joins_its_team_channel_from_its_first_event(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("team:t3")
    world.registry["m4"] = match("m4", "t3", "t9")
    world.log.append("m4", "c:goal")
    await until(lambda: client.ids == ["0-0"])
    assert client.of_type("subscribed")[0]["cursor"] == "e1.1.-1"
    assert client.of_type("event")[0]["cursor"] == "e1.0.0,1.-1"


async def test_unsubscribed_channels_are_silent_and_may_be_subscribed_again(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    client.say(id=3, type="unsubscribe", channel="match:m0")
    world.log.append("m0", "c:goal")
    await world.tailed()
    client.subscribe("match:m0", cursor="e1.0.-1")
    await until(lambda: client.ids == ["0-0"])
    assert client.of_type("unsubscribed")[0]["id"] == 3


async def test_several_channels_at_once_are_answered_each(world: World) -> None:
    await world.start()
    client = world.client()
    wanted = [{"channel": "match:m0"}, {"channel": "match:m9"}, {"channel": "match:m1", "cursor": "e1.1.-1"}]
    client.say(id=2, type="subscribe", channels=wanted)
    await until(lambda: len(client.frames) == 4)
    answers = [(m["id"], m["type"], m["channel"]) for m in (frame[0] for frame in client.frames[1:])]
    # What is not known here is asked for first, and holds up nobody.
    assert sorted(answers) == [
        (2, "error", "match:m9"),
        (2, "subscribed", "match:m0"),
        (2, "subscribed", "match:m1"),
    ]


async def test_errors_name_their_code_and_keep_the_connection(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:m0", cursor="nonsense")
    client.subscribe("match:m0", cursor="e1.1.4")
    client.subscribe("match:m0", types=["no_such_type"])
    client.say(id=2, type="dance")
    client.say(id=2, type="subscribe")
    client.say(id=2, type="refresh", token="bad")
    client.subscribe("match:m0")
    client.subscribe("match:m0")
    await until(lambda: len(client.of_type("error")) == 7)
    codes = ["bad_cursor", "bad_cursor", "malformed", "malformed", "malformed", "unauthorized", "already_subscribed"]
    assert [e["code"] for e in client.of_type("error")] == codes
    assert all(e["id"] == 2 for e in client.of_type("error")) and client.closed is None


async def test_an_eleventh_team_is_over_the_limit(world: World) -> None:
    for number in range(11):
        world.registry[f"m1{number}"] = match(f"m1{number}", f"x{number}", "t2")
    await world.start()
    client = world.client()
    for number in range(11):
        client.subscribe(f"team:x{number}")
    await until(lambda: client.of_type("error") != [])
    assert len(client.of_type("subscribed")) == 10 and client.of_type("error")[0]["code"] == "limit"


async def test_a_client_that_is_not_authorized_is_closed_for_good(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, auth_deadline_s=0.01))
    await world.start()
    bad, early, silent, noise = (world.client(token) for token in ("bad", None, None, "good"))
    early.subscribe("match:m0")
    noise.connection.handle("not json")
    clients = (bad, early, silent, noise)
    await until(lambda: all(client.closed for client in clients))
    assert [client.closed for client in clients] == [(3500, "unauthorized")] * 3 + [(3501, "malformed")]
    assert all(client.of_type("error") for client in clients)


async def test_a_message_beyond_64_kib_closes_the_connection(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:" + "x" * 65_536)
    await until(lambda: client.closed is not None)
    assert client.closed == (3502, "too_large")


async def test_a_refreshed_token_must_name_the_same_user(world: World) -> None:
    await world.start()
    client = world.client("good-1")
    client.say(id=3, type="refresh", token="good-2")
    client.say(id=4, type="refresh", token="good-1")
    await until(lambda: client.of_type("refreshed") != [])
    assert client.of_type("error")[0]["code"] == "forbidden" and client.of_type("refreshed")[0]["id"] == 4


async def test_heartbeats_carry_cursors_up_to_which_everything_was_sent(make_world: MakeWorld) -> None:
    world = make_world(replace(SMALL, ping_s=0.02))
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    client.subscribe("team:t1")
    for _ in range(10):
        world.log.append("m0")
        world.log.append("m1")
        world.log.append("m3")
        beats = len(client.of_type("heartbeat"))
        await until(lambda beats=beats: len(client.of_type("heartbeat")) > beats)  # type: ignore[misc]
    await until(lambda: client.messages[-1].get("cursors") == {"match:m0": "e1.0.9", "team:t1": "e1.0.9,1.19"})
    sent: list[int] = []
    for message in client.messages:
        if message["type"] == "event" and message["channel"] == "match:m0":
            sent.append(int(message["event"]["event_id"][2:]))
        if message["type"] == "heartbeat" and "match:m0" in message["cursors"]:
            assert int(message["cursors"]["match:m0"].split(".")[2]) == len(sent) - 1


async def test_a_client_that_resumes_slowly_is_never_sent_more_than_its_bound(make_world: MakeWorld) -> None:
    world = make_world(Limits(window_s=0.001, queue_bytes=4000, ring_bytes=1000, page_events=5))
    for _ in range(300):
        world.log.append("m0")
    world.history.store()
    await world.start()
    client = world.client()
    client.stall()
    client.subscribe("match:m0", from_="start")
    while len(client.ids) < 300:
        await until(lambda: not client.connection.outbox.direct)
        assert client.connection.outbox.queued_bytes <= 4000
        client.take()
        client.stalled = True
    assert client.ids == [f"0-{o}" for o in range(300)] and client.closed is None


async def test_draining_sends_clients_away_with_cursors_that_lose_nothing(world: World) -> None:
    await world.start()
    client = world.client()
    client.subscribe("match:m0")
    world.log.append("m0")
    await until(lambda: client.ids == ["0-0"])
    await world.delivery.drain(0.02)
    await until(lambda: client.closed is not None)
    assert client.closed == (3001, "draining") and not world.delivery.ready
    assert client.of_type("reconnect")[0]["cursors"] == {"match:m0": "e1.0.0"}
