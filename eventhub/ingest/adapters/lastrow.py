"""Last Row's tracking around a goal: 20 frames a second of CSV rows. One frame becomes one `tracking_frame`.

Columns (Friends of Tracking, Last-Row): player, frame, x and y in 0 to 100, z (the ball's height), dx and dy (changes
since the frame before), team (`attack`, `defense`, empty for the ball), player_num (a shirt number, where known), and
what a drawing needs (coords, colours). A frame travels as {"frame","goal_x","rows":[{"player","x","y","z"?,"team"?}]}.

Which way is up: the origin is the lower left corner. `coords` is a player's point in the picture that the file was made
from, whose rows count downwards; in the last frame x grows exactly with its columns and y exactly against its rows.
Which way is forward: files differ, and no single frame says it. The ball ends in the goal that was scored (frame 180:
x -0.7, y 48.9, between posts at 44.6 and 55.4, with the defence's goalkeeper before it all along), so `read` looks
there once and tells every record, as `goal_x`.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from eventhub.errors import MalformedError, RejectedError
from eventhub.events import Incoming, Match, Source
from eventhub.ingest.adapters import Feed
from eventhub.ingest.adapters.reading import Count, Id, check_clock, decode, whole

FRAMES_A_SECOND = 20
LENGTH_M, WIDTH_M = 105, 68
Percent = Annotated[float, msgspec.Meta(ge=-50, le=150)]
"""Of the pitch's length or width; what is far beyond its lines is an error, a ball in the net is 2 beyond."""
SIDES = ("attack", "defense")
NEEDED = ("player", "frame", "x", "y", "team")


class Row(msgspec.Struct, omit_defaults=True):
    """A player, or the ball when there is no team. A position that was not measured is left out or null."""

    player: Id | Count
    x: Percent | None = None
    y: Percent | None = None
    z: float | None = None
    team: Literal["attack", "defense"] | None = None


class Frame(msgspec.Struct):
    """All rows of one moment; the goal that the attack scores in stands at x = `goal_x`."""

    frame: Count
    goal_x: Literal[0, 100]
    rows: list[Row]


class Line(NamedTuple):
    """A row of the file with its frame, and what the declaration needs of it."""

    frame: int
    row: Row
    shirt: str
    colour: str


class LastRowAdapter:
    """Maps frames of a sensor feed."""

    provider = "lastrow"
    source: Source = "sensors"

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Frame)

    def map(self, record: bytes, match: Match) -> Incoming:
        """The canonical event of one frame. Raises RejectedError with code and pointer."""
        frame = decode(self._decoder, record, "a Last Row frame")
        clock_s = check_clock(frame.frame / FRAMES_A_SECOND, "/frame")
        # The home side attacks +x: turn the pitch round when its goal to score in is at the other end.
        turned = (frame.goal_x == 100) != _home_attacks(frame, match)
        players: dict[str, list[Any]] = {}
        ball: list[float] | None = None
        for index, row in enumerate(frame.rows):
            place = _metres(row, turned=turned)
            if row.team is None:
                ball = _first_ball(ball, place, index)
            elif place is not None and players.setdefault(str(row.player), [str(row.player), *place])[1:] != place:
                raise RejectedError(f"player {row.player} is twice here", code="malformed", pointer=f"/rows/{index}")
        if not players and ball is None:
            raise RejectedError("nobody has a position in this frame", code="unmapped", pointer="/rows")
        return Incoming(
            match_id=match.match_id,
            type="tracking_frame",
            # The files name no period and count frames from their own beginning.
            occurred_at=match.starts_at + timedelta(seconds=clock_s),
            source_event_id=str(frame.frame),
            period="first_half",
            clock_s=clock_s,
            payload={"players": list(players.values())} | ({"ball": ball} if ball is not None else {}),
        )

    def read(self, path: Path) -> Feed:
        """A CSV file of one goal, gzipped or not, as frames in order. Raises MalformedError naming file and line."""
        lines = _lines(path)
        goal_x = _goal_x(path, lines)
        frames: dict[int, list[Row]] = {}
        for line in lines:
            frames.setdefault(line.frame, []).append(line.row)
        records = [
            ("first_half", number / FRAMES_A_SECOND, msgspec.json.encode(Frame(number, goal_x, rows)))
            for number, rows in sorted(frames.items())
        ]
        return Feed(_declaration(path, lines), records)


def _home_attacks(frame: Frame, match: Match) -> bool:
    """Whether the attack is the home side: the declared ids say so, or the team of a player who is declared."""
    if match.home.id in SIDES or match.away.id in SIDES:
        return match.home.id == "attack" or match.away.id == "defense"
    teams = {player.id: player.team_id for player in match.players}
    for row in frame.rows:
        team = teams.get(str(row.player))
        if row.team is not None and team is not None:
            return (team == match.home.id) == (row.team == "attack")
    raise RejectedError(
        f"match {match.match_id} has neither a side {' or '.join(SIDES)} nor a player of this frame, so that nobody"
        " knows which side attacks; declare the match with the file's players",
        code="unknown_team",
        pointer="/rows",
    )


def _metres(row: Row, *, turned: bool) -> list[float] | None:
    """[x, y] in metres from the centre spot, or None where it was not measured."""
    if row.x is None or row.y is None:
        return None
    sign = -0.01 if turned else 0.01
    # Adding 0 makes -0.0 an ordinary zero.
    return [round((row.x - 50) * sign * LENGTH_M, 2) + 0.0, round((row.y - 50) * sign * WIDTH_M, 2) + 0.0]


def _first_ball(known: list[float] | None, place: list[float] | None, index: int) -> list[float] | None:
    if known is not None and place not in (None, known):
        raise RejectedError("there is a second ball in this frame", code="malformed", pointer=f"/rows/{index}")
    return known or place


def _lines(path: Path) -> Sequence[Line]:
    try:
        table = csv.DictReader(io.StringIO(whole(path, "a Last Row file").decode(), newline=""))
        missing = [name for name in NEEDED if name not in (table.fieldnames or ())]
        if missing:
            raise MalformedError(f"{path.name} is not a Last Row file: no column {', '.join(missing)}")
        return [_line(f"{path.name}, line {table.line_num}", row) for row in table]
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedError(f"{path.name} is not a Last Row file: {error}") from error


def _line(place: str, row: dict[str, str | None]) -> Line:
    if None in row.values():
        raise MalformedError(f"{place} is cut short")
    try:
        told = {name: _number(row.get(name)) for name in ("x", "y", "z")}
        made = Row(player=_id(row["player"] or ""), team=row["team"] or None, **told)  # type: ignore[arg-type]
        # A made struct is not checked; a converted one is.
        checked = msgspec.convert(msgspec.to_builtins(made), Row)
        frame = msgspec.convert(int(row["frame"] or ""), Count)
        return Line(frame, checked, _id(row.get("player_num") or ""), row.get("bgcolor") or "")
    except (ValueError, msgspec.ValidationError) as error:
        raise MalformedError(f"{place}: {error}") from error


def _number(text: str | None) -> float | None:
    """None where nothing was measured: an empty cell, NaN, infinity. Raises ValueError for what is no number."""
    value = float(text or "nan")
    return value if math.isfinite(value) else None


def _id(text: str) -> str:
    """Ids and shirt numbers come as `12` or, from a table with gaps, as `12.0`."""
    return text.strip().removesuffix(".0")


def _goal_x(path: Path, lines: Iterable[Line]) -> Literal[0, 100]:
    """The end at which the ball is last seen: the goal that the file is about."""
    ball = {line.frame: line.row.x for line in lines if line.row.team is None and line.row.x is not None}
    if not ball:
        raise MalformedError(f"{path.name} has no ball, so that nobody knows in which goal it ends")
    return 0 if ball[max(ball)] < 50 else 100


def _declaration(path: Path, lines: Iterable[Line]) -> dict[str, Any]:
    """The two sides by their colours, the attack at home; players by the ids that all of them have."""
    names: dict[str, str] = {}
    players: dict[str, dict[str, str]] = {}
    for line in lines:
        if line.row.team is not None:
            side = names.setdefault(line.row.team, (line.colour or line.row.team).title())
            known, number = str(line.row.player), line.shirt or str(line.row.player)
            players.setdefault(known, {"id": known, "name": f"{side} {number}", "team_id": line.row.team})
    if set(names) != set(SIDES):
        raise MalformedError(f"{path.name} has the sides {', '.join(sorted(names)) or 'none'}; {SIDES} are needed")
    home, away = ({"id": side, "name": names[side]} for side in SIDES)
    return {"home": home, "away": away, "players": list(players.values())}
