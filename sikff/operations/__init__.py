"""Functions of tensors as flat lists of operations, to be replayed or compiled."""

from sikff.operations.flattened import (
    Backend,
    compiled_by_torch,
    flattened,
    with_constants_folded,
)
from sikff.operations.recorder import NotReplayableError
from sikff.operations.replay import Replay

__all__ = [
    "Backend",
    "NotReplayableError",
    "Replay",
    "compiled_by_torch",
    "flattened",
    "with_constants_folded",
]
