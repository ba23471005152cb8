"""What must exist on a cluster whose topics others own, what differs, and the commands that would make it so. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

from eventhub import topics
from eventhub.kafka.audit import Wanted
from eventhub.kafka.describe import Snapshot, TopicState


class Planned(NamedTuple):
    """One topic as it must be; `state` is "missing", "different" or "good"."""

    topic: str
    partitions: int
    replication: int
    configs: dict[str, str]
    state: str
    differences: dict[str, tuple[str, str]]
    """By setting what was found and what is wanted."""
    commands: list[str]
    """What the cluster's owner could run, in this order; `$BOOTSTRAP` is the cluster's address."""


def plan(snapshot: Snapshot, wanted: Wanted) -> list[Planned]:
    """Every topic of eventhub, in the table's order."""
    return [_planned(topic, snapshot.topics.get(topic.name), wanted) for topic in topics.TOPICS.values()]


def _planned(topic: topics.Topic, state: TopicState | None, wanted: Wanted) -> Planned:
    partitions = wanted.partitions if topic.partitioned else 1
    configs = topics.configs(topic, min_insync_replicas=wanted.min_insync_replicas)
    must = (topic.name, partitions, wanted.copies, configs)
    if state is None:
        options = "".join(f" --config {name}={value}" for name, value in configs.items())
        made = f"{_command('topics')} --create --topic {topic.name} --partitions {partitions}"
        return Planned(*must, "missing", {}, [f"{made} --replication-factor {wanted.copies}{options}"])
    differences = dict(_differences(state, partitions, wanted.copies, configs))
    commands = list(_commands(topic.name, differences))
    return Planned(*must, "different" if differences else "good", differences, commands)


def _differences(
    state: TopicState, partitions: int, replication: int, configs: dict[str, str]
) -> Iterator[tuple[str, tuple[str, str]]]:
    replicas = min((len(p.replicas) for p in state.partitions.values()), default=0)
    if len(state.partitions) != partitions:
        yield "partitions", (str(len(state.partitions)), str(partitions))
    if replicas < replication:
        yield "replication", (str(replicas), str(replication))
    for name, value in configs.items():
        if (found := state.configs.get(name, "unset")) != value:
            yield name, (found, value)


def _commands(name: str, differences: dict[str, tuple[str, str]]) -> Iterator[str]:
    if "partitions" in differences:
        found, right = differences["partitions"]
        # More partitions would send the same key elsewhere, and what is written stays where it is.
        yield f"# {name}: {found} partitions, fixed at creation: EVENTHUB_KAFKA__PARTITIONS must be that, not {right}"
    if "replication" in differences:
        right = differences["replication"][1]
        yield (
            f"# {name}: {right} replicas: list them in moves.json, then {_command('reassign-partitions')}"
            " --reassignment-json-file moves.json --execute"
        )
    changed = [f"{key}={right}" for key, (_, right) in differences.items() if key not in ("partitions", "replication")]
    if changed:
        yield (
            f"{_command('configs')} --alter --entity-type topics --entity-name {name} --add-config {','.join(changed)}"
        )


def _command(tool: str) -> str:
    return f"kafka-{tool}.sh --bootstrap-server $BOOTSTRAP"
