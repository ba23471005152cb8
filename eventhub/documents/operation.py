"""What an entry of the table of operations is made of."""

from typing import Any, Literal, NamedTuple

from eventhub.web import JSON

Access = Literal["ingestKey", "adminKey", "accessToken"]
Shape = Any
"""A type, or a JSON schema as it is."""


class Parameter(NamedTuple):
    """A parameter in the path, the query or the header; `schema` is JSON Schema."""

    name: str
    place: Literal["path", "query", "header"]
    schema: dict[str, Any]
    meaning: str
    required: bool = False
    explode: bool = True


class Answer(NamedTuple):
    """A good answer; `shape` None: without a body."""

    status: int
    meaning: str
    shape: Shape
    headers: tuple[str, ...] = ()
    media: str = JSON


class Operation(NamedTuple):
    """One method of one path. `body` maps content types to shapes; `refusals` are statuses that are problems."""

    method: str
    path: str
    name: str
    summary: str
    text: str
    access: Access | None
    parameters: tuple[Parameter, ...]
    body: dict[str, Shape]
    answers: tuple[Answer, ...]
    refusals: tuple[int, ...]
