"""Force fields as ASE calculators."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.calculator import all_changes

from sikff.engines import History
from sikff.forcefield.committee import mean_prediction, standard_deviation
from sikff.forcefield.field_response import FieldResponse
from sikff.graph import has_volume
from sikff.graph.conditions import KEYS, Conditions
from sikff.graph.occupancy import check_occupancy

from .ase_properties import (
    ARCH,
    PROPERTIES,
    ase_results,
    check_computable,
    check_deviations,
    check_field_response,
    check_parameters,
    one_dtype,
)
from .hessian import Method, hessian
from .structure_evaluator import REPLAY_AFTER, SKIN, Models, StructureEvaluator, check_finite
from .thread_safe import ThreadSafeCalculator

ARRAYS = ("positions", "numbers", "pbc")  # attributes of atoms that are read, besides the cell


class SIKFFCalculator(ThreadSafeCalculator):
    """ASE calculator of a force field, or of a committee of force fields.

    Computes energy, free_energy (the same) and energies in eV, forces in eV/Å and, for structures
    with a three-dimensional cell, stress in eV/Å^3 (xx, yy, zz, yz, xz, xy; tension is positive)
    and stresses, of each atom: half of those of its pairs, over the volume, so they sum to stress.
    A plane is not strained: above one, components of the stress that are not along it are NaN, and
    above a crystal surface all are. A periodic direction that leads through it is treated as open.
    A model that reads electric fields in all directions also has the dipole in e Å, and one that
    reads them along its axis has `get_field_response`.

    Conditions come from ``atoms.info`` or from the parameters of the same names: `electric_field`
    (three numbers, V/Å), `surface_origin` (a point of the surface, Å; else that in the model file),
    `surface` (its name, or "vacuum"), `charge` (the total charge, e) and `spin` (the multiplicity
    2S + 1). Changes are noticed however they were made. A field, height, charge or spin outside
    the training data gets one warning, as do pairs of atoms at distances that the data do not have,
    and a charge or spin that the model does not read.

    Every result of a committee is the mean over its models, and `get_deviations` has the standard
    deviations. The models may differ in anything but the set of elements, the plane and its
    surfaces, and whether they read an electric field, charge and spin.

    Threads may share a calculator: one at a time computes. On a CPU fewer than 50 atoms
    are evaluated on one thread of torch, more on as many as ``torch.set_num_threads`` says.

    Args:
        model: path of a model file, or a model, which is copied; for a committee several of these.
            Or an evaluator as it is, which other arguments do not change.
        device: "cpu", "cuda", ..., or "auto": cuda if there is one.
        dtype, default_dtype: "float32" or "float64" for the weights; None: as they are.
        skin: Å beyond the cutoff for the search of neighbours, which is repeated only when a pair
            could be missing; in liquids and hot crystals 0.6 to 1.5 cost about the same. 0: search
            at every step.
        compile: use ``torch.compile``. The first call, and one with other atoms, takes a minute or
            more; the fewer atoms there are, the faster are later ones. For long runs of one
            structure.
        replay_after: after so many calls with the same atoms, their operations are repeated
            without the overhead of Python and autograd, on a GPU as a CUDA graph. On a CPU
            molecules take 0.5 to 0.7 of the time, large systems do not change. Preparing it takes
            as long as some four calls, which ten to twenty later ones save. None: never.
        electric_field, surface_origin, surface, charge, spin: for structures whose `info` names
            none.
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

    implemented_properties = PROPERTIES
    default_parameters = dict.fromkeys(KEYS) | ARCH
    discard_results_on_any_change = True

    def __init__(
        self,
        model: Models | StructureEvaluator,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        skin: float = SKIN,
        compile: bool = False,
        replay_after: int | None = REPLAY_AFTER,
        electric_field: Sequence[float] | np.ndarray | None = None,
        surface_origin: Sequence[float] | np.ndarray | None = None,
        surface: str | None = None,
        charge: int | None = None,
        spin: int | None = None,
        default_dtype: str | torch.dtype | None = None,
        **kwargs: Any,
    ) -> None:
        dtype = one_dtype(dtype, default_dtype)
        evaluator = (
            model
            if isinstance(model, StructureEvaluator)
            else StructureEvaluator.of(model, device, dtype, skin, compile, replay_after)
        )
        self._evaluator, self.sources = evaluator, evaluator.sources
        self.models, self.device = evaluator.models, evaluator.device
        self._conditions = Conditions()  # of the last calculation
        self._stress_requested = compile  # else its first request would compile again
        self._deviations: dict[str, Any] = {}
        conditions = (electric_field, surface_origin, surface, charge, spin)
        super().__init__(**dict(zip(KEYS, conditions, strict=True)), **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.sources)}, device={str(self.device)!r})"

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """The sources and the parameters, which ASE writes into its databases."""
        return {"model": self.sources, **super().todict(skip_default)}

    @property
    def neighbour_rebuilds(self) -> int:
        """Searches for neighbours so far; one more for each further cutoff in a committee."""
        return self._evaluator.rebuilds

    @property
    def extrapolation_warnings(self) -> list[str]:
        """The warnings so far: what was outside the training data."""
        return list(self._evaluator.warned.values())

    @property
    def history(self) -> dict[str, Any]:
        """What the last bits of later results depend on, besides the atoms: numbers and lists."""
        of_models = [list(each) for each in self._evaluator.history]
        return {"stress": self._stress_requested, "models": of_models}

    def resume(self, history: Mapping[str, Any]) -> None:
        """Makes later results those of the calculator that had this history, to the last bit.

        The next calculation has to repeat the last one of that calculator.
        """
        with self.lock:
            self.reset()
            self._stress_requested = history["stress"]
            self._evaluator.resume([History(*each) for each in history["models"]])

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Changes `electric_field` or another of the conditions; returns what changed.

        Raises:
            ValueError: for another name, or a value of another kind.
        """
        check_parameters(kwargs)
        return super().set(**kwargs)

    def check_state(self, atoms: ase.Atoms, tol: float | None = None) -> list[str]:
        """Names of what changed since the last calculation, by more than `tol` if it is given.

        Only what a force field reads: positions, numbers, cell, pbc and conditions.
        """
        last = self.atoms
        if last is None or tol is not None:
            every = super().check_state(atoms, tol=tol)
            changes = [name for name in every if name in (*ARRAYS, "cell")]
        else:  # without what ASE compares besides, which takes as long as all of this
            pairs = {name: (getattr(atoms, name), getattr(last, name)) for name in ARRAYS}
            pairs["cell"] = (atoms.cell.array, last.cell.array)
            changes = [name for name, pair in pairs.items() if not np.array_equal(*pair)]
        for key, now, then in zip(KEYS, self._conditions_of(atoms), self._conditions, strict=True):
            if now != then:
                changes.append(key)
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fills `results`, with the dipole only if it is among `properties`.

        Once the stress was requested, and if the models are compiled, all calls compute it: a
        barostat asks for it after the forces, and would take two calls in a step.

        Raises:
            ValueError: for elements the model does not know, a field or surface it does not read,
                or atoms nearer than 0.1 Å to each other or to their own images.
            PropertyNotImplementedError: for the stress without a 3D cell, or the dipole of a model
                that does not read fields in all directions.
            CalculationFailed: if a model returns NaN or infinity.
        """
        with self.lock:
            if atoms is not None:
                self.atoms = atoms.copy()
            if self.atoms is None:
                raise ValueError("no atoms given; expected an ase.Atoms")
            if system_changes:
                self.results = {}  # those of other atoms, also if an error follows
            self.results = self.results | self._compute(self.atoms, properties)

    def _compute(self, atoms: ase.Atoms, properties: Sequence[str]) -> dict[str, Any]:
        """The results, and the deviations of a committee."""
        check_computable(properties, atoms, self.models)
        check_occupancy(atoms)
        self._stress_requested |= "stress" in properties
        conditions = self._conditions_of(atoms)
        predictions = self._evaluator.evaluate(
            [atoms],
            [conditions],
            stress=self._stress_requested and has_volume(atoms),
            dipole="dipole" in properties,
            atomic_stress="stresses" in properties,
        )
        results = ase_results(mean_prediction(predictions))
        if len(predictions) > 1:
            self._deviations = {
                "energy_std": standard_deviation(predictions, "energy").item(),
                "forces_std": standard_deviation(predictions, "forces").cpu().numpy(),
            }
        self._conditions = conditions
        return results

    def get_deviations(self, atoms: ase.Atoms | None = None) -> dict[str, Any]:
        """Sample standard deviations over the committee (n - 1 in the denominator for n models).

        Args:
            atoms: the structure; None: that of the last calculation.

        Returns:
            ``energy_std`` (eV, one number) and ``forces_std`` [N, 3] (eV/Å, of each component).

        Raises:
            PropertyNotImplementedError: if the calculator has one model only.
        """
        check_deviations(self.models)
        with self.lock:
            self.get_property("energy", atoms)
            return copy.deepcopy(self._deviations)

    def get_field_response(self, atoms: ase.Atoms | None = None) -> FieldResponse:
        """Dipole and polarizability along the directions of the field that the model reads.

        Models of C_inf_v or SO(2) read it along their axis, those of O(3) in three directions.

        Args:
            atoms: the structure, neutral as a whole; None: that of the last calculation.

        Raises:
            ValueError: no atoms, or as `calculate`.
            PropertyNotImplementedError: if the model reads no field.
            CalculationFailed: if a model returns NaN or infinity.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError("no atoms given; expected an ase.Atoms")
        check_field_response(self.models)
        with self.lock:
            return self._evaluator.field_response(atoms, self._conditions_of(atoms))

    def get_hessian(
        self,
        atoms: ase.Atoms | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        method: Method = "auto",
        step: float = 0.005,
    ) -> np.ndarray:
        """Second derivatives of the energy in positions, [3n, 3n] in eV/Å², symmetric.

        Rows and columns are x, y and z of the first atom, x, y and z of the second one and so on:
        ``ase.vibrations.VibrationsData.from_2d(atoms, hessian)`` has the normal modes. Atoms of a
        crystal move with their images. Constraints do not count.

        Args:
            atoms: the structure; None: that of the last calculation.
            indices: of n atoms that move while others stay; None: all.
            method: "derivatives": by differentiation of the forces, exact; "differences": central
                differences of forces, which need less memory; "auto": derivatives up to 200 atoms.
            step: of the differences, Å.

        Raises:
            ValueError: no atoms, another method, indices that are not there, or as `calculate`.
            CalculationFailed: if a model returns NaN or infinity.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise ValueError("no atoms given; expected an ase.Atoms")
        rows = np.arange(len(atoms)) if indices is None else indices
        with self.lock:
            conditions = self._conditions_of(atoms)
            found = hessian(self._evaluator, atoms, conditions, rows, method, step)
            check_finite({"hessian": torch.from_numpy(found)})
            return found

    def _conditions_of(self, atoms: ase.Atoms) -> Conditions:
        return Conditions.of(atoms.info, self.parameters)
