"""Langevin dynamics of several structures at once, each at its temperature, in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import ase
import numpy as np
import torch
from ase import units
from ase.constraints import FixAtoms
from torch import Tensor

from sikff.calculators.prepare_models import choose_evaluators, prepared
from sikff.forcefield import ForceField
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_list import NeighbourList
from sikff.plain_torch import plain_torch

SKIN = 0.8  # Å
COMPRESSIBILITY = 1 / (20 * units.GPa)  # Å^3/eV, between those of liquids and metals
LARGEST_STRAIN = 0.01  # of the volume, in a step


@dataclass
class Walker:
    """A structure that moves.

    Attributes:
        atoms: with momenta; changed in place.
        temperature: K.
        moves: whether it moves at present.
    """

    atoms: ase.Atoms
    temperature: float
    moves: bool = True


class Walkers:
    """Moves copies of structures by the Langevin equation (BAOAB), all in one graph.

    A batch of small structures costs little more than one. Walkers that do not move stay in the
    batch. Atoms of FixAtoms do not move. With a pressure the volume moves as well, by stochastic
    cell rescaling (Bernetti and Bussi, J. Chem. Phys. 153, 114107, 2020).

    Args:
        model: a force field; a frozen copy is used.
        walkers: with structures that the model allows.
        timestep: fs.
        friction: 1/fs.
        rng: of the thermostat.
        pressure: GPa, of structures with a 3D cell; None: cells stay.

    Raises:
        ValueError: for constraints other than FixAtoms.
    """

    def __init__(
        self,
        model: ForceField,
        walkers: Sequence[Walker],
        timestep: float,
        friction: float,
        rng: np.random.Generator,
        pressure: float | None = None,
    ) -> None:
        self.walkers, self._rng = list(walkers), rng
        self._step, self._friction = timestep * units.fs, friction / units.fs
        self._pressure = None if pressure is None else pressure * units.GPa
        self.model = cast(ForceField, prepared(model, torch.device("cpu"), None))
        (self._evaluator,) = choose_evaluators([self.model], False, 3)
        settings = (self.model.cutoff, self.model.elements, self.model.surfaces)
        self._lists = [NeighbourList(*settings, skin=SKIN) for _ in self.walkers]
        self._conditions = [Conditions.of(walker.atoms.info) for walker in self.walkers]
        for walker, conditions in zip(self.walkers, self._conditions, strict=True):
            self.model.check_conditions(conditions)
            self.model.check_cell(walker.atoms, conditions)
        sizes = [len(walker.atoms) for walker in self.walkers]
        self._parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        self._masses = np.concatenate([w.atoms.get_masses() for w in self.walkers])[:, None]
        kt = [units.kB * w.temperature for w in self.walkers]
        self._kt = np.repeat(kt, sizes)[:, None]
        self._free = np.concatenate([free_atoms(walker.atoms) for walker in self.walkers])[:, None]
        self._forces = np.zeros((sum(sizes), 3))
        self._stresses = np.zeros((len(sizes), 3, 3))

    @plain_torch()
    def run(self, steps: int) -> np.ndarray:
        """Moves all walkers by so many steps.

        Returns:
            Energies [walkers] at the end, eV; NaN for those whose atoms overlap: they stop.
        """
        energies = self._evaluate()
        for _ in range(steps):
            if not any(walker.moves for walker in self.walkers):
                break
            self._advance()
            energies = self._evaluate()
            self._kick()
            if self._pressure is not None:
                self._rescale_cells()
        return energies

    def _advance(self) -> None:
        """Half a kick, and the positions at the end of the step."""
        self._kick()
        momenta, moving = self._momenta(), self._moving()
        half = 0.5 * self._step / self._masses
        decay = np.exp(-self._friction * self._step)
        noise = self._rng.standard_normal(momenta.shape)
        noise *= np.sqrt((1 - decay**2) * self._masses * self._kt)
        moved = half * momenta
        momenta = decay * momenta + noise
        moved = moving * (moved + half * momenta)
        for walker, part in zip(self.walkers, self._parts, strict=True):
            if walker.moves:
                walker.atoms.positions += moved[part]
                walker.atoms.arrays["momenta"] = moving[part] * momenta[part]

    def _kick(self) -> None:
        for walker, part in zip(self.walkers, self._parts, strict=True):
            if walker.moves:
                kick = 0.5 * self._step * self._forces[part]
                walker.atoms.arrays["momenta"] += self._free[part] * kick

    def _momenta(self) -> np.ndarray:
        for walker in self.walkers:
            if not walker.atoms.has("momenta"):
                walker.atoms.set_array("momenta", np.zeros((len(walker.atoms), 3)))
        return np.concatenate([walker.atoms.arrays["momenta"] for walker in self.walkers])

    def _moving(self) -> np.ndarray:
        of_walkers = np.repeat([w.moves for w in self.walkers], [len(p) for p in self._parts])
        return self._free * of_walkers[:, None]

    def _evaluate(self) -> np.ndarray:
        """Sets forces and stresses, and returns energies; walkers that overlap stop."""
        self._momenta()
        graphs: list[AtomicGraph] = []
        broken = np.zeros(len(self.walkers), dtype=bool)
        for index, (walker, neighbours) in enumerate(zip(self.walkers, self._lists, strict=True)):
            conditions = self._conditions[index]
            try:
                opened = self.model.opened(walker.atoms, conditions)
                graphs.append(neighbours.graph(opened, conditions))
            except ValueError:  # atoms that overlap, or are not finite
                broken[index], walker.moves = True, False
        energies = np.full(len(self.walkers), np.nan)
        if not graphs:
            return energies
        has_stress = self._pressure is not None
        found = self._evaluator(AtomicGraph.batch_of(graphs), forces=True, stress=has_stress)
        energies[~broken] = found.energy.detach().numpy()
        left = np.concatenate([p for p, b in zip(self._parts, broken, strict=True) if not b])
        self._forces[left] = cast(Tensor, found.forces).detach().double().numpy()
        if found.stress is not None:
            self._stresses[~broken] = found.stress.detach().double().numpy()
        bad = ~np.isfinite(energies) | [not np.isfinite(self._forces[p]).all() for p in self._parts]
        for index in np.flatnonzero(bad).tolist():
            self.walkers[index].moves = False
            energies[index] = np.nan
        return energies

    def _rescale_cells(self) -> None:
        """One step of the logarithms of the volumes."""
        rate = COMPRESSIBILITY * self._friction * self._step / 5  # the cell is five times slower
        for index, walker in enumerate(self.walkers):
            atoms = walker.atoms
            if not walker.moves or not atoms.pbc.all():
                continue
            volume, kt = atoms.get_volume(), units.kB * walker.temperature
            momenta, masses = atoms.arrays["momenta"], self._masses[self._parts[index]]
            kinetic = (momenta**2 / masses).sum() / (3 * volume)
            internal = kinetic - np.trace(self._stresses[index]) / 3
            change = rate * (internal - self._pressure + kt / volume)
            change += np.sqrt(2 * kt * rate / volume) * self._rng.standard_normal()
            factor = np.exp(np.clip(change, -LARGEST_STRAIN, LARGEST_STRAIN) / 3)
            atoms.set_cell(factor * atoms.cell.array, scale_atoms=True)
            atoms.arrays["momenta"] = momenta / factor


def free_atoms(atoms: ase.Atoms) -> np.ndarray:
    """[N] 1 for atoms that move, 0 for those of FixAtoms.

    Raises:
        ValueError: for other constraints.
    """
    others = [type(each).__name__ for each in atoms.constraints if not isinstance(each, FixAtoms)]
    if others:
        raise ValueError(f"walkers keep FixAtoms alone; remove {', '.join(sorted(set(others)))}")
    free = np.ones(len(atoms))
    for each in atoms.constraints:
        free[each.index] = 0.0
    return free
