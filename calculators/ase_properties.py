"""Predictions as properties of ASE, and the errors for properties that cannot be computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import PropertyNotImplementedError
from torch import Tensor

from sikff.forcefield import EnergyModel
from sikff.forcefield.atomic_stress import FullPrediction
from sikff.graph import has_volume
from sikff.graph.conditions import KEYS, Conditions

PROPERTIES = ["energy", "free_energy", "energies", "forces", "stress", "stresses", "dipole"]
OF_STRESS = ("stress", "stresses")
ARCH = {"arch": "sikff"}  # a parameter by which janus-core names what made its results
ARGUMENTS = ("model", "device", "dtype", "skin", "compile", "replay_after")  # of the calculator


def ase_results(prediction: FullPrediction) -> dict[str, Any]:
    """The prediction for one structure, under the names and in the shapes of ASE."""
    named: dict[str, Tensor | None] = {
        "energies": prediction.energies,
        "forces": prediction.forces,
        "stress": prediction.stress,
        "stresses": prediction.stresses,
        "dipole": prediction.dipole,
    }
    results: dict[str, Any] = {
        name: tensor.double().cpu().numpy() for name, tensor in named.items() if tensor is not None
    }
    results |= {name: voigt(results[name]) for name in OF_STRESS if name in results}
    results |= {name: results[name][0] for name in ("stress", "dipole") if name in results}
    energy = prediction.energy.item()
    return results | {"energy": energy, "free_energy": energy}


def voigt(tensor: np.ndarray) -> np.ndarray:
    """Components xx, yy, zz, yz, xz and xy [..., 6] of symmetric tensors [..., 3, 3]."""
    return tensor[..., [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def check_parameters(given: Mapping[str, Any]) -> None:
    """Raises ValueError for names that are no conditions, or values of another kind."""
    unknown = sorted(set(given) - {*KEYS, *ARCH})
    if unknown:
        raise ValueError(
            f"the calculator has no parameter {', '.join(unknown)}; expected "
            f"{', '.join(KEYS)} or, when it is made, {', '.join(ARGUMENTS)}"
        )
    Conditions.of(given)


def one_dtype(*given: str | torch.dtype | None) -> str | torch.dtype | None:
    """The dtype that is given under one name or several; None: none is.

    Raises:
        ValueError: if they differ.
    """
    found = {str(dtype).removeprefix("torch."): dtype for dtype in given if dtype is not None}
    if len(found) > 1:
        raise ValueError(f"dtype and default_dtype are {' and '.join(found)}; expected one of them")
    return next(iter(found.values()), None)


def check_computable(
    properties: Sequence[str], atoms: ase.Atoms, models: Sequence[EnergyModel]
) -> None:
    """Raises PropertyNotImplementedError for stresses without a volume, and for the dipole of
    models that do not read the electric field in all directions."""
    if not set(OF_STRESS).isdisjoint(properties) and not has_volume(atoms):
        raise PropertyNotImplementedError(
            f"stress needs a cell with a volume; got {atoms.cell.array.tolist()}, expected three "
            "independent cell vectors, also along directions without periodicity"
        )
    if "dipole" in properties:
        directions = min(len(model.field_directions) for model in models)
        if directions < 3:
            raise PropertyNotImplementedError(
                f"the dipole has three components, but the model reads the electric field along "
                f"{directions} directions; get_field_response() has the component along the axis "
                "of a model that reads it there"
            )


def check_deviations(models: Sequence[EnergyModel]) -> None:
    """Raises PropertyNotImplementedError if there is one model only."""
    if len(models) < 2:
        raise PropertyNotImplementedError(
            "deviations need a committee, but the calculator has one model; "
            "give it a list of at least two"
        )


def check_field_response(models: Sequence[EnergyModel]) -> None:
    """Raises PropertyNotImplementedError unless all read the field, along the same directions."""
    first, *others = (model.field_directions for model in models)
    if not len(first) or not all(np.array_equal(other, first) for other in others):
        raise PropertyNotImplementedError(
            "the model reads no electric field, or those of the committee read it along "
            "different directions, so dipole and polarizability are not known; train models of "
            "one group with environment.field: true"
        )
