"""The ``sikff`` command: one file for each kind of subcommand."""

from sikff.training.cli.main import main

__all__ = ["main"]
