"""The table: what the node does, what the client must hand out, and what it must ask for on each connection."""

from typing import NamedTuple

from clients.conformance.steps import (
    ANSWER,
    MATCH,
    Close,
    Connection,
    Cut,
    Heard,
    Json,
    Left,
    connection,
    cursor,
    end,
    error,
    event,
    frame,
    half,
    heartbeat,
    notice,
    reconnect,
    reset,
    skipped,
    state,
    subscribed,
)

OTHER = "match:other"
START: Json = {"channel": MATCH, "from": "start"}


def behind(place: int) -> Json:
    """How a client asks for what follows a place."""
    return {"channel": MATCH, "cursor": cursor(place)}


class Scenario(NamedTuple):
    """`received` is what the driver says that it was given, in short; `asked` what each subscribe asked for.

    `apart_ms`: the second thing asked for comes no sooner after the first. `life_s`: how long the tokens live that the
    driver's provider gives, one after the other.
    """

    name: str
    why: str
    connections: tuple[Connection, ...]
    received: tuple[str, ...]
    asked: tuple[list[Json], ...]
    subscribe: tuple[Json, ...] = (START,)
    apart_ms: int = 0
    life_s: float | None = None
    view: Json = {}
    """The lanes, types and languages that the program wants, which each subscribe must ask for."""


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "answer and state share a frame",
        "a frame is lines: who parses it as one message fails at once",
        (connection(frame(subscribed(4, recovered=False), state(4)), frame(event(5, "e5"), event(6, "e6"), end())),),
        ("state @4", "event e5 @5", "event e6 @6", "event end @99"),
        ([{"channel": MATCH}],),
        subscribe=({"channel": MATCH},),
    ),
    Scenario(
        "what is unknown is ignored",
        "messages and fields may be added",
        (
            connection(
                frame(subscribed(), {"type": "weather", "channel": MATCH, "cursor": cursor(50)}, {"type": "new"}),
                frame({**event(1, "e1"), "more": {"a": 1}}, event(2, "o", OTHER), end()),
            ),
        ),
        ("event e1 @1", "event end @99"),
        ([START],),
    ),
    Scenario(
        "what comes before the answer",
        "it was on its way when the program left the channel, and has come back since: it is not of this subscription",
        (
            connection(frame(event(7, "e7"), state(8), subscribed(), event(1, "e1")), Cut()),
            connection(frame(subscribed(1), end())),
        ),
        ("event e1 @1", "event end @99"),
        ([START], [behind(1)]),
    ),
    Scenario(
        "cut in the middle of a frame",
        "half a frame is nothing: the resume begins behind the last whole one",
        (
            connection(frame(subscribed(), event(1, "e1")), half(event(2, "e2"), event(3, "e3"))),
            connection(frame(subscribed(1), event(2, "e2")), frame(event(3, "e3"), end())),
        ),
        ("event e1 @1", "event e2 @2", "event e3 @3", "event end @99"),
        ([START], [behind(1)]),
    ),
    Scenario(
        "a view over a cut",
        "what a program does not want does not come because its connection was lost",
        (connection(frame(subscribed(), event(1, "e1")), Cut()), connection(frame(subscribed(1), end()))),
        ("event e1 @1", "event end @99"),
        ([START], [behind(1)]),
        view={"lanes": ["critical", "normal"], "types": ["goal", "translation"], "languages": ["de"]},
    ),
    Scenario(
        "closed with 3001",
        "from 3000 to 3499: come back",
        (
            connection(frame(subscribed(), event(1, "e1")), Close(3001, "unavailable")),
            connection(frame(subscribed(1), end())),
        ),
        ("event e1 @1", "event end @99"),
        ([START], [behind(1)]),
    ),
    Scenario(
        "closed with 3500",
        "from 3500 to 3999: do not come back, and say so",
        (connection(frame(subscribed(), event(1, "e1")), Close(3500, "unauthorized")),),
        ("event e1 @1", "closed 3500"),
        ([START],),
    ),
    Scenario(
        "asked to reconnect",
        "not before `in_ms`, and behind the cursors that came with it",
        (
            connection(frame(subscribed(), event(1, "e1")), frame(reconnect(600, 7)), Left()),
            connection(frame(subscribed(7), end())),
        ),
        ("event e1 @1", "event end @99"),
        ([START], [behind(7)]),
        apart_ms=600,
    ),
    Scenario(
        "sent away by a limit",
        "the wait that an error names holds for the next connection",
        (
            connection(frame(subscribed(), event(1, "e1"), error("limit", None, 600, None)), Close(3013, "limit")),
            connection(frame(subscribed(1), end())),
        ),
        ("event e1 @1", "event end @99"),
        ([START], [behind(1)]),
        apart_ms=600,
    ),
    Scenario(
        "the token ends",
        "it is renewed on the connection, before",
        (
            connection(
                frame(subscribed(), event(1, "e1")),
                Heard("refresh"),
                frame({"id": ANSWER, "type": "refreshed", "expires_at": "2026-05-30T19:12:07Z"}),
                frame(end()),
            ),
        ),
        ("event e1 @1", "event end @99"),
        ([START],),
        life_s=1.0,
    ),
    Scenario(
        "events come twice after a resume",
        "an event of the same id and revision is handed out once, another revision is another event",
        (
            connection(frame(subscribed(), event(1, "e1"), event(2, "e2")), Cut()),
            connection(
                frame(
                    subscribed(0),
                    event(1, "e1"),
                    event(2, "e2"),
                    event(3, "e2", revision=1),
                    event(3, "e2", revision=1),
                ),
                frame(end()),
            ),
        ),
        ("event e1 @1", "event e2 @2", "event e2 @3", "event end @99"),
        ([START], [behind(2)]),
    ),
    Scenario(
        "a reset",
        "it is handed out with its state, and what was seen before it may come again",
        (
            connection(frame(subscribed(), event(1, "e1"), event(2, "e2")), Cut()),
            connection(frame(subscribed(0, recovered=False), reset(1, "epoch_changed"), event(2, "e2")), Cut()),
            connection(frame(subscribed(2), end())),
        ),
        ("event e1 @1", "event e2 @2", "reset epoch_changed @1", "event e2 @2", "event end @99"),
        ([START], [behind(2)], [behind(2)]),
    ),
    Scenario(
        "cut after a reset",
        "it is a place to go on from",
        (
            connection(frame(subscribed(recovered=False), reset(5, "gone")), Cut()),
            connection(frame(subscribed(5), end())),
        ),
        ("reset gone @5", "event end @99"),
        ([START], [behind(5)]),
    ),
    Scenario(
        "skipped, then cut",
        "what lies between its cursors and is not left out still comes: never resume from `to`",
        (
            connection(frame(subscribed(), event(1, "e1"), skipped(2, 9, 7)), Cut()),
            connection(frame(subscribed(1), skipped(2, 9, 7), event(5, "e5")), Cut()),
            connection(frame(subscribed(5), end())),
        ),
        ("event e1 @1", "skipped 7", "skipped 7", "event e5 @5", "event end @99"),
        ([START], [behind(1)], [behind(5)]),
    ),
    Scenario(
        "a heartbeat, then cut",
        "where nothing happened the cursor moves on all the same",
        (
            connection(frame(subscribed(), event(1, "e1")), frame(heartbeat(m=cursor(8), other=cursor(9))), Cut()),
            connection(frame(subscribed(8), end())),
        ),
        ("event e1 @1", "event end @99"),
        ([START], [behind(8)]),
    ),
    Scenario(
        "a node that says nothing",
        "no frame for some heartbeats means that the connection is dead",
        (
            connection(frame(subscribed(), event(1, "e1")), Left(), ping_s=0.2),
            connection(frame(subscribed(1), end())),
        ),
        ("event e1 @1", "event end @99"),
        ([START], [behind(1)]),
        apart_ms=400,
    ),
    Scenario(
        "refused with a time to come again",
        "the channel is asked for again after that time, on the same connection",
        (
            connection(
                frame(error("unavailable", MATCH, 300)), Heard("subscribe"), frame(subscribed(), event(1, "e1"), end())
            ),
        ),
        ("event e1 @1", "event end @99"),
        ([START], [START]),
        apart_ms=300,
    ),
    Scenario(
        "too many changes",
        "a refusal that names no channel is about all that the command asked for",
        (connection(frame(error("limit", None, 200)), Heard("subscribe"), frame(subscribed(), end())),),
        ("event end @99",),
        ([START], [START]),
        apart_ms=200,
    ),
    Scenario(
        "one of two channels is refused for good",
        "it is told once, the other goes on, and the refused one is not asked for again",
        (
            connection(frame(error("unknown_channel", OTHER), subscribed(), event(1, "e1")), Cut()),
            connection(frame(subscribed(1), end())),
        ),
        ("refused unknown_channel match:other", "event e1 @1", "event end @99"),
        ([START, {"channel": OTHER, "from": "start"}], [behind(1)]),
        subscribe=(START, {"channel": OTHER, "from": "start"}),
    ),
    Scenario(
        "two channels",
        "each has a cursor of its own, and one command asks for both",
        (
            connection(
                frame(subscribed(), subscribed(4, OTHER), event(1, "e1"), event(5, "o5", OTHER), event(2, "e2")), Cut()
            ),
            connection(frame(subscribed(2), subscribed(5, OTHER), end())),
        ),
        ("event e1 @1", "event o5 @5", "event e2 @2", "event end @99"),
        ([START, {"channel": OTHER, "cursor": cursor(4)}], [behind(2), {"channel": OTHER, "cursor": cursor(5)}]),
        subscribe=(START, {"channel": OTHER, "cursor": cursor(4)}),
    ),
    Scenario(
        "a mode that ended meanwhile",
        "the end of a mode that was missed is told all the same",
        (
            connection(frame(subscribed(), notice("degraded")), Cut()),
            connection(frame(subscribed(), end())),
        ),
        ("notice degraded", "notice normal", "event end @99"),
        ([START], [START]),
    ),
)
"""Every scenario, by what it is about."""


def named(name: str) -> Scenario:
    """The scenario of this name."""
    return next(one for one in SCENARIOS if one.name == name)
