"""`config show` and `config defaults`: what holds here and why, and what could be set."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from eventhub.cli.console import ConfigFile, DataDir, data, data_json, data_rows, environment

if TYPE_CHECKING:
    from eventhub.config import Effective


def show(*, json: bool = False, data_dir: DataDir = None, config: ConfigFile = None) -> None:
    """Show every setting as it holds here, and where it comes from; secrets are never shown.

    Flags win over the environment, which wins over secret files, which win over the settings file.

    Parameters
    ----------
    json
        Print a JSON array of {key, value, source, secret}.
    """
    from eventhub.config import explain

    effective = explain(config_file=config, environ=environment(), flags={"data_dir": data_dir})
    if json:
        data_json([setting._asdict() for setting in effective])
    else:
        data_rows(_rows(effective))


def defaults() -> None:
    """Print a settings file (TOML) with every setting, what it means and its default."""
    from eventhub.config import template

    data(template().rstrip("\n"))


def _rows(effective: Iterable["Effective"]) -> Iterator[tuple[str, ...]]:
    for number, (_, settings) in enumerate(groupby(effective, key=lambda setting: setting.key.rpartition(".")[0])):
        if number:
            yield ()
        yield from ((setting.key, _text(setting.value), setting.source) for setting in settings)


def _text(value: object) -> str:
    if value is None:
        return "(unset)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "(none)"
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
