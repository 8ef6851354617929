"""The models of a calculator: read, frozen, on their device, compiled or replayed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch

from sikff.engines import Compiled, Replayed
from sikff.forcefield import EnergyModel, ForceField, load
from sikff.forcefield.chunks import keep_freed_memory


def chosen_device(device: str | torch.device) -> torch.device:
    """The device of that name; "auto" is cuda if there is one, else cpu.

    Raises:
        ValueError: if torch knows no such device or cannot use it on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(
            f"device is {str(device)!r}, which torch {torch.__version__} cannot use here; expected "
            "'auto', 'cpu', or 'cuda' on a machine with a CUDA device and driver"
        ) from error


def prepared(
    model: str | Path | EnergyModel, device: torch.device, dtype: torch.dtype | None
) -> EnergyModel:
    """A model of one's own, its weights frozen: only positions and cell need gradients."""
    if isinstance(model, EnergyModel):
        model = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
    else:
        model = load(model, device=device, dtype=dtype)
    keep_freed_memory()
    return model.freeze()


def compiled(models: Sequence[EnergyModel]) -> list[EnergyModel]:
    """The models, each compiled at its first call.

    Raises:
        ValueError: if one is no ForceField.
    """
    found: list[EnergyModel] = []
    for model in models:
        if not isinstance(model, ForceField):
            raise ValueError(
                f"compile is for models of class ForceField; got {type(model).__name__}. Do not "
                "compile"
            )
        found.append(Compiled(model))
    return found


def replayed(models: Sequence[EnergyModel], patience: int) -> list[EnergyModel]:
    """The models, each replayed after so many calls with the same atoms, where it can be."""
    return [Replayed(each, patience) if isinstance(each, ForceField) else each for each in models]
