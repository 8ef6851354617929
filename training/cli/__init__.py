"""The ``sikff`` command: one file for each command, its settings and the function that runs it."""

from .main import main

__all__ = ["main"]
