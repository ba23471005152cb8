"""The corpus of hostile and broken input: tests/corpus/*.json, read into cases. What is expected stands there."""

import base64
import gzip
import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent / "corpus"
Names = Mapping[str, str]
"""What `$MATCH` and the like stand for."""
OF: dict[str, dict[str, Any]] = {
    "broadcast": {"type": "pass"},
    "social": {"type": "post"},
    "sensors": {"type": "tracking_frame"},
}
"""What a valid event of a source differs in."""
_numbers = itertools.count(1)


class Case(NamedTuple):
    """One request and what is expected of its answer; `body` and `path` are specifications, see `made`."""

    name: str
    method: str
    path: str
    who: str
    headers: Mapping[str, str]
    body: Any
    expect: Mapping[str, Any]


def load(group: str) -> Any:
    """A file of the corpus."""
    return json.loads((FOLDER / f"{group}.json").read_text())


def made(spec: Any, names: Names) -> bytes:
    """The bytes of a specification.

    A text (with names filled in), or an object: `base64`, `repeat` and `times`, `join` of several, `gzip` of one with
    `cut` bytes off its end and `tail` behind it, `json` of a value, `valid` for a valid event with these changes.
    """
    if spec is None:
        return b""
    if isinstance(spec, str):
        return _filled(spec, names)
    if "base64" in spec:
        return base64.b64decode(spec["base64"])
    if "repeat" in spec:
        return made(spec["repeat"], names) * int(spec["times"])
    if "join" in spec:
        return b"".join(made(part, names) for part in spec["join"])
    if "gzip" in spec:
        packed = gzip.compress(made(spec["gzip"], names), 9)
        return packed[: len(packed) - spec.get("cut", 0)] + made(spec.get("tail"), names)
    if "valid" in spec:
        return valid(names, **spec["valid"])
    return _filled(json.dumps(spec["json"]), names)


def valid(names: Names, **changes: Any) -> bytes:
    """A valid event with an id of its own."""
    event = {
        "match_id": names["MATCH"],
        "type": "pass",
        "occurred_at": datetime.now(UTC).isoformat(),
        "source_event_id": f"v{next(_numbers)}",
        "payload": {"x": 1.5},
    }
    return _filled(json.dumps(event | changes), names)


def requests(group: str) -> Iterator[Case]:
    """The cases of a group of whole requests."""
    told = load(group)
    usual = told["usual"]
    for case in told["cases"]:
        yield Case(
            case["name"],
            case.get("method", usual["method"]),
            case.get("path", usual["path"]),
            case.get("who", usual["who"]),
            usual.get("headers", {}) | case.get("headers", {}),
            case.get("body", usual.get("body")),
            case["expect"],
        )


class Item(NamedTuple):
    """An item that is refused: its bytes, and the code and pointer of the refusal."""

    name: str
    item: bytes
    source: str
    code: str
    pointer: str | None


def items(names: Names) -> Iterator[Item]:
    """Every hostile item: one field replaced by other JSON, or the whole item."""
    told = load("items")
    for entry in told["fields"]:
        for value in entry["values"]:
            item = _replaced(entry["field"], made(value, names), names, entry.get("source", "broadcast"))
            name = f"{entry['field']} = {str(value)[:40]}"
            yield Item(name, item, entry.get("source", "broadcast"), entry["code"], entry.get("pointer"))
    for whole in told["items"]:
        item = made(whole["item"], names)
        yield Item(whole["name"], item, whole.get("source", "broadcast"), whole["code"], whole.get("pointer"))


def cuts(names: Names) -> Iterator[bytes]:
    """A valid event cut at every place."""
    whole = valid(names, payload={"text": 'é€😀\\ " \u2028', "n": [-1.5e3, True, None, {}]})
    for end in range(1, len(whole)):
        yield whole[:end]


def _replaced(field: str, value: bytes, names: Names, source: str) -> bytes:
    event = json.loads(valid(names, **OF[source]))
    event.pop(field, None)
    return json.dumps(event).encode()[:-1] + b',"%s":%s}' % (field.encode(), value)


def _filled(text: str, names: Names) -> bytes:
    for name, value in names.items():
        text = text.replace(f"${name}", value)
    # A lone surrogate in a file of the corpus goes out as the three bytes that it would be.
    return text.encode("utf-8", "surrogatepass")
