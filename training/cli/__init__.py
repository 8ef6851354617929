"""The ``sikff`` command: one file for each kind of subcommand."""

from .main import main

__all__ = ["main"]
