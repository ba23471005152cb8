"""Step 5 of the path, the rule: a match's sheet as a fold over the events of the log. Pure.

The sheet is what follows from the events that stand: goals, cards, shots and substitutions are held by the id of their
first revision, of which the highest revision counts, whatever the order in which revisions arrive.
"""

from typing import Any, Literal

import msgspec

from eventhub.events import PERIODS, TYPES, Action, Match, Status, minute

Change = Literal["key", "other", "none"]
NO_EFFECT = frozenset(("state", "stats", "translation", "tracking_frame", "post"))
GOALS = ("goal", "own_goal")
CARDS = ("yellow_card", "second_yellow_card", "red_card")
SHOWN = frozenset((*GOALS, *CARDS, "substitution", "var_review", "penalty_awarded"))
ENDS = ("period_end", "match_end")
HELD = SHOWN | {"shot", *ENDS}
IN_PLAY = frozenset(("pass", "carry", "touch", "shot", "goal"))
"""Actions on the ball, of which each side's share is its possession; counted as first sent."""

_ORDER = {name: number for number, name in enumerate(PERIODS)}


class Seen(msgspec.Struct, kw_only=True):
    """The part of a log event that the fold needs."""

    event_id: str
    type: str
    match_id: str
    revision: int = 0
    action: Action = "insert"
    of: str | None = None
    team_id: str | None = None
    player_id: str | None = None
    player: str | None = None
    period: str | None = None
    clock_s: float | None = None
    minute: str | None = None


class Held(msgspec.Struct):
    """One incident in its highest revision; `stands` is False once it was deleted, `number` its place in the log."""

    event_id: str
    type: str
    revision: int
    stands: bool
    number: int
    period: str | None = None
    clock_s: float | None = None
    minute: str | None = None
    team_id: str | None = None
    player: str | None = None


class Fold(msgspec.Struct):
    """Everything that the sheet follows from."""

    home: str
    away: str
    status: Status = "scheduled"
    period: str | None = None
    clock_s: float | None = None
    final: bool = False
    ended: list[str] = []
    held: dict[str, Held] = {}
    on_ball: dict[str, int] = {}
    numbers: int = 0


class Side(msgspec.Struct, omit_defaults=True):
    """One side of the sheet; `possession` in percent, None before anybody had the ball."""

    id: str
    name: str
    score: int
    shots: int
    yellow_cards: int
    red_cards: int
    possession: float | None
    shootout: int | None = None


class Incident(msgspec.Struct):
    """A line of the sheet."""

    event_id: str
    type: str
    minute: str | None
    team_id: str | None
    player: str | None


class Sheet(msgspec.Struct):
    """The match sheet of INTERFACE.md; delivery adds the cursor."""

    match_id: str
    status: Status
    period: str | None
    clock_s: float | None
    minute: str | None
    home: Side
    away: Side
    incidents: list[Incident]


def begin(match: Match) -> Fold:
    """The fold of a match of which nothing is known yet."""
    return Fold(match.home.id, match.away.id)


def apply(fold: Fold, event: Seen) -> Change:
    """Fold one event in, in log order. "key": score, cards or period changed; "none": nothing that the sheet shows."""
    if event.type in NO_EFFECT:
        return "none"
    fold.numbers += 1
    before = fold.status, fold.period
    if event.type in IN_PLAY and event.revision == 0 and event.team_id is not None:
        fold.on_ball[event.team_id] = fold.on_ball.get(event.team_id, 0) + 1
    root = event.of or event.event_id
    changed = False
    # A revision is held whatever its type: the goal that it takes back may come after it.
    if event.type in HELD or event.revision > 0 or root in fold.held:
        changed = _hold(fold, root, event)
    _tick(fold, event)
    return "key" if changed or (fold.status, fold.period) != before else "other"


def _hold(fold: Fold, root: str, event: Seen) -> bool:
    """Take a revision of an incident; True when score or cards may have changed."""
    old = fold.held.get(root)
    if old is not None and old.revision >= event.revision:
        return False
    new = Held(
        event_id=root,
        type=event.type,
        revision=event.revision,
        stands=event.action != "delete" and event.type in HELD,
        number=old.number if old is not None else fold.numbers,
        period=event.period,
        clock_s=event.clock_s,
        minute=event.minute,
        team_id=event.team_id,
        player=event.player,
    )
    fold.held[root] = new
    if event.type in ENDS or (old is not None and old.type in ENDS):
        ends = [held for held in fold.held.values() if held.stands and held.type in ENDS]
        fold.final = any(held.type == "match_end" for held in ends)
        fold.ended = [held.period for held in ends if held.period is not None]
    return any(TYPES[held.type].effect in ("score", "card") for held in (old, new) if held is not None)


def _tick(fold: Fold, event: Seen) -> None:
    """Status, period and clock never go back: a late event changes none of them."""
    if fold.final and fold.status == "final":
        return
    if event.period in _ORDER and event.action != "delete":
        now = _ORDER[fold.period] if fold.period is not None else -1
        if _ORDER[event.period] > now:
            fold.period, fold.clock_s = event.period, None
        if _ORDER[event.period] >= now and event.clock_s is not None:
            fold.clock_s = max(fold.clock_s or 0.0, event.clock_s)
    if fold.final:
        fold.status = "final"
    elif fold.period is not None:
        fold.status = "break" if fold.period in fold.ended else "live"


def sheet(fold: Fold, match: Match) -> Sheet:
    """The sheet that follows from what stands now."""
    standing = sorted((h for h in fold.held.values() if h.stands), key=_place)
    shown = [h for h in standing if h.type in SHOWN]
    return Sheet(
        match_id=match.match_id,
        status=fold.status,
        period=fold.period,
        clock_s=fold.clock_s,
        minute=minute(fold.period, fold.clock_s),
        home=_side(fold, standing, match.home.id, match.home.name),
        away=_side(fold, standing, match.away.id, match.away.name),
        incidents=[Incident(h.event_id, h.type, h.minute, h.team_id, h.player) for h in shown],
    )


def _side(fold: Fold, standing: list[Held], team_id: str, name: str) -> Side:
    """Counts of one side. An own goal is the other side's; a second yellow is a yellow card and a red one."""
    mine = [h for h in standing if h.team_id == team_id]
    in_play = [h for h in mine if h.period != "shootout"]
    other = fold.away if team_id == fold.home else fold.home
    theirs = sum(h.type == "own_goal" and h.team_id == other for h in standing if h.period != "shootout")
    balls = sum(fold.on_ball.values())
    return Side(
        id=team_id,
        name=name,
        score=sum(h.type == "goal" for h in in_play) + theirs,
        shots=sum(h.type in ("shot", "goal") for h in in_play),
        yellow_cards=sum(h.type in ("yellow_card", "second_yellow_card") for h in mine),
        red_cards=sum(h.type in ("red_card", "second_yellow_card") for h in mine),
        possession=round(100 * fold.on_ball.get(team_id, 0) / balls, 1) if balls else None,
        shootout=sum(h.type == "goal" for h in mine if h.period == "shootout") if fold.period == "shootout" else None,
    )


def _place(held: Held) -> tuple[Any, ...]:
    """Match order: period, clock, then the log's order."""
    return _ORDER.get(held.period or "", -1), held.clock_s or 0.0, held.number
