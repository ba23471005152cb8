"""`completion`: what a shell needs to complete our commands."""

from typing import Literal

from eventhub.cli.console import data


def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print the completion script of a shell.

    Parameters
    ----------
    shell
        The shell that the script is for.
    """
    from eventhub.cli import app

    data(app.generate_completion(shell=shell).rstrip("\n"))
