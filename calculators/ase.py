"""Force fields as ASE calculators."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    PropertyNotImplementedError,
    all_changes,
)
from ase.stress import full_3x3_to_voigt_6_stress

from sikff.forcefield import EnergyModel, load
from sikff.graph import AtomicGraph, field_vector

FIELD = "electric_field"


class SIKFFCalculator(Calculator):
    """ASE calculator of a force field.

    Returns energy, free_energy (the same) and energies in eV, forces in eV/Å and, for structures
    with a three-dimensional cell, stress in eV/Å^3 (xx, yy, zz, yz, xz, xy; tension is positive).

    A uniform electric field (three numbers, V/Å) comes from ``atoms.info["electric_field"]`` or
    from the parameter `electric_field`; a changed field is noticed however it was changed.

    Args:
        model: path of a model file, or a model; a model is copied and left as it is.
        device: "cpu", "cuda", ..., or "auto": cuda if there is one.
        dtype: "float32" or "float64" for the weights; None: as they are.
        electric_field: uniform field for structures whose `info` names none.

    Raises:
        FileNotFoundError, ValueError: if the file is missing or is not a model file.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012
    default_parameters = {FIELD: None}  # noqa: RUF012
    discard_results_on_any_change = True

    def __init__(
        self,
        model: str | Path | EnergyModel,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.model = _prepared(model, self.device, dtype)
        self._calculated_field = np.zeros(3)
        super().__init__(**kwargs)

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation, the electric field included."""
        changes = super().check_state(atoms, tol=tol)
        if not np.array_equal(self._field(atoms), self._calculated_field):
            changes.append(FIELD)
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills `results`; the stress only if `properties` asks for it.

        Raises:
            ValueError: for elements the model does not know, or a field it does not read.
            PropertyNotImplementedError: if the stress is asked for without a 3D cell.
            CalculationFailed: if the model returns NaN or infinity.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        if atoms is None:
            raise ValueError("no atoms given; expected an ase.Atoms")
        stress = "stress" in properties
        if stress and atoms.cell.rank < 3:
            raise PropertyNotImplementedError("stress needs a three-dimensional cell")
        field = self._field(atoms)
        graph = AtomicGraph.from_atoms(atoms, self.model.cutoff, self.model.elements, field=field)
        prediction = self.model(graph.to(self.device), forces=True, stress=stress)
        energies = prediction.energies.detach().cpu().numpy()
        results = {
            "energy": prediction.energy.item(),
            "free_energy": prediction.energy.item(),
            "energies": energies,
            "forces": prediction.forces.double().cpu().numpy(),
        }
        if stress:
            tensor = prediction.stress[0].double().cpu().numpy()
            results["stress"] = full_3x3_to_voigt_6_stress(tensor)
        wrong = [name for name, value in results.items() if not np.isfinite(value).all()]
        if wrong:
            raise CalculationFailed(
                f"the force field returned NaN or infinity in {', '.join(wrong)} for "
                f"{atoms.get_chemical_formula()}: atoms probably overlap"
            )
        self._calculated_field = field
        self.results = results

    def _field(self, atoms: ase.Atoms) -> np.ndarray:
        """The field (V/Å) that acts on these atoms."""
        given = [
            field_vector(field)
            for field in (atoms.info.get(FIELD), self.parameters[FIELD])
            if field is not None
        ]
        if not given:
            return np.zeros(3)
        if not np.array_equal(given[0], given[-1]):
            raise ValueError(
                f"atoms.info has {FIELD} {given[0].tolist()}, the calculator {given[1].tolist()}; "
                "expected one of them, or the same in both"
            )
        self.model.check_field(given[0])
        return given[0]


def _prepared(
    model: str | Path | EnergyModel, device: torch.device, dtype: str | torch.dtype | None
) -> EnergyModel:
    """The calculator's own model, its weights frozen: only positions and cell need gradients."""
    if not isinstance(model, EnergyModel):
        return load(model, device=device, dtype=dtype).requires_grad_(False)
    name = str(dtype).removeprefix("torch.")
    if dtype is not None and name not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; expected float32 or float64")
    model = copy.deepcopy(model).to(device).eval().requires_grad_(False)
    return model if dtype is None else model.to(getattr(torch, name))
