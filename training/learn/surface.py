"""Molecules on a slab that is no part of the model: where they are put, and what a label is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ase
import numpy as np
from ase.geometry import find_mic
from scipy.spatial.transform import Rotation

from sikff.graph.conditions import VACUUM

from ..data.slab import Findings, find_surface, surface_settings
from ..slab_settings import SlabConfig
from .config import SurfaceConfig
from .geometry import Physical, Springs, check_start, radii_of
from .label_log import Answer, Request
from .reference import OnAnswer, Reference
from .system import PROBED, stiffness

KEPT_AWAY = 4.0  # Å, of vacuum between a molecule at the end of its reach and the slab's image
REACH = 6.0  # Å
LEAST_REACH = 3.0  # Å
CLOSEST = 0.6  # of the sum of covalent radii, an atom above an atom of the slab
CLOSE = 1.5  # likewise, a molecule near the surface
BONDED = (0.85, 1.25)  # likewise, range of starts near the surface
NEAR, FAR = 0.65, 0.2  # fractions of starts near the surface, and further up; others in vacuum
BEYOND = 1.5  # Å above its reach, where a walker has left the surface
LEFT = "the molecule has left the surface"
APART = 1.5  # of the sum of covalent radii, atoms of two molecules
ATTEMPTS = 200


class SurfaceSystem:
    """Molecules above a slab.

    Args:
        config: section of the run.
        starts: molecules.
        model: keys of the force field that are given.

    Raises:
        FileNotFoundError, ValueError: for a file without a slab, too little vacuum, or a molecule
            whose atoms are in each other.
    """

    breadth = 3  # a small molecule has few forces, and many places, heights and orientations

    def __init__(
        self, config: SurfaceConfig, starts: Sequence[ase.Atoms], model: dict[str, Any]
    ) -> None:
        self.config = config
        settings = SlabConfig(
            slab=config.slab, slab_side=config.side, slab_tolerance=config.tolerance
        )
        self.findings: Findings = find_surface(settings)
        self.slab, found = self.findings.slab.copy(), self.findings.found
        self.slab.set_constraint()
        self.normal, self.origin = found.normal, found.origin
        self.lattice = np.array(found.wallpaper.lattice)
        for number, atoms in enumerate(starts):
            check_start(atoms, f"molecule {number}")
        self.molecules = [_centred(atoms) for atoms in starts]
        self.axis = _open_axis(self.slab, self.normal)
        self.reach = self._find_reach()
        settings_of_model = surface_settings(found)
        environment = {**settings_of_model.pop("environment"), "plane_range": self.reach + BEYOND}
        elements = sorted({symbol for atoms in starts for symbol in atoms.symbols})
        self.model: dict[str, Any] = {
            "vacuum_group": model.get("vacuum_group", "O(3)"),
            **settings_of_model,
            "elements": elements,
            "environment": environment,
        }
        self.slab_energy = 0.0
        self._physical = Physical(self.molecules)
        self._scale = 1.0
        self._probed = np.zeros((0, 3))
        self.starts = self.draw(len(self.molecules), 1.0, np.random.default_rng(0), near=True)

    def zero(self) -> list[ase.Atoms]:
        return [self.slab.copy()]

    def set_zero(self, energies: Sequence[float]) -> None:
        (self.slab_energy,) = energies

    def probe(self, rng: np.random.Generator) -> list[ase.Atoms]:
        start = self.starts[0]
        self._probed = Springs(self.molecules[0]).draw(PROBED, rng)
        pair = [start.copy(), start.copy()]
        moved = self._probed + 0.03 * self.normal  # atoms have no modes
        for sign, atoms in zip((1, -1), pair, strict=True):
            atoms.positions[: len(moved)] += sign * moved
        return [start.copy(), *pair]

    def set_stiffness(self, energies: Sequence[float]) -> None:
        expected = Springs(self.molecules[0]).energy(self._probed)
        self._scale = stiffness(expected, energies)

    def draw(
        self, count: int, temperature: float, rng: np.random.Generator, near: bool = False
    ) -> list[ase.Atoms]:
        """Molecules at random places, near the surface, above it, and some in vacuum."""
        found = []
        for number in range(count):
            kind = 0.0 if near else (number + 0.5) / count
            molecules = [self._shape(number, temperature, rng)]
            if kind >= NEAR + FAR:
                vacuum = molecules[0]
                vacuum.info["surface"] = VACUUM
                found.append(vacuum)
                continue
            several = self.config.molecules[number % len(self.config.molecules)]
            molecules += [self._shape(number + k, temperature, rng) for k in range(1, several)]
            placed = self._place(molecules, kind < NEAR, rng)
            if placed is not None:
                found.append(placed)
        return found

    def problem(self, atoms: ase.Atoms) -> str:
        problem = self._physical.problem(atoms)
        if problem or atoms.info.get("surface") == VACUUM:
            return problem
        if self._contact(atoms) < CLOSEST:
            return "an atom is in the slab"
        heights = (atoms.positions - self.origin) @ self.normal
        if heights.min() > self.reach + BEYOND:
            return LEFT
        return ""

    def select_places(self, structures: list[ase.Atoms]) -> list[ase.Atoms]:
        """Those near the surface: a molecule far away stays there for long."""
        placed = [atoms for atoms in structures if atoms.info.get("surface") != VACUUM]
        return [atoms for atoms in placed if self._contact(atoms) < CLOSE]

    def with_slab(self, atoms: ase.Atoms) -> ase.Atoms:
        """The slab and molecules above it, the molecules last."""
        joined = self.slab.copy()
        joined += ase.Atoms(atoms.numbers, positions=atoms.positions)
        return joined

    def empty_cell(self) -> ase.Atoms:
        """The cell of the slab, periodic along it."""
        return ase.Atoms(cell=self.slab.cell, pbc=[i != self.axis for i in range(3)])

    def _shape(self, number: int, temperature: float, rng: np.random.Generator) -> ase.Atoms:
        """A molecule of thermal shape and random orientation."""
        molecule = self.molecules[number % len(self.molecules)].copy()
        springs = Springs(molecule)
        springs.scale = self._scale
        molecule.positions += springs.draw(temperature, rng)
        turn = Rotation.from_quat(rng.standard_normal(4))
        molecule.positions = turn.apply(molecule.positions)
        return molecule

    def _place(
        self, molecules: list[ase.Atoms], near: bool, rng: np.random.Generator
    ) -> ase.Atoms | None:
        """Molecules above random points of the slab's cell; None if there is no room for them."""
        lateral = np.delete(self.slab.cell.array, self.axis, axis=0)
        placed = self.empty_cell()
        for molecule in molecules:
            for _ in range(ATTEMPTS):
                trial = molecule.copy()
                trial.positions += self.origin + rng.random(2) @ lateral
                self._set_height(trial, near, rng)
                both = placed + ase.Atoms(trial.numbers, positions=trial.positions)
                if _apart(placed, trial, both):
                    placed = both
                    break
            else:
                return None
        return placed

    def _set_height(self, atoms: ase.Atoms, near: bool, rng: np.random.Generator) -> None:
        """Lifts a molecule to a random nearness to the slab, or to a random height."""
        lowest = ((atoms.positions - self.origin) @ self.normal).min()
        atoms.positions += (self.reach - lowest) * self.normal
        if not near:
            least = self.height_of(atoms, BONDED[1])
            atoms.positions -= rng.random() * (self.reach - least) * self.normal
            return
        wanted = rng.uniform(*BONDED)
        atoms.positions -= (self.reach - self.height_of(atoms, wanted)) * self.normal

    def height_of(self, atoms: ase.Atoms, ratio: float) -> float:
        """Height (Å) of the lowest atom at which a molecule is so near to the slab.

        Args:
            atoms: with its lowest atom at the end of its reach.
            ratio: of the smallest distance to an atom of the slab and the sum of covalent radii.
        """
        high, low = self.reach, -2.0
        for _ in range(20):
            middle = 0.5 * (high + low)
            moved = atoms.copy()
            moved.positions -= (self.reach - middle) * self.normal
            high, low = (middle, low) if self._contact(moved) > ratio else (high, middle)
        return high

    def _contact(self, atoms: ase.Atoms) -> float:
        """The smallest distance to an atom of the slab over the sum of their covalent radii."""
        steps = self.slab.positions[None] - atoms.positions[:, None]
        pbc = [i != self.axis for i in range(3)]
        _, lengths = find_mic(steps.reshape(-1, 3), self.slab.cell, pbc)
        sums = radii_of(atoms)[:, None] + radii_of(self.slab)
        return float((lengths.reshape(sums.shape) / sums).min())

    def _find_reach(self) -> float:
        """Heights (Å) up to which molecules are put.

        Raises:
            ValueError: if the vacuum does not suffice.
        """
        if not self.slab.pbc[self.axis]:
            return self.config.reach or REACH
        heights = self.slab.positions @ self.normal
        period = abs(float(self.slab.cell.array[self.axis] @ self.normal))
        size = max(float(np.ptp(atoms.positions, axis=0).max()) for atoms in self.molecules)
        room = period - float(np.ptp(heights)) - size - KEPT_AWAY
        reach = min(REACH, room) if self.config.reach is None else self.config.reach
        if reach > room or reach < min(LEAST_REACH, self.config.reach or LEAST_REACH):
            raise ValueError(
                f"{str(self.config.slab)!r} has {period - np.ptp(heights):.3g} Å of vacuum; a "
                f"molecule of {size:.2g} Å that is up to {max(reach, LEAST_REACH):.2g} Å above it "
                f"and {KEPT_AWAY:g} Å from the next slab needs "
                f"{size + KEPT_AWAY + max(reach, LEAST_REACH):.3g} Å. Add vacuum, or lower "
                "surface.reach"
            )
        return reach


class SurfaceReference:
    """Labels of molecules above a slab: of both together, minus that of the slab.

    Molecules in vacuum are labelled as they are, and the slab as itself.

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
            on_answer(request, answer if whole is request else self._without_slab(answer))

        self._reference.answer(wholes, subtracted)

    def _whole(self, request: Request) -> Request:
        """What the calculator sees."""
        if request.use == "slab" or request.atoms.info.get("surface") == VACUUM:
            return request
        return replace(request, atoms=self._system.with_slab(request.atoms))

    def _without_slab(self, answer: Answer) -> Answer:
        if not answer.results:
            return answer
        results = {
            "energy": float(answer.results["energy"]) - self._system.slab_energy,
            "forces": np.asarray(answer.results["forces"])[len(self._system.slab) :],
        }
        return replace(answer, results=results)

    def close(self) -> None:
        self._reference.close()


def _centred(atoms: ase.Atoms) -> ase.Atoms:
    """A molecule about the origin, without a cell."""
    found = ase.Atoms(atoms.numbers, positions=atoms.positions - atoms.get_center_of_mass())
    found.info |= atoms.info
    return found


def _open_axis(slab: ase.Atoms, normal: np.ndarray) -> int:
    """The cell vector that leads out of the slab."""
    if not slab.pbc.all():
        return int(np.flatnonzero(~slab.pbc)[0])
    others = slab.cell.reciprocal()  # that of the vector out of the slab is along the normal
    return int(np.argmax(np.abs(others.array @ normal) / others.lengths()))


def _apart(placed: ase.Atoms, trial: ase.Atoms, both: ase.Atoms) -> bool:
    """Whether a further molecule is far enough from those that are there."""
    if not len(placed):
        return True
    lengths = both.get_all_distances(mic=True)[: len(placed), len(placed) :]
    sums = radii_of(placed)[:, None] + radii_of(trial)
    return bool((lengths / sums).min() > APART)
