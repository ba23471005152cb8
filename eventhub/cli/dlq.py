"""`dlq`: what could not be processed, for operators: seen, sent again once its cause is gone, or put away."""

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from eventhub.cli.cluster import actor, on_cluster
from eventhub.cli.console import ConfigFile, DataDir, data, data_json, data_rows, meter, printable, say
from eventhub.errors import UsageError

if TYPE_CHECKING:
    from eventhub.dead_letters import Depth, Letter
    from eventhub.operations import Reached

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
SHOWN_DETAIL = 100
Code = Annotated[str | None, Parameter(help="Only letters of this code, such as unknown_match.")]
Yes = Annotated[bool, Parameter(help="Do not ask, however many letters are meant.")]


def show_list(
    *,
    code: Code = None,
    stage: Annotated[str | None, Parameter(help="Only letters of this step.")] = None,
    match: Annotated[str | None, Parameter(help="Only letters of this match.")] = None,
    since: Annotated[str | None, Parameter(help="Only letters of the last 30m, 2h, 7d, or since a time.")] = None,
    state: Annotated[
        Literal["open", "replayed", "discarded", "all"], Parameter(help="How they stand; open by default.")
    ] = "open",
    limit: Annotated[int, Parameter(help="At most so many.")] = 100,
    summary: Annotated[bool, Parameter(help="Only how many are open, by code, and the oldest's age.")] = False,
    json: Annotated[bool, Parameter(help="Print a JSON array.")] = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """List dead letters, newest first."""
    from eventhub import dead_letters

    if limit < 1:
        raise UsageError(f"--limit {limit}: at least 1")
    wanted = dead_letters.Wanted(
        None if state == "all" else state, code, stage, match, None if since is None else moment(since, _now())
    )
    found = dead_letters.select(on_cluster(data_dir, config, _read), wanted)
    if summary:
        _show_summary(dead_letters.depth(found, _now()), as_json=json)
        return
    if json:
        data_json([_plain(letter) for letter in found[:limit]])
    elif found:
        data_rows(_rows(found[:limit]))
    say(_count(len(found)) + (f", {limit} shown: --limit shows more" if len(found) > limit else ""))


def show(key: str, *, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Show a letter with its bytes.

    Parameters
    ----------
    key
        The letter's key, as the list has it.
    json
        Print it as JSON.
    """
    from eventhub import dead_letters

    async def work(at: "Reached") -> tuple["Letter", bytes | None]:
        (letter,) = dead_letters.find(await _read(at), [key])
        return letter, await dead_letters.value(at.kafka, letter)

    letter, body = on_cluster(data_dir, config, work)
    shown = _plain(letter) | _body(body)
    if json:
        data_json(shown)
        return
    width = max(map(len, shown))
    for name, one in shown.items():
        text = ", ".join(one) if name == "origins" else _text(one)
        data(printable(f"{name:<{width}}  {text}"))


def replay(
    *keys: str,
    everything: Annotated[bool, Parameter(name="--all", help="Every open letter.")] = False,
    code: Code = None,
    yes: Yes = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Send letters again at the step where they failed.

    Parameters
    ----------
    keys
        The letters' keys, as the list has them.
    """
    from eventhub import dead_letters

    _one_way(keys, code, everything=everything)

    async def work(at: "Reached") -> tuple[int, int]:
        chosen = _chosen(await _read(at), keys, code)
        _confirm("send again", chosen, yes=yes)
        with meter() as told:
            sent = 0
            if chosen:
                sent = await dead_letters.replay(
                    at.kafka, chosen, by=actor(), now=_now, progress=lambda done, of: told("replaying", done, of)
                )
        return sent, len(chosen) - sent

    sent, gone = on_cluster(data_dir, config, work)
    data(str(sent))
    lost = f"; {gone} had no bytes left" if gone else ""
    say(f"{_count(sent)} sent again; what fails again is listed again{lost}")


def discard(
    *keys: str,
    code: Code = None,
    reason: Annotated[str, Parameter(help="Why; kept with the letters.")],
    yes: Yes = False,
    data_dir: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Put letters away for good.

    Parameters
    ----------
    keys
        The letters' keys, as the list has them.
    """
    from eventhub import dead_letters

    _one_way(keys, code)
    if not reason.strip():
        raise UsageError("--reason is empty: say why, so that the next operator need not ask")

    async def work(at: "Reached") -> int:
        chosen = [one for one in _chosen(await _read(at), keys, code) if one.state == "open"]
        _confirm("discard", chosen, yes=yes)
        await dead_letters.discard(at.kafka, chosen, by=actor(), reason=reason, at=_now())
        return len(chosen)

    discarded = on_cluster(data_dir, config, work)
    data(str(discarded))
    say(f"{_count(discarded)} discarded; the bytes stay for 30 days, and `dlq replay KEY` still takes them")


def moment(text: str, now: datetime) -> datetime:
    """30m, 2h, 7d back from `now`, or an RFC 3339 time. Raises UsageError."""
    shape = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if shape is not None:
        return now - timedelta(seconds=int(shape[1]) * UNITS_S[shape[2]])
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--since {text}: expected such as 30m, 2h, 7d, or 2026-01-31T18:00:00Z") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


async def _read(at: "Reached") -> list["Letter"]:
    from eventhub import dead_letters

    return await dead_letters.read(at.kafka, at.partitions)


def _one_way(keys: Sequence[str], code: str | None, *, everything: bool = False) -> None:
    if sum((bool(keys), code is not None, everything)) != 1:
        raise UsageError("say which letters: their keys, or all open ones of a --code")


def _chosen(letters: Sequence["Letter"], keys: Sequence[str], code: str | None) -> list["Letter"]:
    """Those named, in any state; else the open ones, of the code if there is one."""
    from eventhub import dead_letters

    return dead_letters.find(letters, keys) if keys else dead_letters.select(letters, dead_letters.Wanted(code=code))


def _confirm(what: str, letters: Sequence["Letter"], *, yes: bool) -> None:
    """More than one letter is asked about on a terminal; without one, --yes must say it. Raises UsageError."""
    if yes or len(letters) <= 1:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{len(letters)} letters are meant: --yes says that they are")
    say(f"{what} {len(letters)} letters? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was done")


def _count(letters: int) -> str:
    return f"{letters} letter{'' if letters == 1 else 's'}"


def _rows(letters: Sequence["Letter"]) -> Iterator[Sequence[str]]:
    yield ("KEY", "CODE", "STAGE", "TRIES", "STATE", "MATCH", "LAST", "DETAIL")
    for one in letters:
        last = one.last_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        detail = one.detail[:SHOWN_DETAIL]
        yield (one.key, one.code, one.stage, str(one.attempts), one.state, one.match_id or "-", last, detail)


def _show_summary(depth: "Depth", *, as_json: bool) -> None:
    if as_json:
        data_json(depth._asdict())
        return
    oldest = "none" if depth.oldest_age_s is None else str(timedelta(seconds=int(depth.oldest_age_s)))
    data_rows([("open", str(depth.open)), ("oldest", oldest), *((c, str(n)) for c, n in depth.by_code.items())])


def _plain(letter: "Letter") -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(letter)
    return plain


def _body(body: bytes | None) -> dict[str, Any]:
    """The raw value as JSON where it is, else its bytes as hex."""
    import msgspec

    if body is None:
        return {"value": None}
    try:
        return {"value": msgspec.json.decode(body)}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"value_hex": body.hex()}


def _text(one: Any) -> str:
    import json

    return one if isinstance(one, str) else "-" if one is None else json.dumps(one, ensure_ascii=False)


def _now() -> datetime:
    from eventhub import operations

    return operations.now()
