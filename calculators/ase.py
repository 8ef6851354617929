"""Force fields as ASE calculators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from sikff.calculators.models import (
    answer,
    check_committee,
    chosen_device,
    chosen_dtype,
    prepared,
    reach,
)
from sikff.forcefield import EnergyModel
from sikff.graph import field_vector
from sikff.skin import SkinList

FIELD = "electric_field"


class SIKFFCalculator(Calculator):
    """ASE calculator of a force field, or of a committee of force fields.

    Returns energy, free_energy (the same) and energies in eV, forces in eV/Å and, for structures
    with a three-dimensional cell, stress in eV/Å^3 (xx, yy, zz, yz, xz, xy; tension is positive).

    A uniform electric field (three numbers, V/Å) comes from ``atoms.info["electric_field"]`` or
    from the parameter `electric_field`; a changed field is noticed however it was changed.

    Of a committee every result is the mean over its models, and `get_deviations` has the standard
    deviations. The models may differ in anything but the set of elements, the plane they stand on
    and whether they read an electric field.

    Neighbours are searched a little further than the cutoff, and searched again only when atoms
    or cell have changed so much that a pair may be missing. That changes no result.

    Args:
        model: path of a model file, or a model; for a committee a list or tuple of these. A model
            is copied and left as it is.
        device: "cpu", "cuda", ..., or "auto": cuda if there is one.
        dtype: "float32" or "float64" for the weights; None: as they are.
        skin: Å beyond the cutoff for the search of neighbours; in liquids and hot crystals 0.6 to
            1.5 cost about the same. 0: search at every step.
        electric_field: uniform field for structures whose `info` names none.
        **kwargs: of ase.calculators.calculator.Calculator, such as `atoms`.

    Attributes:
        models: the models, one or those of the committee.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for a file that is no model, an unknown device, dtype or keyword, a skin that
            is negative or not finite, or models that do not make a committee.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012
    default_parameters = {FIELD: None}  # noqa: RUF012
    discard_results_on_any_change = True

    def __init__(
        self,
        model: str | Path | EnergyModel | Sequence[str | Path | EnergyModel],
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        skin: float = 0.8,
        electric_field: Sequence[float] | np.ndarray | None = None,
        **kwargs: Any,
    ) -> None:
        given = [model] if isinstance(model, str | Path | EnergyModel) else model
        self.device, dtype = chosen_device(device), chosen_dtype(dtype)
        self.models = [prepared(each, self.device, dtype) for each in given]
        check_committee(self.models)
        self._lists = {
            reach(each): SkinList(each.cutoff, skin, each.elements) for each in self.models
        }
        self._calculated_field = np.zeros(3)
        self._deviations: dict[str, Any] = {}
        super().__init__(**{FIELD: electric_field}, **kwargs)

    @property
    def neighbour_rebuilds(self) -> int:
        """Searches for neighbours so far; one more for each further cutoff in a committee."""
        return sum(each.rebuilds for each in self._lists.values())

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Changes the parameter `electric_field`; returns what changed.

        Raises:
            ValueError: for another name, or a field that is not three finite numbers.
        """
        unknown = sorted(set(kwargs) - set(self.default_parameters))
        if unknown:
            raise ValueError(
                f"the calculator has no parameter {', '.join(unknown)}; expected {FIELD}"
            )
        if kwargs.get(FIELD) is not None:
            field_vector(kwargs[FIELD])  # refuses what is not a field
        return super().set(**kwargs)

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
            ValueError: for elements the model does not know, a field it does not read, or atoms
                nearer than 0.1 Å to each other or to their own images.
            PropertyNotImplementedError: if the stress is asked for without a 3D cell.
            CalculationFailed: if a model returns NaN or infinity.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        if atoms is None:
            raise ValueError("no atoms given; expected an ase.Atoms")
        stress = "stress" in properties
        if stress:
            _check_volume(atoms)
        field = self._field(atoms)
        graphs = {
            key: neighbours.graph(atoms, field).to(self.device)
            for key, neighbours in self._lists.items()
        }
        answers = [answer(model, graphs[reach(model)], stress) for model in self.models]
        results = {name: np.mean([each[name] for each in answers], axis=0) for name in answers[0]}
        results["energy"] = results["free_energy"] = float(results["energy"])
        if len(answers) > 1:
            self._deviations = {
                f"{name}_std": np.std([each[name] for each in answers], axis=0, ddof=1)
                for name in ("energy", "forces")
            }
        self._calculated_field = field
        self.results = results

    def get_deviations(self, atoms: ase.Atoms | None = None) -> dict[str, Any]:
        """Standard deviations over the committee, calculated if anything has changed.

        Sample standard deviations: of n models, with n - 1 in the denominator.

        Args:
            atoms: the structure; None: that of the last calculation.

        Returns:
            ``energy_std`` (eV, one number) and ``forces_std`` [N, 3] (eV/Å, of each component).

        Raises:
            PropertyNotImplementedError: if the calculator has one model only.
        """
        if len(self.models) < 2:
            raise PropertyNotImplementedError(
                "deviations need a committee, but the calculator has one model; "
                "give it a list of at least two"
            )
        self.get_property("energy", atoms)
        return {name: value.copy() for name, value in self._deviations.items()}

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
        for model in self.models:
            model.check_field(given[0])
        return given[0]


def _check_volume(atoms: ase.Atoms) -> None:
    if atoms.cell.volume <= 1e-6 * atoms.cell.lengths().prod():
        raise PropertyNotImplementedError(
            f"stress needs a cell with a volume; got {atoms.cell.array.tolist()}, expected three "
            "independent cell vectors, also along directions without periodicity"
        )
