"""Force fields as ASE calculators."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes

from sikff.forcefield import EnergyModel
from sikff.forcefield.model_file import chosen_dtype
from sikff.graph import AtomicGraph, has_volume
from sikff.graph.conditions import KEYS, Conditions
from sikff.graph.neighbour_list import SkinList

from .models import (
    FieldResponse,
    answer,
    check_committee,
    chosen_device,
    evaluators,
    field_response,
    prepared,
    reach,
)

MADE_WITH = ("model", "device", "dtype", "skin", "compile", "replay_after")
READ = ("positions", "numbers", "pbc")  # of the atoms, and their cell


class SIKFFCalculator(Calculator):
    """ASE calculator of a force field, or of a committee of force fields.

    Returns energy, free_energy (the same) and energies in eV, forces in eV/Å and, for structures
    with a three-dimensional cell, stress in eV/Å^3 (xx, yy, zz, yz, xz, xy; tension is positive).
    A plane is not strained with the atoms, so of a model that sees one only the stress along the
    plane means something; the rest depends on the origin of the coordinates.
    A model that reads electric fields in all directions also has the dipole in e Å, and one that
    reads them along its axis has `get_field_response`.

    What acts from outside comes from ``atoms.info`` or from the parameters of the same names:
    `electric_field` (three numbers, V/Å), `surface_origin` (a point of the surface, Å; else that
    in the model file) and `surface` (its name, or "vacuum"). Changes are noticed however they were
    made. A field or height outside the training data gets one warning.

    Of a committee every result is the mean over its models, and `get_deviations` has the standard
    deviations. The models may differ in anything but the set of elements, the plane they stand on
    with its surfaces, and whether they read an electric field.

    Neighbours are searched a little further than the cutoff, and searched again only when atoms
    or cell have changed so much that a pair may be missing. That changes no result.

    Args:
        model: path of a model file, or a model; for a committee a list or tuple of these. A model
            is copied and left as it is.
        device: "cpu", "cuda", ..., or "auto": cuda if there is one.
        dtype: "float32" or "float64" for the weights; None: as they are.
        skin: Å beyond the cutoff for the search of neighbours; in liquids and hot crystals 0.6 to
            1.5 cost about the same. 0: search at every step.
        compile: use ``torch.compile``, see `sikff.engines.Static`. The first call, and one
            with other atoms, takes a minute or more; later ones are the faster the fewer atoms
            there are. For long runs of one structure.
        replay_after: after so many calls with the same atoms, a CPU repeats their operations
            without what Python and autograd add, see `sikff.engines.Auto`: molecules take
            0.5 to 0.7 of the time, large systems are left as they are. Preparing it
            takes as long as some four calls, which ten to twenty later ones save. None: never.
        electric_field, surface_origin, surface: for structures whose `info` names none.
        **kwargs: of ase.calculators.calculator.Calculator, such as `atoms`.

    Attributes:
        models: the models, one or those of the committee.
        sources: their files, or their classes; ASE writes them into its databases.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for a file that is no model, an unknown device, dtype or keyword, a skin that
            is negative or not finite, models that do not make a committee, or `compile` for models
            that are no `ForceField`.
    """

    implemented_properties = [  # noqa: RUF012
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "dipole",
    ]
    default_parameters = dict.fromkeys(KEYS)
    discard_results_on_any_change = True

    def __init__(
        self,
        model: str | Path | EnergyModel | Sequence[str | Path | EnergyModel],
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        skin: float = 0.8,
        compile: bool = False,
        replay_after: int | None = 10,
        electric_field: Sequence[float] | np.ndarray | None = None,
        surface_origin: Sequence[float] | np.ndarray | None = None,
        surface: str | None = None,
        **kwargs: Any,
    ) -> None:
        models = [model] if isinstance(model, str | Path | EnergyModel) else model
        if replay_after is not None and not (isinstance(replay_after, int) and replay_after >= 0):
            raise ValueError(
                f"replay_after is {replay_after!r}; expected a number of calls or None"
            )
        self.sources = [type(m).__name__ if isinstance(m, EnergyModel) else str(m) for m in models]
        self.device, dtype = chosen_device(device), chosen_dtype(dtype)
        self.models = [prepared(each, self.device, dtype) for each in models]
        check_committee(self.models)
        self._evaluated = evaluators(self.models, compile, replay_after)
        self._lists = {
            reach(each): SkinList(each.cutoff, skin, each.elements, each.surfaces)
            for each in self.models
        }
        self._calculated = Conditions()
        self._warned: set[str] = set()
        self._stress_asked = False
        self._deviations: dict[str, Any] = {}
        given = (electric_field, surface_origin, surface)
        super().__init__(**dict(zip(KEYS, given, strict=True)), **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.sources)}, device={str(self.device)!r})"

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """What ASE keeps of it in databases: the sources, and the parameters."""
        return {"model": self.sources, **super().todict(skip_default)}

    @property
    def neighbour_rebuilds(self) -> int:
        """Searches for neighbours so far; one more for each further cutoff in a committee."""
        return sum(each.rebuilds for each in self._lists.values())

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Changes `electric_field`, `surface_origin` or `surface`; returns what changed.

        Raises:
            ValueError: for another name, or a value that is not three finite numbers or a name.
        """
        unknown = sorted(set(kwargs) - set(KEYS))
        if unknown:
            raise ValueError(
                f"the calculator has no parameter {', '.join(unknown)}; expected "
                f"{', '.join(KEYS)} or, when it is made, {', '.join(MADE_WITH)}"
            )
        Conditions.of(kwargs)  # refuses what is none
        return super().set(**kwargs)

    def check_state(self, atoms: ase.Atoms, tol: float | None = None) -> list[str]:
        """What changed since the last calculation, of what a force field reads.

        Args:
            atoms: the present structure.
            tol: differences up to this are none; None: every difference counts, of positions,
                numbers, cell, pbc and conditions.
        """
        last = self.atoms
        if last is None or tol is not None:
            every = super().check_state(atoms, tol=tol)
            changes = [name for name in every if name in (*READ, "cell")]
        else:  # what ASE compares besides takes as long as all of this
            pairs = {name: (getattr(atoms, name), getattr(last, name)) for name in READ}
            pairs["cell"] = (atoms.cell.array, last.cell.array)
            changes = [name for name, pair in pairs.items() if not np.array_equal(*pair)]
        for key, now, then in zip(KEYS, self._conditions(atoms), self._calculated, strict=True):
            if now != then:
                changes.append(key)
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills `results`, with the dipole only if `properties` asks for it.

        The stress comes with all calls after the first that asks for it: a barostat asks once it
        has the forces, and would take two calls in a step.

        Raises:
            ValueError: for elements the model does not know, a field or surface it does not read,
                or atoms nearer than 0.1 Å to each other or to their own images.
            PropertyNotImplementedError: if the stress is asked for without a 3D cell, or the
                dipole of a model that does not read fields in all directions.
            CalculationFailed: if a model returns NaN or infinity.
        """
        if atoms is not None:
            self.atoms = atoms.copy()
        if self.atoms is None:
            raise ValueError("no atoms given; expected an ase.Atoms")
        stress, dipole = "stress" in properties, "dipole" in properties
        if stress:
            _check_volume(self.atoms)
            self._stress_asked = True
        stress = stress or (self._stress_asked and has_volume(self.atoms))
        if dipole:
            self._check_dipole()
        conditions = self._conditions(self.atoms)
        graphs = [graph for _, graph in self._questions(self.atoms, conditions)]
        asked = zip(self._evaluated, graphs, strict=True)
        answers = [answer(*each, stress, dipole) for each in asked]
        results = answers[0]
        if len(answers) > 1:
            results = {name: np.mean([each[name] for each in answers], axis=0) for name in results}
            self._deviations = {
                f"{name}_std": np.std([each[name] for each in answers], axis=0, ddof=1)
                for name in ("energy", "forces")
            }
        results["energy"] = results["free_energy"] = float(results["energy"])
        self._calculated = conditions
        self.results = results if system_changes else self.results | results

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

    def get_field_response(self, atoms: ase.Atoms | None = None) -> FieldResponse:
        """How the energy answers to the electric field, along the directions the model reads.

        These are one, the axis, for models of C_inf_v or SO(2), and three for those of O(3). What
        the model does not read it does not know: it has no dipole across its axis.

        Args:
            atoms: the structure, neutral as a whole; None: that of the last calculation.

        Returns:
            ``directions`` [k, 3], ``dipole`` [k] in e Å along each, as it is in the field, and
            ``polarizability`` [k, k] in e Å^2/V (times 14.3996 for a volume in Å^3).

        Raises:
            ValueError: no atoms, or as `calculate`.
            PropertyNotImplementedError: if the model reads no field.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError("no atoms given; expected an ase.Atoms")
        along = [model.field_directions for model in self.models]
        if not len(along[0]) or any(not np.array_equal(each, along[0]) for each in along):
            raise PropertyNotImplementedError(
                "the model reads no electric field, or those of the committee read it along "
                "different directions, so dipole and polarizability are not known; train models of "
                "one group with environment.field: true"
            )
        questions = self._questions(atoms, self._conditions(atoms))
        found = [field_response(*each) for each in questions]
        return FieldResponse(*(np.mean(each, axis=0) for each in zip(*found, strict=True)))

    def _questions(
        self, atoms: ase.Atoms, conditions: Conditions
    ) -> list[tuple[EnergyModel, AtomicGraph]]:
        """Each model with the graph it reads."""
        for model in self.models:
            model.check_conditions(conditions)
        graphs = {
            key: neighbours.graph(atoms, conditions).to(self.device)
            for key, neighbours in self._lists.items()
        }
        questions = [(model, graphs[reach(model)]) for model in self.models]
        for model, graph in questions:
            for kind, words in model.beyond_training(graph).items():
                if kind not in self._warned:
                    self._warned.add(kind)
                    warnings.warn(words, stacklevel=3)
        return questions

    def _conditions(self, atoms: ase.Atoms) -> Conditions:
        """What acts on these atoms from outside."""
        return Conditions.of(atoms.info, self.parameters)

    def _check_dipole(self) -> None:
        known = min(len(model.field_directions) for model in self.models)
        if known < 3:
            raise PropertyNotImplementedError(
                f"the dipole has three components, but the model reads the electric field along "
                f"{known} directions; get_field_response() has the component along the axis of a "
                "model that reads it there"
            )


def _check_volume(atoms: ase.Atoms) -> None:
    if not has_volume(atoms):
        raise PropertyNotImplementedError(
            f"stress needs a cell with a volume; got {atoms.cell.array.tolist()}, expected three "
            "independent cell vectors, also along directions without periodicity"
        )
