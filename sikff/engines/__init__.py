"""How a force field is run: by itself (eager), or in fixed shapes (static)."""

from sikff.engines.auto import Auto, Evaluator
from sikff.engines.padding import Capacity, neighbour_table, without_candidates
from sikff.engines.recorder import NotReplayableError
from sikff.engines.static import BACKENDS, Backend, History, Static, backend_for
from sikff.forcefield.energy import differentiate

__all__ = [
    "BACKENDS",
    "Auto",
    "Backend",
    "Capacity",
    "Evaluator",
    "History",
    "NotReplayableError",
    "Static",
    "backend_for",
    "differentiate",
    "neighbour_table",
    "without_candidates",
]
