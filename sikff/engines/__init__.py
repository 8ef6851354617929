"""How a force field is run: its operations replayed, or compiled by torch."""

from sikff.engines.inductor import (
    Backend,
    compiled_by_torch,
    flattened,
    with_constants_folded,
)
from sikff.engines.recorder import NotReplayableError
from sikff.engines.replay import Replay
from sikff.engines.static import Compiled, Replayed

__all__ = [
    "Backend",
    "Compiled",
    "NotReplayableError",
    "Replay",
    "Replayed",
    "compiled_by_torch",
    "flattened",
    "with_constants_folded",
]
