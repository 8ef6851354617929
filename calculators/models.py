"""The models of a calculator: read, checked, frozen, on their device."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from ase.calculators.calculator import CalculationFailed
from ase.stress import full_3x3_to_voigt_6_stress

from sikff.engines import Auto, Evaluator, Static
from sikff.forcefield import EnergyModel, ForceField, load
from sikff.forcefield.chunks import keep_freed_memory
from sikff.graph import AtomicGraph
from sikff.groups.group import unit_vector


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
    with torch.inference_mode(False):  # weights made in inference mode are of no use outside
        if isinstance(model, EnergyModel):
            model = copy.deepcopy(model).to(device=device, dtype=dtype).eval()
        else:
            model = load(model, device=device, dtype=dtype)
        return model.freeze()


def evaluators(
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
            found.append(
                model if replay_after is None else Auto(model, Static(model), replay_after)
            )
    return found


def reach(model: EnergyModel) -> tuple[float, tuple[str, ...]]:
    """Models for which this is the same read the same graph."""
    return model.cutoff, tuple(model.elements)


class FieldResponse(NamedTuple):
    """Slopes of the energy in an electric field, along the directions in which it is known."""

    directions: np.ndarray  # [k, 3], orthonormal
    dipole: np.ndarray  # [k] e Å
    polarizability: np.ndarray  # [k, k] e Å^2/V


def answer(model: Evaluator, graph: AtomicGraph, stress: bool, dipole: bool) -> dict[str, Any]:
    """What a model says about one structure, under the names and in the shapes of ASE.

    Raises:
        CalculationFailed: if it says NaN or infinity.
    """
    prediction = model(graph, forces=True, stress=stress, dipole=dipole)
    found = {
        "energy": prediction.energy.item(),
        "energies": prediction.energies.cpu().numpy(),
    }
    if prediction.forces is not None:
        found["forces"] = prediction.forces.double().cpu().numpy()
    if prediction.stress is not None:
        found["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].double().cpu().numpy())
    if prediction.dipole is not None:
        found["dipole"] = prediction.dipole[0].double().cpu().numpy()
    _check_finite(found)
    return found


def field_response(model: EnergyModel, graph: AtomicGraph) -> FieldResponse:
    """Dipole and polarizability of one structure, as far as the model knows them.

    Raises:
        CalculationFailed: if it says NaN or infinity.
    """
    along = model.field_directions
    dipole = model(graph, forces=False, dipole=True).dipole[0].double().cpu().numpy()
    slope = model.polarizability(graph)[0].double().cpu().numpy()
    found = FieldResponse(along, along @ dipole, along @ slope @ along.T)
    _check_finite(found._asdict())
    return found


def _check_finite(found: Mapping[str, Any]) -> None:
    wrong = [name for name, value in found.items() if not np.isfinite(value).all()]
    if wrong:
        raise CalculationFailed(
            f"the force field returned NaN or infinity in {', '.join(wrong)}; expected finite "
            "numbers: are atoms far too close, or is the time step too long?"
        )


def check_committee(models: Sequence[EnergyModel]) -> None:
    """Refuse models that do not describe the same thing.

    Raises:
        ValueError: if there are none, or if they differ in their elements or, where they say it, in
            what acts on the atoms from outside (electric field, plane).
    """
    if not models:
        raise ValueError("the list of models is empty; expected at least one model or path")
    for describe in (_elements, _surroundings):
        said = {place: describe(model) for place, model in enumerate(models)}
        known = {place: text for place, text in said.items() if text}
        first = next(iter(known), 0)
        for place, text in known.items():
            if text != known[first]:
                raise ValueError(
                    f"the models of the committee disagree: model {place} {text}, model {first} "
                    f"{known[first]}; expected the same of all models"
                )


def _elements(model: EnergyModel) -> str:
    return f"knows the elements {', '.join(sorted(model.elements))}"


def _surroundings(model: EnergyModel) -> str:
    """What the model knows of the surroundings; empty if it is of a kind that does not say."""
    if not isinstance(model, ForceField):
        return ""
    config = model.config
    field = "reads the electric field" if config.environment.field else "reads no electric field"
    if config.environment.plane_origin is None:
        return f"{field} and sees no plane"
    normal = unit_vector(config.axis)
    nearest = normal * (
        normal @ config.environment.plane_origin
    )  # the same for all points of the plane
    numbers = [[round(float(x), 6) + 0.0 for x in vector] for vector in (nearest, normal)]
    plane = "a plane through {} normal to {}".format(*numbers)
    slit = config.environment.slit_width
    plane += "" if slit is None else f" with another {slit:g} Å above it"
    known = ", ".join(config.environment.surfaces)
    return f"{field} and sees {plane}{f', one of {known}' if known else ''}"
