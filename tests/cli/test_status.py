"""`status`: which node answers, what is shown of its answer, and what is said when none does."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette

from eventhub import health
from eventhub.cli.status import ask, candidates, lines, ranges
from eventhub.config import Admin, Settings
from eventhub.errors import UnavailableError, UsageError
from eventhub.server import Listener, bind
from eventhub.streams import Report
from tests.cli.process import run
from tests.cli.serving import answering, nothing

ANSWER: dict[str, Any] = {
    "node": "alpha-0",
    "ready": True,
    "families": {"enrichment": {"partitions": [0, 1, 2, 5], "rebuilt": 4}, "history": {"partitions": [], "rebuilt": 0}},
}


REPORT = {"state": "idle", "lag": 0, "lag_s": 0.0, "blocked_by": []}
WORK = {"lag": 0, "lag_s": 0.0, "stuck": [], "blocked_by": []}
NODE = {"node": "alpha-0", "state": "alive", "ready": True, "mode": "normal", "degraded": []}


@dataclass
class Family:
    name: str
    partitions: list[int]
    rebuilt: int
    joining_s: float = 0.0
    reports: dict[int, Report] = field(default_factory=dict)

    def look(self, bounds: object, at: float) -> None: ...

    def judge(self, away: object, now: float) -> None: ...

    def excuse(self, now: float) -> None: ...


class Degraded(NamedTuple):
    mode: str
    causes: Mapping[str, Any]


def test_a_status_is_a_few_lines_with_partitions_as_ranges() -> None:
    assert list(lines(ANSWER)) == [
        "node   alpha-0",
        "ready  yes",
        "families",
        "  enrichment  partitions 0-2, 5, rebuilt 4",
        "  history     partitions none, rebuilt 0",
    ]


def test_what_this_version_does_not_know_is_shown_and_not_lost() -> None:
    told = list(
        lines(
            ANSWER
            | {
                "mode": "degraded",
                "degraded": {"postgres": {"affected": ["history", "search"], "since": "12:00"}},
                "lag": {"match-log": {"0": 12}},
                "peers": [{"node": "beta-0"}, {"node": "gamma-0"}],
            }
        )
    )
    assert told[2] == "mode   degraded"
    assert told[6:] == [
        "degraded",
        "  postgres",
        "    affected  history, search",
        "    since     12:00",
        "lag",
        "  match-log",
        "    0  12",
        "peers",
        "  1",
        "    node  beta-0",
        "  2",
        "    node  gamma-0",
    ]


def test_a_family_that_tells_more_than_numbers_gets_lines_of_its_own() -> None:
    told = list(lines({"node": "a", "ready": False, "families": {"history": {"partitions": [3], "lag": {"3": 7}}}}))
    assert told[1:] == ["ready  no", "families", "  history", "    partitions  3", "    lag", "      3  7"]


def test_a_family_says_how_far_it_is_behind_and_why() -> None:
    late = REPORT | {"lag": 7, "lag_s": 12.5, "blocked_by": ["postgres"]}
    family = {"partitions": [0, 1], "rebuilt": 0, "progress": {"0": late, "1": REPORT}}
    told = list(lines({"node": "a", "families": {"history": family, "enrichment": family | {"progress": {}}}}))
    assert told[2:] == [
        "  history     partitions 0-1, rebuilt 0, 7 behind for 12.5 s, blocked by postgres",
        "  enrichment  partitions 0-1, rebuilt 0",
    ]


def test_the_cluster_is_shown_node_by_node_with_what_nobody_works_on() -> None:
    work = WORK | {"partitions": [0, 1, 2], "lag": 9, "lag_s": 80.0, "stuck": [2]}
    nodes = [
        NODE | {"families": {"history": work, "enrichment": WORK | {"partitions": []}}},
        NODE | {"ready": False, "mode": "degraded", "degraded": ["postgres"], "families": {}},
        {"node": "beta-0", "state": "silent", "heard_s_ago": 14.0},
    ]
    told = list(lines({"node": "alpha-0", "cluster": {"nodes": nodes, "unowned": {"history": [3, 4, 5]}}}))
    assert told[2:] == [
        "cluster",
        "  alpha-0",
        "    state       ready, normal",
        "    history     0-2, 9 behind for 80 s, stuck 2",
        "    enrichment  none",
        "  alpha-0'",
        "    state  not ready, degraded, without postgres",
        "  beta-0    silent for 14 s",
        "  unowned",
        "    history  3-5",
    ]


def test_without_kafka_nothing_is_said_of_what_others_work_on() -> None:
    assert "  unowned  unknown without Kafka" in list(lines({"node": "a", "cluster": {"nodes": [], "unowned": None}}))


@pytest.mark.parametrize("cluster", [None, [], {}, {"nodes": 7}, "x"])
def test_a_cluster_of_another_shape_is_shown_as_it_came(cluster: object) -> None:
    assert next(iter(lines({"node": "a", "cluster": cluster}))).startswith("node")


@pytest.mark.parametrize("families", [[], None, ["enrichment"], {"enrichment": None}, {"enrichment": [1]}])
def test_families_of_another_shape_are_shown_as_they_came(families: object) -> None:
    assert any("families" in line for line in lines({"node": "a", "families": families}))


def test_a_terminal_obeys_nothing_that_a_node_says() -> None:
    assert "\x1b" not in "".join(lines({"node": "a\x1b[2J", "x\x1b": {"y": "\x1b]0;"}}))


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([0, 1, 2, 3], "0-3"), ([7, 5, 1, 2], "1-2, 5, 7")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def test_without_a_port_in_the_settings_every_port_that_serve_would_take_is_asked() -> None:
    asked = candidates(Settings())
    assert asked[0] == "http://127.0.0.1:9000"
    assert asked[-1] == "http://127.0.0.1:9019"
    assert len(asked) == 20


def test_a_port_or_host_in_the_settings_is_asked_alone_and_from_this_machine() -> None:
    assert candidates(Settings(admin=Admin(port=9100))) == ["http://127.0.0.1:9100"]
    assert candidates(Settings(admin=Admin(host="0.0.0.0", port=9100))) == ["http://127.0.0.1:9100"]
    assert candidates(Settings(admin=Admin(host="::1", port=9100))) == ["http://[::1]:9100"]
    with pytest.raises(UsageError, match="--admin"):
        candidates(Settings(admin=Admin(port=0)))


def test_ports_of_nobody_and_of_other_programs_are_passed_over() -> None:
    with nothing() as closed, answering(200, "<html>") as page, answering(404, {"detail": "no"}) as other:
        with answering(200, ANSWER) as node:
            assert ask([closed, page, other, node]) == (node, ANSWER)
        with pytest.raises(UnavailableError, match=f"{page} .*no node's admin port"):
            ask([page])


async def test_a_node_that_is_still_starting_is_told_as_it_is() -> None:
    families = [Family("enrichment", [0, 1], 2)]
    told = Degraded("read_only", {"mode": Degraded("x", {})})
    known = health.Health(
        node="n-1",
        families=families,
        degraded=told,
        conditions={"caught_up": lambda: False},
        stuck_after_s=60,
        now=lambda: datetime.now(UTC),
    )
    app = Starlette(routes=health.routes(known, lambda: {"nodes": [], "unowned": {}}))
    async with Listener(app, bind("127.0.0.1", 0, exact=True, setting="port")) as node:
        _, answer = await asyncio.to_thread(ask, [node.url])
        shown = await asyncio.to_thread(run, "status", "--admin", node.url)
    assert "  enrichment  partitions 0-1, rebuilt 2" in list(lines(answer))
    assert shown.returncode == 0
    assert "node   n-1\nready  no\nmode   read_only\n" in shown.stdout


def test_as_json_the_answer_comes_whole_with_the_address_that_gave_it() -> None:
    with answering(200, ANSWER | {"new": 1}) as node:
        shown = run("status", "--json", "--admin", f"{node}/")
    assert json.loads(shown.stdout) == {"admin": node, **ANSWER, "new": 1}
    assert shown.stderr == ""


def test_the_address_may_be_given_without_a_scheme() -> None:
    with answering(200, ANSWER) as node:
        assert run("status", "--admin", node.removeprefix("http://")).returncode == 0


def test_no_node_is_one_sentence_with_the_address_and_what_to_do() -> None:
    with nothing() as address:
        refused = run("status", EVENTHUB_ADMIN__PORT=address.rpartition(":")[2])
    assert refused.returncode == 69
    assert refused.stdout == ""
    assert f"no node answers at {address}" in refused.stderr
    assert "eventhub serve" in refused.stderr and "--admin" in refused.stderr
