"""The pages of docs/reference, each made from a table of the code. Pure: the same code gives the same bytes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eventhub.config import Entry, Settings, fields
from eventhub.delivery.messages import SUBPROTOCOL
from eventhub.documents.codes import ERRORS, NARROWED, Code, meaning
from eventhub.documents.findings import FINDINGS
from eventhub.documents.protocol import MESSAGES, Message
from eventhub.errors import ITEM_CODES
from eventhub.events import PERIODS, TYPES, EventType
from eventhub.topics import TOPICS, Topic

NOTE = "<!-- Made from the code by `make docs`; change the code, not this page. -->"
NOTHING = "-"
MIB = 1 << 20
COORDINATES = ("x", "y", "end_x", "end_y")
LANES = {
    "critical": "What changes a match; never dropped, never delayed.",
    "normal": "The course of play, and what people write.",
    "bulk": "Much of it; a slow client loses it first.",
}
EFFECTS = {
    "none": "The match sheet shows no more than the clock.",
    "score": "Changes the score.",
    "card": "Counts as a card.",
    "shot": "Counts as a shot.",
    "period": "Moves the match to another period, or ends it.",
    "derived": "Made by the platform from other events; the sheet ignores it.",
}


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {
        "errors.md": _errors(),
        "settings.md": _settings(),
        "events.md": _events(),
        "topics.md": _topics(),
        "doctor.md": _doctor(),
        "protocol.md": _protocol(),
    }


def _protocol() -> str:
    return _page(
        "The stream",
        f"`GET /v1/stream` with an upgrade to a WebSocket, subprotocol `{SUBPROTOCOL}`; a node's `/asyncapi.json`"
        " describes the same for machines.",
        "A frame holds one or more JSON messages, one per line; the answer to a subscribe always shares its frame with"
        " the first state, so that a client that parses whole frames as one message fails at once and not under load.",
        "A client keeps the newest cursor of each channel and hands it back when it comes again; it never infers a gap"
        " from cursors. It ignores messages and fields that it does not know. When the connection ends without a"
        " `reconnect`, it waits a random time before it comes back, longer each time, and goes to another node where it"
        " knows one. A close code from 3000 to 3499 means reconnect, from 3500 to 3999 do not; [errors](errors.md)"
        " lists them.",
        "## Every message by example",
        *map(_example, MESSAGES),
    )


def _example(one: Message) -> str:
    said = {"client": "→ client", "node": "← node"}[one.by]
    text = json.dumps(one.example, ensure_ascii=False)
    return f"### {said}: `{one.name}`\n\n{one.meaning}\n\n```json\n{text}\n```"


def _errors() -> str:
    classes = [[f"`{e.code}`", e.title, str(e.status), str(e.exit_code), str(e.close_code), meaning(e)] for e in ERRORS]
    return _page(
        "Errors",
        "Every refusal names its cause, the value and the next step, and carries a code that never changes: switch on"
        " the code, show the detail to people.",
        "Over HTTP an error is `application/problem+json` (RFC 9457) with `type` `urn:eventhub:problem:CODE` and the"
        " status below; a command ends with the exit code; the stream closes with the close code: from 3000 to 3499"
        " reconnect, from 3500 do not. An answer with 429 or 503 says in `Retry-After` how many seconds to wait.",
        _table(("code", "title", "HTTP", "exit", "close", "meaning"), classes),
        "## Codes that say more",
        "They stand in place of the code of their error and keep its status.",
        _table(("code", "instead of", "HTTP", "meaning"), map(_narrowed, NARROWED)),
        "## Codes of refused items",
        "An answer of ingest lists what it refused: `{index, code, pointer, detail}`, the pointer leading to the place"
        " in the item. When the whole request is refused for one of these, the code is the problem's.",
        _table(("code", "meaning"), ([f"`{code}`", text] for code, text in ITEM_CODES.items())),
    )


def _narrowed(code: Code) -> Sequence[str]:
    return [f"`{code.name}`", f"`{code.error.code}`", str(code.error.status), code.meaning]


def _settings() -> str:
    tree = Settings.model_json_schema()
    sections: dict[str, list[Entry]] = {}
    for entry in fields():
        sections.setdefault(entry.key.rpartition(".")[0], []).append(entry)
    parts: list[str] = []
    for name, entries in sections.items():
        within = _section(tree, name)
        rows = [_setting(entry, within["properties"][entry.key.rpartition(".")[2]]) for entry in entries]
        parts += [f"## {name or 'The node'}"]
        parts += [within["description"]] if name else []
        parts += [_table(("key", "variable", "values", "default", "meaning"), rows)]
    return _page(
        "Settings",
        "A flag wins over an environment variable, that over a secret's file, that over the TOML file, that over the"
        " default; unknown keys are errors.",
        "The TOML file is `--config`, else `EVENTHUB_CONFIG`, else `eventhub.toml` in the working folder if it is"
        " there; keys before the dot are its tables. A **secret** is never shown, and may come from a file: its"
        " variable with `_FILE` names it. Units stand in the keys' names: `_s` are seconds, `_bytes` are bytes.",
        *parts,
    )


def _section(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The JSON schema of a table of settings; the empty name is the tree itself."""
    if not name:
        return tree
    place = tree["properties"][name]
    reference = place.get("$ref") or place["allOf"][0]["$ref"]
    section: Mapping[str, Any] = tree["$defs"][reference.rpartition("/")[2]]
    return section


def _setting(entry: Entry, schema: Mapping[str, Any]) -> Sequence[str]:
    secret = "**secret** " if entry.secret else ""
    return [
        f"`{entry.key}`",
        f"`{entry.variable}`",
        secret + _values(schema),
        _default(entry),
        entry.description,
    ]


def _values(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "$ref" in schema:
        return "tables"
    if "anyOf" in schema:
        return _values(next(one for one in schema["anyOf"] if one.get("type") != "null"))
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_values(schema['items'])}"
    word = "path" if schema.get("format") == "path" else schema["type"]
    return word + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        return f" ≥ {schema['minimum']}"
    return f" > {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else ""


def _default(entry: Entry) -> str:
    value = entry.default
    if value is None or value == ():
        return NOTHING
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, int) and entry.key.endswith("_bytes") and value % MIB == 0:
        return f"`{value}` ({value // MIB} MiB)"
    return f"`{json.dumps(value)}`" if isinstance(value, bool) else f"`{value}`"


def _events() -> str:
    parts: list[str] = []
    for lane, text in LANES.items():
        kinds = [kind for kind in TYPES.values() if kind.lane == lane]
        parts += [f"## Lane `{lane}`", text]
        parts += [_table(("type", "from", "effect", "payload"), map(_kind, kinds))]
    periods = [[f"`{p.name}`", f"{p.begins_s}", f"{p.length_s}" if p.length_s else NOTHING] for p in PERIODS.values()]
    return _page(
        "Events",
        "An event has one type, the strongest thing that its record says; the type gives its lane, and its effect on"
        " the match sheet.",
        "Payload fields are all optional. `x`, `y`, `end_x` and `end_y` are metres from the centre of a pitch of"
        " 105 x 68; the home side attacks towards +x in every period. A `state` that changes neither score, cards nor"
        " period travels in the lane `bulk`.",
        *parts,
        "## Effects",
        _table(("effect", "meaning"), ([f"`{name}`", text] for name, text in EFFECTS.items())),
        "## Periods",
        "`clock_s` counts match seconds and goes on from where a period begins, whatever the stoppage time before it.",
        _table(("period", "begins at, s", "regular length, s"), periods),
    )


def _kind(kind: EventType) -> Sequence[str]:
    places = [f"`{name}`" for name in kind.payload if name in COORDINATES]
    rest = [f"`{name}`: {_escaped(text)}" for name, text in kind.payload.items() if name not in COORDINATES]
    payload = [", ".join(places), *rest] if places else rest
    return [f"`{kind.name}`", ", ".join(kind.sources), kind.effect, "<br>".join(payload) or NOTHING]


def _topics() -> str:
    return _page(
        "Topics",
        "Everything that happens is a record on one of these topics of Kafka; all else is computed from them.",
        "Partitioned topics have as many partitions as `kafka.partitions` says and the same partitioner, so that the"
        " raw partition p feeds only partition p of the log. eventhub declares them itself; none is made by accident."
        " A compacted topic keeps the newest record of each key for ever.",
        _table(
            ("topic", "key", "written by", "read by", "cleanup", "retention", "partitions"),
            map(_topic, TOPICS.values()),
        ),
    )


def _topic(topic: Topic) -> Sequence[str]:
    days = topic.retention_days
    kept = NOTHING if days is None else f"{days} day{'s' if days > 1 else ''}"
    count = "`kafka.partitions`" if topic.partitioned else "1"
    return [f"`{topic.name}`", topic.key, topic.written_by, topic.read_by, topic.cleanup, kept, count]


def _doctor() -> str:
    return _page(
        "Findings of `eventhub doctor`",
        "Each has a code that never changes, a severity, a place, what was found, what is wanted, and the next step."
        " An error ends the command with 78 (69 when a server does not answer). In the production profile a node does"
        " not start on errors, but for `unwritable` and `clock_ahead`, which pass by themselves; in development it"
        " warns.",
        _table(("code", "meaning"), ([f"`{code}`", text] for code, text in FINDINGS.items())),
    )


def _page(title: str, *blocks: str) -> str:
    return "\n\n".join([f"# {title}", NOTE, *blocks]) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown whose columns are aligned in the source too."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    rule = f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])
