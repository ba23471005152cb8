"""The one way to load settings: flags > environment > secret files > TOML > defaults.

Nothing else reads the environment. All errors are told at once, each with key, value, source and expectation.
"""

import difflib
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from eventhub.config.tree import Section, Settings
from eventhub.errors import ConfigError

PREFIX = "EVENTHUB_"
CONFIG_VARIABLE = "EVENTHUB_CONFIG"
DEFAULT_FILE = Path("eventhub.toml")
NOT_SETTINGS = (CONFIG_VARIABLE, "EVENTHUB_DEBUG")
"""Variables with our prefix that are no settings: where settings are, and whether a command tells where it failed."""


class Entry(NamedTuple):
    """One setting: its dotted key, its variable, whether it is a secret, its default and what it means."""

    key: str
    variable: str
    secret: bool
    default: object
    description: str


class Effective(NamedTuple):
    """One setting as it holds here.

    `value` is a text, number, truth value, list of texts, or None for what is unset; a secret's is only "(set)" or
    "(unset)". `source`: default, file PATH, secret file PATH, env NAME, flag.
    """

    key: str
    value: object
    source: str
    secret: bool


class _Given(NamedTuple):
    value: object
    source: str


REQUIRED_IN_PRODUCTION = ("kafka.bootstrap_servers", "postgres.dsn", "auth.signing_key")


def _is_secret(info: FieldInfo) -> bool:
    parts = [info.annotation, *typing.get_args(info.annotation)]
    return SecretStr in parts


def fields(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[Entry]:
    """Every setting in the order of the tree."""
    for name, info in section.model_fields.items():
        key, kind = prefix + name, info.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from fields(kind, key + ".")
        else:
            variable = PREFIX + key.upper().replace(".", "__")
            yield Entry(key, variable, _is_secret(info), info.default, info.description or "")


def load(*, config_file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Settings:
    """The settings of this process.

    `flags` maps dotted keys ("http.port") to values; a None is a flag that was not given. Reads the TOML file and the
    secrets' files. Raises ConfigError whose detail has one line for each thing that is wrong, never a secret's value.
    """
    return _resolved(config_file, environ, flags)[0]


def explain(*, config_file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> list[Effective]:
    """Every setting as `load` would have it for the same arguments, in the order of the tree; no secret in it.

    Raises what `load` raises.
    """
    settings, given = _resolved(config_file, environ, flags)
    return [
        Effective(
            entry.key,
            _shown(_at(settings, entry.key), entry.secret),
            given[entry.key].source if entry.key in given else "default",
            entry.secret,
        )
        for entry in fields()
    ]


def _at(settings: Settings, key: str) -> object:
    value: object = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _shown(value: object, secret: bool) -> object:
    if secret:
        return "(set)" if value else "(unset)"
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, tuple):
        return [_shown(part, False) for part in value]
    return _without_password(str(value)) if isinstance(value, str | Path) else value


def _without_password(text: str) -> str:
    """An address may hold a password though its setting is no secret."""
    return re.sub(r'://[^/\s"]*@', "://(hidden)@", text)


def _resolved(
    config_file: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[Settings, dict[str, _Given]]:
    """The settings, and what was given for each key from the source that wins."""
    known = {entry.key: entry for entry in fields()}
    problems: list[str] = []
    given = _from_toml(config_file, environ, known, problems)
    given |= _from_environ(environ, known, problems)
    given |= {key: _Given(value, "flag") for key, value in flags.items() if value is not None}
    problems += [f"{key} (flag): unknown key{_nearest(key, known)}" for key in flags if key not in known]
    if (profile := given.get("profile")) and profile.value == "production":
        problems += [
            f"{key} is not set: expected in the production profile (profile from {profile.source}); "
            f"set {known[key].variable}"
            for key in REQUIRED_IN_PRODUCTION
            if key not in given
        ]
    settings = _validated({key: item for key, item in given.items() if key in known}, known, problems)
    problems += _insecure(settings)
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    return settings, given


def _insecure(settings: Settings | None) -> list[str]:
    """Keys that come unprotected can be anyone's."""
    if settings is None or settings.profile != "production":
        return []
    return [
        f"auth.issuers: {one.jwks_url} expected https in the production profile, for whoever sits between could sign"
        for one in settings.auth.issuers
        if not one.jwks_url.startswith("https://")
    ]


def _nearest(word: str, words: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def _from_environ(environ: Mapping[str, str], known: Mapping[str, Entry], problems: list[str]) -> dict[str, _Given]:
    variables = {entry.variable: entry for entry in known.values()}
    files = {entry.variable + "_FILE": entry for entry in known.values() if entry.secret}
    direct: dict[str, _Given] = {}
    from_file: dict[str, _Given] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        if name in variables:
            direct[variables[name].key] = _Given(text, f"env {name}")
        elif name in files:
            try:
                from_file[files[name].key] = _Given(Path(text).read_text().strip(), f"secret file {text}")
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{files[name].key} (env {name}): expected a readable file, {error}")
        else:
            problems.append(f"{name} (env {name}): unknown key{_nearest(name, variables | files)}")
    return from_file | direct


def _from_toml(
    config_file: Path | None, environ: Mapping[str, str], known: Mapping[str, Entry], problems: list[str]
) -> dict[str, _Given]:
    named = config_file or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    path = named or DEFAULT_FILE
    if named is None and not path.is_file():
        return {}
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{path} (configuration file): expected a readable file: {error}")
    except ValueError as error:  # wrong TOML, or no UTF-8; a message could quote a secret only as one character
        problems.append(f"{path} (configuration file): expected TOML: {error}")
    else:
        given = {key: _Given(value, f"file {path}") for key, value in _leaves(tree, known)}
        unknown = [key for key in given if key not in known]
        problems += [f"{key} (file {path}): unknown key{_nearest(key, known)}" for key in unknown]
        return given
    return {}


def _leaves(tree: Mapping[str, Any], known: Mapping[str, Entry], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, dict) and key not in known:
            yield from _leaves(value, known, key + ".")
        else:
            yield key, value


def _validated(given: Mapping[str, _Given], known: Mapping[str, Entry], problems: list[str]) -> Settings | None:
    tree: dict[str, Any] = {}
    for key, item in given.items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = item.value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        for part in error.errors(include_url=False):
            dotted = ".".join(str(step) for step in part["loc"])
            key = next((known_key for known_key in known if f"{dotted}.".startswith(f"{known_key}.")), dotted)
            problems.append(_line(key, given[key], known[key].secret, part["msg"]))
    return None


def _line(key: str, item: _Given, secret: bool, message: str) -> str:
    value = "(hidden)" if secret else f'"{_without_password(str(item.value))}"'
    wanted = message.replace("Input should be ", "").replace(" should have", ", expected").lower()
    return f"{key} = {value} ({item.source}): expected {wanted}"
