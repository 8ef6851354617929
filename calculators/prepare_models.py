"""The models of a calculator: read, frozen, on their device, compiled or replayed."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import cast

import torch

from sikff.engines import Auto, Evaluator, Static, backend_for
from sikff.forcefield import EnergyModel, ForceField, load
from sikff.forcefield.change_elements import change_elements
from sikff.forcefield.chunks import keep_freed_memory
from sikff.forcefield.edge_features import MOST_SPECIES
from sikff.plain_torch import leave_threads_behind


def chosen_device(device: str | torch.device) -> torch.device:
    """The device of that name; "auto" is cuda if there is one, else cpu.

    Raises:
        ValueError: if torch does not know the device, cannot use it on this machine, or if it has
            no float64.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if torch.device(device).type == "mps":
            raise ValueError(
                f"device is {str(device)!r}, which has no float64, but positions and energies are "
                "float64; expected 'auto', 'cpu' or 'cuda'"
            )
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ValueError(
            f"device is {str(device)!r}, which torch {torch.__version__} cannot use here; expected "
            "'auto', 'cpu', or 'cuda' on a machine with a CUDA device and driver"
        ) from error


def prepared(
    model: str | Path | EnergyModel, device: torch.device, dtype: torch.dtype | None
) -> EnergyModel:
    """A frozen copy of a model in evaluation mode: only positions and cell require grad."""
    keep_freed_memory()
    leave_threads_behind()
    with torch.inference_mode(False):  # weights made in inference mode are of no use outside
        if isinstance(model, EnergyModel):
            model = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
        else:
            model = load(model, device=device, dtype=dtype)
        return model.freeze()


def has_many_elements(model: EnergyModel) -> bool:
    """Whether the model has more elements than spline tables are made for."""
    return isinstance(model, ForceField) and len(model.elements) > MOST_SPECIES


def cut_down(model: EnergyModel, elements: Collection[str]) -> EnergyModel:
    """A frozen model of many elements for some of them; the model itself if it has few.

    Predictions are the same, in less time and memory, and spline tables can be made.
    """
    if not (has_many_elements(model) and set(elements) < set(model.elements)):
        return model
    kept = [element for element in model.elements if element in elements]
    with torch.inference_mode(False):
        return change_elements(cast(ForceField, model), kept).eval().freeze()


def choose_evaluators(
    models: Sequence[EnergyModel], compile: bool, replay_after: int | None
) -> list[Evaluator]:
    """What evaluates each of the models: itself, or fixed shapes that are compiled or replayed.

    Args:
        models: frozen ones.
        compile: whether to compile each at its first call.
        replay_after: calls with the same atoms until a force field is replayed; None: never.

    Raises:
        ValueError: if a model that is to be compiled is no ForceField.
    """
    found: list[Evaluator] = []
    for model in models:
        if not isinstance(model, ForceField):
            if compile:
                raise ValueError(
                    f"compile is for models of class ForceField; got {type(model).__name__}. Do "
                    "not compile"
                )
            found.append(model)
        elif compile:
            found.append(Static(model, backend="inductor"))
        else:
            backend = backend_for(next(model.parameters()).device)
            patience = math.inf if replay_after is None else replay_after
            found.append(Auto(model, Static(model, backend=backend), patience))
    return found
