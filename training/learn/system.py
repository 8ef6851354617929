"""What a run learns: its start structures, how to vary them, and the keys of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_masses
from ase.stress import full_3x3_to_voigt_6_stress

from sikff.forcefield import ForceField

from ..data.labels import USUAL_KEYS, without_labels
from ..data.reading import read_structures
from ..data.structures import split_isolated
from .config import LearnConfig
from .explore import Frame
from .geometry import Physical, Springs, check_start, strained, turned
from .label_log import Request

FASTEST = 0.5  # fs, time step of hydrogen
SLOWEST = 3.0  # fs
PROBED = 150.0  # K, of the displacement of the probe
STIFFNESSES = (0.03, 3.0)  # range of the factor
ATTEMPTS = 20  # at a thermal structure that makes sense


class System(Protocol):
    """The structures of a run.

    Attributes:
        starts: structures to begin with.
        model: keys of the force field that follow from the system.
        breadth: how many times as many labels a round asks for as of a molecule.
    """

    starts: list[ase.Atoms]
    model: dict[str, Any]
    breadth: int

    def zero(self) -> list[Request]:
        """Structures whose energies labels are relative to."""

    def set_zero(self, energies: Sequence[float]) -> None:
        """Takes their energies, eV."""

    def probe(self, rng: np.random.Generator) -> list[ase.Atoms]:
        """A start and two structures on opposite sides of it, to be labelled first."""

    def set_stiffness(self, energies: Sequence[float]) -> None:
        """Reads off the labels of the probe how far thermal structures are from a start."""

    def draw(self, count: int, temperature: float, rng: np.random.Generator) -> list[ase.Atoms]:
        """Thermal structures, about as at a temperature (K)."""

    def problem(self, atoms: ase.Atoms) -> str:
        """What is wrong with a structure, in words; "" if nothing is."""

    def select_places(self, structures: list[ase.Atoms]) -> list[ase.Atoms]:
        """Those of the structures where walkers may start."""

    def whole(self, atoms: ase.Atoms) -> ase.Atoms:
        """A structure with all that tells it from others: above a slab, with the slab."""

    def survey(
        self,
        models: Sequence[ForceField],
        known: Sequence[ase.Atoms],
        count: int,
        least: float,
        rng: np.random.Generator,
    ) -> list[Frame]:
        """Further structures that are worth a label, which dynamics may not reach."""


class FreeSystem:
    """Molecules, clusters, crystals, slabs: all atoms are in the model.

    Args:
        starts: structures to begin with.
        strains: vary cells as well.

    Raises:
        ValueError: for a start whose atoms are in each other.
    """

    breadth = 1

    def __init__(self, starts: list[ase.Atoms], strains: bool = False) -> None:
        for number, atoms in enumerate(starts):
            check_start(atoms, f"start structure {number}")
        self.starts, self._strains = starts, strains
        self.model: dict[str, Any] = {"elements": sorted({s for a in starts for s in a.symbols})}
        self._physical = Physical(starts)
        self._scale = 1.0
        self._probed = np.zeros((len(starts[0]), 3))

    def zero(self) -> list[Request]:
        return []

    def set_zero(self, energies: Sequence[float]) -> None:
        pass

    def probe(self, rng: np.random.Generator) -> list[ase.Atoms]:
        start = self.starts[0]
        self._probed = Springs(start).draw(PROBED, rng)
        pair = [start.copy(), start.copy()]
        for sign, atoms in zip((1, -1), pair, strict=True):
            atoms.positions += sign * self._probed
        return [start.copy(), *pair]

    def set_stiffness(self, energies: Sequence[float]) -> None:
        self._scale = stiffness(Springs(self.starts[0]).energy(self._probed), energies)

    def draw(self, count: int, temperature: float, rng: np.random.Generator) -> list[ase.Atoms]:
        found = []
        for number in range(count):
            start = self.starts[number % len(self.starts)]
            for attempt in range(ATTEMPTS):
                turns = number // len(self.starts) % 2 and attempt < ATTEMPTS // 2
                atoms = turned(start, rng) if turns else start.copy()
                atoms = strained(atoms, rng) if self._strains else atoms
                springs = Springs(atoms)
                springs.scale = self._scale
                atoms.positions += springs.draw(temperature * 0.8**attempt, rng)
                if not self.problem(atoms):
                    found.append(atoms)
                    break
        return found

    def problem(self, atoms: ase.Atoms) -> str:
        return self._physical.problem(atoms)

    def select_places(self, structures: list[ase.Atoms]) -> list[ase.Atoms]:
        return structures

    def whole(self, atoms: ase.Atoms) -> ase.Atoms:
        return atoms

    def survey(self, *_: Any) -> list[Frame]:
        return []


def stiffness(expected: float, energies: Sequence[float]) -> float:
    """The factor of the stiffness of springs, from the labels of a probe.

    Args:
        expected: energy of its displacement, eV.
        energies: of the start and of both displaced structures, eV.
    """
    if len(energies) != 3:
        return 1.0
    found = 0.5 * (energies[1] + energies[2]) - energies[0]
    return float(np.clip(found / expected, *STIFFNESSES)) if expected > 0 and found > 0 else 1.0


def read_labelled(paths: Sequence[Path]) -> list[ase.Atoms]:
    """Structures with energy, forces and perhaps stress, whatever their labels are called in files.

    Raises:
        FileNotFoundError, ValueError: if a file cannot be read, or a label is missing.
    """
    structures, _ = split_isolated(read_structures(list(paths)))
    structures = structures.with_labels(USUAL_KEYS)
    structures.check_labels_complete(["energy", "forces"])
    found = []
    for structure in structures:
        atoms = without_labels(structure.atoms)
        results: dict[str, Any] = {"energy": float(structure.value("energy"))}
        results["forces"] = structure.value("forces")
        if "stress" in structure.labels:
            results["stress"] = full_3x3_to_voigt_6_stress(structure.value("stress"))
        atoms.calc = SinglePointCalculator(atoms, **results)
        found.append(atoms)
    return found


def choose_timestep(config: LearnConfig, structures: Sequence[ase.Atoms]) -> float:
    """The time step (fs): that of the configuration, or as the lightest element allows."""
    if config.timestep is not None:
        return config.timestep
    lightest = min(float(atomic_masses[atoms.numbers].min()) for atoms in structures)
    return float(np.clip(FASTEST * np.sqrt(lightest), FASTEST, SLOWEST))


def read_starts(config: LearnConfig) -> list[ase.Atoms]:
    """The start structures, without labels.

    Raises:
        FileNotFoundError, ValueError: if a file cannot be read.
    """
    starts = []
    for atoms in read_structures(list(config.structures)).atoms:
        atoms = atoms.copy()
        atoms.set_array("momenta", None)
        starts.append(atoms)
    return starts
