"""The shapes of the answers, as types from which the documents are made; the routes write the same by hand for speed.

Tests compare every real answer with these.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from eventhub.config import Ingest
from eventhub.documents.codes import PROBLEM_CODES
from eventhub.errors import ITEM_CODES
from eventhub.events import PERIODS, TYPES, Event, Incoming, Match, RawEvent
from eventhub.ingest.matches import MAX_TEXT
from eventhub.streams.sheet import Sheet

VOCABULARY = ("Incoming", "AdmittedEvent", "LiveEvent", "StoredEvent", "Incident", "MatchSheet")
DESCRIBED = {
    "Declaration": "A match before it is declared: both sides, the start, and who may play.",
    "Match": "A declared match.",
    "Incoming": "An event as a source sends it. `source_event_id` and `revision` say when two are the same.",
    "Side": "One side of a match; `possession` in percent, null before anybody had the ball.",
    "KeyStatus": "Counts of one key on one node since it started; `duplicates` are events that it had taken before.",
    "Reject": "A refused item, or with no index a refused request; `item` is how it began.",
    "Lateness": "From when it occurred to when it was accepted, in seconds, over the last events that were sampled.",
    "Incident": "A goal, a card, a substitution or a decision that stands.",
}
"""For structs whose own sentence speaks to who reads the code."""

Index = Annotated[int, msgspec.Meta(ge=0, description="Place of the item in the request, from 0.")]
ItemCode = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(ITEM_CODES)})]
ProblemCode = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(PROBLEM_CODES)})]
Pointer = Annotated[str, msgspec.Meta(description="JSON Pointer (RFC 6901); empty: the whole.")]
Cursor = Annotated[str, msgspec.Meta(description="A place in the log, opaque; hand it back as it is.")]


class Place(msgspec.Struct):
    """Where in the request it went wrong, and what."""

    pointer: Pointer
    detail: str


class Problem(msgspec.Struct):
    """Why a request was refused (RFC 9457). Switch on `code`: it never changes; `detail` is for people."""

    type: Annotated[str, msgspec.Meta(pattern="^urn:eventhub:problem:[a-z_]+$")]
    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: str
    code: ProblemCode
    errors: list[Place]


class Granted(msgspec.Struct):
    """Tokens of a login. The access token is for `Authorization: Bearer`; the refresh token only for what renews it."""

    access_token: str
    expires_at: datetime
    refresh_token: str
    refresh_expires_at: datetime


class PublicKey(msgspec.Struct):
    """A public key as a JWK (RFC 8037); tokens name it in their header by `kid`."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class PublicKeys(msgspec.Struct):
    """Keys that tokens of this platform may be signed with; the one that signs now comes first."""

    keys: list[PublicKey]


class Taken(msgspec.Struct):
    """An item that was accepted, and the id that it has from now on."""

    index: Index
    event_id: str


class Refused(msgspec.Struct):
    """An item that was refused, and why; the others are not held back by it."""

    index: Index
    code: ItemCode
    pointer: Pointer
    detail: str


class Accepted(msgspec.Struct):
    """What became of each item. `durable`: where the accepted ones are safe; `accepted` counts them."""

    accepted: Annotated[int, msgspec.Meta(ge=0)]
    durable: Literal["log", "spool"] | None
    items: list[Taken]
    rejected: list[Refused]


class Exists(Problem):
    """The match is declared already, and this is how."""

    match: Match


Events: Any = Incoming | Annotated[list[Incoming], msgspec.Meta(min_length=1, max_length=Ingest().max_items)]


def _public(kind: type[msgspec.Struct], name: str, meaning: str, more: list[tuple[str, Any]]) -> type[msgspec.Struct]:
    """The struct as clients read it: encoded parts as the objects that they are, and further fields."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        if field.type is msgspec.Raw:
            fields.append((field.encode_name, dict[str, Any], msgspec.field(default_factory=dict)))
        elif field.required:
            fields.append((field.encode_name, field.type))
        else:
            fields.append((field.encode_name, field.type, field.default))
    return msgspec.defstruct(name, [*fields, *more], namespace={"__doc__": meaning}, kw_only=True)


StoredEvent = _public(
    Event,
    "StoredEvent",
    "An event as it is on the log, with its cursor. Fields without a value are absent.",
    [("cursor", Cursor)],
)


LiveEvent = _public(Event, "LiveEvent", "An event as it is on the log. Fields without a value are absent.", [])


AdmittedEvent = _public(
    RawEvent,
    "AdmittedEvent",
    "An event as it would go to the log, before names and minute are added. Fields without a value are absent.",
    [],
)


class Shown(msgspec.Struct):
    """An item that would be accepted: the id and the event that it would become."""

    index: Index
    event_id: str
    event: AdmittedEvent  # type: ignore[valid-type]


class DryRun(msgspec.Struct):
    """What would become of each item; nothing was stored."""

    accepted: Annotated[int, msgspec.Meta(ge=0)]
    durable: None
    items: list[Shown]
    rejected: list[Refused]


class EventPage(msgspec.Struct):
    """Events in log order; `next_cursor` is null at the end. `incomplete`: some of this match may be lost for good."""

    items: list[StoredEvent]  # type: ignore[valid-type]
    next_cursor: Cursor | None
    incomplete: bool = False


class MatchSheet(Sheet):
    """The state of a match. `cursor`: the last event in it; `stale`: true while newer ones may be missing."""

    cursor: Cursor
    stale: bool


class SheetList(msgspec.Struct):
    """Match sheets by start."""

    items: list[MatchSheet]


def say_more(components: dict[str, Any]) -> None:
    """What the structs leave to the code: the vocabulary, which it checks item by item, and times, always UTC."""
    for name, component in components.items():
        component["description"] = DESCRIBED.get(name, component["description"])
        fields = component["properties"]
        if "type" in fields and name in VOCABULARY:
            fields["type"] = {"type": "string", "enum": list(TYPES)}
        if "period" in fields and name in VOCABULARY:
            fields["period"] = {"type": ["string", "null"], "enum": [*PERIODS, None]}
        for field in ("id", "name"):
            if name in ("Team", "Player"):
                fields[field] |= {"minLength": 1, "maxLength": MAX_TEXT}
        for field, schema in fields.items():
            if field.endswith("_at") and schema.get("type") == "string":
                schema["format"] = "date-time"
