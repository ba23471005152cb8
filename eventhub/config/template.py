"""All settings as a commented TOML file that holds the defaults: what `config defaults` prints."""

import json
import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from eventhub.config.load import PREFIX, Entry, fields
from eventhub.config.tree import Section, Settings

HEAD = f"""\
# Settings of eventhub, each with its default. Flags win over the environment ({PREFIX}SECTION__NAME), which wins
# over secret files ({PREFIX}SECTION__NAME_FILE), which win over this file: --config FILE, or {PREFIX}CONFIG, or
# eventhub.toml in the working directory. What is commented out is unset, or a secret that a file of its own keeps
# better, or a port: once written here it is taken exactly, while by default the next free one is.
"""
EXACT_ONCE_GIVEN = ("http.port", "admin.port")


def template() -> str:
    """The file's text, ending with a newline. `load` reads it as the defaults."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    entries = {entry.key: entry for entry in fields()}
    yield HEAD
    for name, info in Settings.model_fields.items():
        if not _is_section(info.annotation):
            yield from _setting(entries[name], name, info)
    for section, info in Settings.model_fields.items():
        if _is_section(info.annotation):
            yield f"[{section}]  # {(info.annotation.__doc__ or '').strip()}\n"
            for name, inner in info.annotation.model_fields.items():
                yield from _setting(entries[f"{section}.{name}"], name, inner)


def _is_section(kind: object) -> typing.TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, Section)


def _setting(entry: Entry, name: str, info: FieldInfo) -> Iterator[str]:
    choices = list(_choices(info.annotation))
    one_of = f" One of: {', '.join(choices)}." if choices else ""
    unset = entry.default is None or entry.secret or entry.key in EXACT_ONCE_GIVEN
    value = _example(info, choices) if entry.default is None else entry.default
    yield f"# {entry.description}{one_of}"
    yield f"{'# ' if unset else ''}{name} = {_toml(value)}\n"


def _choices(kind: object) -> Iterator[str]:
    if typing.get_origin(kind) is typing.Literal:
        yield from typing.get_args(kind)
    else:
        for part in typing.get_args(kind):
            yield from _choices(part)


def _example(info: FieldInfo, choices: list[str]) -> object:
    """Something of the right type, for a setting that is unset."""
    if bool in typing.get_args(info.annotation):
        return True
    return choices[0] if choices else "…"


def _toml(value: object) -> str:
    """A value as TOML; its strings, numbers, truth values and flat arrays are written as in JSON."""
    plain = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
    return json.dumps(plain, ensure_ascii=False)
