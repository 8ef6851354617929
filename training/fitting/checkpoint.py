"""The state of a run after its last complete epoch, in ``last.ckpt``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from sikff.atomic_write import complete

NAME = "last.ckpt"
FORMAT = "sikff training state, version 1"


def write_checkpoint(folder: Path, loop: dict[str, Any], data: str) -> None:
    """Replaces the checkpoint in the folder of a run.

    Args:
        folder: of the run.
        loop: the state of its loop.
        data: fingerprint of its data.

    Raises:
        OSError: if it cannot be written; the earlier one stays.
    """
    content = io.BytesIO()  # a full disk is an OSError then, which torch hides where it writes
    torch.save({"format": FORMAT, "data": data, "loop": loop}, content)
    with complete(folder / NAME) as path:
        path.write_bytes(content.getbuffer())


def read_checkpoint(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The checkpoint in the folder of a run: "loop" and "data", as they were written.

    Raises:
        ValueError: for a file that this version of sikff did not write.
    """
    path = folder / NAME
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises anything
        raise ValueError(f"cannot read {str(path)!r}: {error}") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"cannot resume from {str(path)!r}: expected a {FORMAT}, got "
            f"{f'a {found}' if found else 'a file of an earlier version of sikff'}. Finish the run "
            "with the version that began it, or start a new run from its model (sikff train "
            f"--from {folder / 'model.sikff'})"
        )
    return state
