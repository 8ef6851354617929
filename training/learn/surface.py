"""Molecules on a slab that is no part of the model: what is drawn, and what a label is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import ase
import numpy as np
from ase import units

from sikff.forcefield import ForceField
from sikff.graph.conditions import VACUUM

from ..data.slab import Findings, find_surface, surface_settings
from ..evaluation.predict import deviations, predict
from ..slab_settings import SlabConfig
from .bonds import stretched
from .config import SurfaceConfig
from .explore import Frame
from .geometry import Physical, Springs, check_start
from .label_log import Answer, Request
from .pick import pick
from .placement import ABOVE, BEYOND, CLOSE, CLOSEST, GENTLE, NEAR, Placement, random_orientation
from .reference import OnAnswer, Reference
from .system import PROBED, stiffness

NEAR_SHARE, ABOVE_SHARE = 0.6, 0.2  # of what is drawn; the others are in vacuum
STRETCHED = 3  # one of so many has a long bond
SURVEYED = 5  # structures of a survey for each one that is asked for
IN_VACUUM = 1 / 4  # of a survey
LEFT = "the molecule has left the surface"
TOO_HIGH = "the energy is above that of the free molecule and the slab by more than surface.wall"


class SurfaceSystem:
    """Molecules above a slab.

    Args:
        config: section of the run.
        starts: molecules.
        model: keys of the force field that are given.
        hottest: temperature (K) of the hottest dynamics.

    Raises:
        FileNotFoundError, ValueError: for a file without a slab, too little vacuum, or a molecule
            whose atoms are in each other.
    """

    breadth = 3  # a small molecule has few forces, and many places, heights and orientations

    def __init__(
        self,
        config: SurfaceConfig,
        starts: Sequence[ase.Atoms],
        model: dict[str, Any],
        hottest: float = 0.0,
    ) -> None:
        self.config, self._hottest = config, hottest
        settings = SlabConfig(
            slab=config.slab, slab_side=config.side, slab_tolerance=config.tolerance
        )
        self.findings: Findings = find_surface(settings)
        self.slab, found = self.findings.slab.copy(), self.findings.found
        self.slab.set_constraint()
        for number, atoms in enumerate(starts):
            check_start(atoms, f"molecule {number}")
        self.molecules = [_centred(atoms) for atoms in starts]
        size = max(float(atoms.get_all_distances().max()) for atoms in self.molecules)
        self.placement = Placement(self.slab, found, config, size)
        settings_of_model = surface_settings(found)
        plane_range = self.placement.highest + BEYOND
        environment = {**settings_of_model.pop("environment"), "plane_range": plane_range}
        elements = sorted({symbol for atoms in starts for symbol in atoms.symbols})
        self.model: dict[str, Any] = {
            "vacuum_group": model.get("vacuum_group", "O(3)"),
            **settings_of_model,
            "elements": elements,
            "environment": environment,
        }
        self.slab_energy = 0.0
        self._vacuum_energies: list[float] = []
        self._physical = Physical(self.molecules)
        self._scale = 1.0
        self._probed = np.zeros((0, 3))
        rng = np.random.default_rng(0)
        drawn = (
            self.placement.place([self._shape(n, 1.0, rng)], GENTLE, rng)
            for n in range(len(self.molecules))
        )
        self.starts = [atoms for atoms in drawn if atoms is not None]

    def zero(self) -> list[Request]:
        molecules = [Request(_in_vacuum(atoms), "start", 0) for atoms in self.molecules]
        return [Request(self.slab.copy(), "slab", 0), *molecules]

    def set_zero(self, energies: Sequence[float]) -> None:
        self.slab_energy, *self._vacuum_energies = energies

    def probe(self, rng: np.random.Generator) -> list[ase.Atoms]:
        start = self.starts[0]
        self._probed = Springs(self.molecules[0]).draw(PROBED, rng)
        pair = [start.copy(), start.copy()]
        moved = self._probed + 0.03 * self.placement.normal  # atoms have no modes
        for sign, atoms in zip((1, -1), pair, strict=True):
            atoms.positions[: len(moved)] += sign * moved
        return [start.copy(), *pair]

    def set_stiffness(self, energies: Sequence[float]) -> None:
        expected = Springs(self.molecules[0]).energy(self._probed)
        self._scale = stiffness(expected, energies)

    def draw(self, count: int, temperature: float, rng: np.random.Generator) -> list[ase.Atoms]:
        return self._draw(count, temperature, rng)

    def _draw(
        self, count: int, temperature: float, rng: np.random.Generator, stretches: int = 0
    ) -> list[ase.Atoms]:
        """Molecules at random places, near the surface, above it, and some in vacuum.

        Args:
            count: how many.
            temperature: of their shapes, K.
            rng: of all that is drawn.
            stretches: every so many-th molecule above the surface has a long bond; 0: none has.
        """
        found = []
        for number in range(count):
            kind = (number + 0.5) / count
            molecules = [self._shape(number, temperature, rng)]
            if kind >= NEAR_SHARE + ABOVE_SHARE:
                found.append(_in_vacuum(molecules[0]))
                continue
            turn = number // len(self.molecules)  # all of them, in all numbers
            if stretches and number % stretches == 0:
                molecules = [stretched(molecules[0], rng)]
            several = self.config.molecules[turn % len(self.config.molecules)]
            molecules += [self._shape(number + k, temperature, rng) for k in range(1, several)]
            how_near = NEAR if kind < NEAR_SHARE else ABOVE
            placed = self.placement.place(molecules, how_near, rng)
            if placed is not None:
                found.append(placed)
        return found

    def problem(self, atoms: ase.Atoms) -> str:
        problem = self._physical.problem(atoms)
        if problem or _is_in_vacuum(atoms):
            return problem
        if self.placement.contact(atoms) < CLOSEST:
            return "an atom is in the slab"
        if self.placement.heights(atoms).min() > self.placement.highest + BEYOND:
            return LEFT
        return ""

    def select_places(self, structures: list[ase.Atoms]) -> list[ase.Atoms]:
        """Those near the surface: a molecule far away stays there for long."""
        placed = [atoms for atoms in structures if not _is_in_vacuum(atoms)]
        return [atoms for atoms in placed if self.placement.contact(atoms) < CLOSE]

    def whole(self, atoms: ase.Atoms) -> ase.Atoms:
        """What the calculator sees: in vacuum the molecule, else with the slab."""
        return atoms if _is_in_vacuum(atoms) else self.placement.with_slab(atoms)

    def survey(
        self,
        models: Sequence[ForceField],
        known: Sequence[ase.Atoms],
        count: int,
        least: float,
        rng: np.random.Generator,
    ) -> list[Frame]:
        """Structures that dynamics may not reach: uncertain ones at random places, orientations
        and heights, up to the wall, some with a long bond, which the surface may break; and some in
        vacuum, which keep the molecule what it is there.

        Args:
            models: the committee.
            known: structures with labels.
            count: how many.
            least: deviation, eV/Å, from which a structure is uncertain.
            rng: of all that is drawn.
        """
        drawn = self._draw(SURVEYED * count, self._hottest, rng, STRETCHED)
        sane = [atoms for atoms in drawn if not self.problem(atoms)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of structures beyond the data, which are to be found
            energies = [atoms.get_potential_energy() for atoms in predict(models[0], sane)]
            spread = [float(each.max()) for each in deviations(models, sane)]
        frames = [
            Frame(atoms, 0.0, deviation)
            for atoms, energy, deviation in zip(sane, energies, spread, strict=True)
            if energy <= self.most_energy(atoms)
        ]
        vacuum = [frame for frame in frames if _is_in_vacuum(frame.atoms)]
        vacuum = vacuum[: round(IN_VACUUM * count)]
        uncertain = [
            frame for frame in frames if frame.deviation > least and not _is_in_vacuum(frame.atoms)
        ]
        return [*vacuum, *pick(uncertain, known, count - len(vacuum), self.whole)]

    def most_energy(self, atoms: ase.Atoms) -> float:
        """The energy (eV) of a structure that is as far up the wall as its label may be."""
        thermal = 1.5 * units.kB * self._hottest * len(atoms)
        return self._free_energy(atoms) + self.config.wall + thermal

    def _free_energy(self, atoms: ase.Atoms) -> float:
        """Of the molecules of a structure in vacuum, eV; infinite before that is known."""
        given = list(zip(self.molecules, self._vacuum_energies, strict=False))
        wanted = sorted(atoms.numbers)
        sums = [
            sum(energy for _, energy in chosen)
            for several in {1, *self.config.molecules}
            for chosen in combinations_with_replacement(given, several)
            if sorted(z for molecule, _ in chosen for z in molecule.numbers) == wanted
        ]
        return min(sums, default=np.inf)

    def _shape(self, number: int, temperature: float, rng: np.random.Generator) -> ase.Atoms:
        """A molecule of thermal shape and random orientation."""
        molecule = self.molecules[number % len(self.molecules)].copy()
        springs = Springs(molecule)
        springs.scale = self._scale
        molecule.positions += springs.draw(temperature, rng)
        return random_orientation(molecule, rng)


class SurfaceReference:
    """Labels of molecules above a slab: of both together, minus that of the slab.

    Molecules in vacuum are labelled as they are, and the slab as itself. Labels of start
    structures, which are put anywhere, are refused above the wall. Others are not: the model takes
    them for lower, and has to learn that it is wrong.

    Args:
        reference: that answers for slab and molecule.
        system: the molecules and their slab.
    """

    def __init__(self, reference: Reference, system: SurfaceSystem) -> None:
        self._reference, self._system = reference, system

    def answer(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        wholes = [self._whole(request) for request in requests]
        asked = {whole.id: each for whole, each in zip(wholes, requests, strict=True)}

        def subtracted(whole: Request, answer: Answer) -> None:
            request = asked[whole.id]
            on_answer(request, answer if whole is request else self._without_slab(request, answer))

        self._reference.answer(wholes, subtracted)

    def _whole(self, request: Request) -> Request:
        """What the calculator sees."""
        atoms = request.atoms if request.use == "slab" else self._system.whole(request.atoms)
        return request if atoms is request.atoms else replace(request, atoms=atoms)

    def _without_slab(self, request: Request, answer: Answer) -> Answer:
        if not answer.results:
            return answer
        energy = float(answer.results["energy"]) - self._system.slab_energy
        forces = np.asarray(answer.results["forces"])[len(self._system.slab) :]
        answer = replace(answer, results={"energy": energy, "forces": forces})
        is_start = answer.status == "labelled" and request.use == "start"
        if is_start and energy > self._system.most_energy(request.atoms):
            return replace(answer, status="refused", reason=TOO_HIGH)
        return answer

    def close(self) -> None:
        self._reference.close()


def _centred(atoms: ase.Atoms) -> ase.Atoms:
    """A molecule about the origin, without a cell."""
    found = ase.Atoms(atoms.numbers, positions=atoms.positions - atoms.get_center_of_mass())
    found.info |= atoms.info
    return found


def _in_vacuum(atoms: ase.Atoms) -> ase.Atoms:
    found = atoms.copy()
    found.info["surface"] = VACUUM
    return found


def _is_in_vacuum(atoms: ase.Atoms) -> bool:
    return bool(atoms.info.get("surface") == VACUUM)
