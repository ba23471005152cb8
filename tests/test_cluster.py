"""What the nodes tell each other of themselves, and what the cluster's status makes of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from eventhub import nodes, topics
from eventhub.streams.progress import Progress


class Clock:
    """Both clocks of a node."""

    s = 1000.0

    def monotonic(self) -> float:
        return self.s

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.s)


def said(clock: Clock, name: str, *runs: tuple[int, int]) -> bytes:
    work = {"history": nodes.Work(partitions=list(runs))}
    return msgspec.json.encode(nodes.Summary(name, clock.now(), ready=True, families=work))


def test_the_cluster_is_everybodys_summaries_and_what_nobody_works_on() -> None:
    clock = Clock()
    known = nodes.Nodes(clock.now, clock.monotonic)
    # Found at start: one that published just now, one that was killed a minute ago, and other records.
    known.fold("node:b@2", said(clock, "b", (2, 3)))
    clock.s -= 60
    old = said(clock, "c", (4, 7))
    clock.s += 60
    known.fold("node:c@3", old)
    known.fold("mode", b"not for us")
    known.settle()
    own = msgspec.json.decode(said(clock, "a", (0, 1)), type=nodes.Summary)

    def shown(*, blind: bool = False) -> tuple[list[tuple[str, str]], Any]:
        told = known.status("node:a@1", own, ["history", "enrichment"], 8, blind=blind)
        return [(n["node"], n["state"]) for n in told["nodes"]], told["unowned"]

    everybody = list(range(8))
    assert shown() == (
        [("a", "alive"), ("b", "alive"), ("c", "silent")],
        {"history": [4, 5, 6, 7], "enrichment": everybody},
    )
    # Its clock may be wrong: what comes while we listen is of now.
    known.fold("node:c@3", old)
    assert shown() == ([("a", "alive"), ("b", "alive"), ("c", "alive")], {"enrichment": everybody})
    clock.s += 11
    assert shown() == (
        [("a", "alive"), ("b", "silent"), ("c", "silent")],
        {"history": [2, 3, 4, 5, 6, 7], "enrichment": everybody},
    )
    assert shown(blind=True)[1] is None
    known.fold("node:b@2", None)
    assert shown()[0] == [("a", "alive"), ("c", "silent")]
    assert known.long_gone() == []
    clock.s += 3600
    assert known.long_gone() == ["node:c@3"]


def test_a_summary_of_hundreds_of_partitions_is_small() -> None:
    progress = Progress(topics.RAW, 0.0)
    progress.reach(dict.fromkeys(topics.RAW, 10**12), 0.0)
    report = msgspec.to_builtins(progress.judge(ready=True, proving=False, missing=["kafka"], now=1e6))
    names = ("enrichment", "history", "aggregation")
    family = {"partitions": list(range(256)), "progress": {str(p): report for p in range(256)}}
    status = {
        "node": "a-rather-long-host-name.of-some-cluster.example-12",
        "ready": True,
        "mode": "degraded",
        "degraded": {"postgres": {}, "kafka": {}, "mode": {}},
        "stuck": [{"family": name, "partition": p} for name in names for p in range(256)],
        "families": dict.fromkeys(names, family),
    }
    made = nodes.summary(status, version="10.11.12", at=datetime.now(UTC))
    assert len(msgspec.json.encode(made)) < 4096
    assert nodes.spread(made.families["history"].partitions) == list(range(256))
    # Every other one, which no rebalance leaves behind.
    scattered = {"families": dict.fromkeys(names, family | {"partitions": list(range(0, 256, 2))})}
    assert len(msgspec.json.encode(nodes.summary(status | scattered, version="10.11.12", at=datetime.now(UTC)))) < 8192


def test_nodes_of_one_machine_on_two_folders_are_two() -> None:
    assert nodes.key("host-0", Path("a")) != nodes.key("host-0", Path("b"))
    assert nodes.key("host-0", Path("a")) == nodes.key("host-0", Path("a").resolve())
