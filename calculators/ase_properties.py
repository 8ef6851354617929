"""Predictions as properties of ASE, and the errors for properties that cannot be computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError

from sikff.forcefield import EnergyModel, Prediction
from sikff.graph import has_volume

PROPERTIES = ["energy", "free_energy", "energies", "forces", "stress", "dipole"]


def ase_results(prediction: Prediction) -> dict[str, Any]:
    """The prediction for one structure, under the names and in the shapes of ASE.

    Raises:
        CalculationFailed: for NaN or infinity.
    """
    results: dict[str, Any] = {
        "energy": prediction.energy.item(),
        "energies": prediction.energies.cpu().numpy(),
    }
    if prediction.forces is not None:
        results["forces"] = prediction.forces.double().cpu().numpy()
    if prediction.stress is not None:
        stress = prediction.stress[0].double().cpu().numpy()
        results["stress"] = voigt(stress)
    if prediction.dipole is not None:
        results["dipole"] = prediction.dipole[0].double().cpu().numpy()
    check_finite(results)
    return {**results, "free_energy": results["energy"]}


def voigt(tensor: np.ndarray) -> np.ndarray:
    """Components xx, yy, zz, yz, xz and xy of a symmetric tensor [3, 3]."""
    return tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


def check_finite(results: Mapping[str, Any]) -> None:
    """Raises CalculationFailed for NaN or infinity."""
    wrong = [name for name, value in results.items() if not np.isfinite(value).all()]
    if wrong:
        raise CalculationFailed(
            f"the force field returned NaN or infinity in {', '.join(wrong)}; expected finite "
            "numbers: are atoms far too close, or is the time step too long?"
        )


def check_computable(
    properties: Sequence[str], atoms: ase.Atoms, models: Sequence[EnergyModel]
) -> None:
    """Raises PropertyNotImplementedError for the stress without a volume, and for the dipole of
    models that do not read the electric field in all directions."""
    if "stress" in properties and not has_volume(atoms):
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
