"""What LAMMPS calls in each step: forces, energies and virials of the atoms of one process.

A single process takes all atoms and searches their neighbours through periodic boundaries. Of
several each evaluates the atoms that LAMMPS gave it, beside copies of those that are near them
(ghosts), see :class:`Exchange`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch

from sikff.forcefield import ForceField
from sikff.forcefield.committee import graph_settings
from sikff.forcefield.environment import THROUGH
from sikff.graph import StructureArrays
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_list import NeighbourList

from .exchange import Exchange
from .lammps_types import numbers_by_type
from .owned_atoms import OwnedPrediction, predict_owned
from .structure_evaluator import check_finite

ENERGY_UNITS = {"metal": 1.0, "real": 23.060549}  # of LAMMPS, for 1 eV; lengths are Å in both
MARGIN = 0.02  # Å, of copies; LAMMPS sees the deformation of a box only as moves of its corners
NO_GHOSTS = 0.1  # Å; LAMMPS warns of none at all
ORDER = [0, 1, 2, 5, 4, 3]  # xx, yy, zz, xy, xz, yz among the components in Voigt's order
EMPTY = StructureArrays.of(np.empty((0, 3)), np.empty(0, int))
Stop = Callable[[int, BaseException], NoReturn]


class _Reference(NamedTuple):
    """Where atoms were when LAMMPS last chose which of them are copied."""

    positions: np.ndarray  # [N, 3] Å, from a corner of the box
    cell: np.ndarray  # [3, 3] Å


class LammpsForces:
    """The callback of a fix external.

    Args: see :func:`attach`.

    Attributes:
        models: the models, one or those of the committee.
        elements: chemical symbol of each atom type.
        warned: extrapolation warnings so far, by kind.
    """

    def __init__(
        self,
        lmp: Any,
        fix: str,
        models: Sequence[ForceField],
        elements: Sequence[str],
        skin: float,
        conditions: Conditions,
    ) -> None:
        self.models, self.elements, self.skin = models, tuple(elements), skin
        self.warned: dict[str, str] = {}
        device = next(models[0].parameters()).device
        self.neighbour_lists = {
            settings: NeighbourList(*settings, skin=skin, device=device)
            for settings in map(graph_settings, models)
        }
        self._lmp, self._fix, self._conditions = lmp, fix, conditions
        self._cutoff = max(model.cutoff for model in models)
        self._unit = ENERGY_UNITS[lmp.extract_global("units")]
        self._comm = lmp.get_mpi_comm()
        self._is_shared = self._comm is not None and self._comm.size > 1
        self._numbers, self._box = numbers_by_type(elements), EMPTY
        self._exchange: Exchange | None = None
        self._reference = _Reference(np.empty((0, 3)), np.eye(3))

    def set_up(self, stop: Stop) -> None:
        """Makes the fix, and the settings of LAMMPS that it needs; `stop` is told of errors.

        Raises:
            ValueError: for a box in which the models' surfaces cannot be.
        """
        self._read_box()
        commands = [f"fix_modify {self._fix} energy yes virial yes"]
        if not self._lmp.has_id("fix", self._fix):
            commands.insert(0, f"fix {self._fix} all external pf/callback 1 1")
        if self._is_shared:
            commands += [
                f"neighbor {self.skin} bin",
                "neigh_modify every 1 delay 0 check yes",
                f"comm_modify cutoff {self._cutoff + self.skin + MARGIN}",
            ]
        else:
            commands.append(f"comm_modify cutoff {NO_GHOSTS}")
        for each in commands:
            self._lmp.command(each)

        def callback(_: Any, step: int, n: int, tags: Any, x: Any, forces: Any) -> None:
            try:
                forces[:] = self._evaluate(n, tags, x)
            except BaseException as error:  # LAMMPS would take no notice and go on
                stop(step, error)

        self._lmp.set_fix_external_callback(self._fix, callback, None)
        if len(self.models) > 1:
            self._lmp.fix_external_set_vector_length(self._fix, 2)

    def _evaluate(self, n: int, tags: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Forces [n, 3] on the atoms of this process; energies and virials go to the fix."""
        corner, furthest, receivers = self._read_box(), 0.0, None
        if self._is_shared:
            atoms, receivers = self._shared_atoms(n, tags, corner), n
            furthest = self._furthest_move(atoms.positions - corner)
        else:
            types = self._lmp.numpy.extract_atom("type", nelem=n)
            atoms = self._box._replace(positions=x, numbers=self._numbers[types])
        try:
            graphs = {
                settings: each.graph(atoms, self._conditions, receivers)
                for settings, each in self.neighbour_lists.items()
            }
        except ValueError as error:
            raise ValueError(
                f"{error} Atoms are counted from 0, in the order of LAMMPS' arrays on process "
                f"{self._comm.rank if self._is_shared else 0}; the time step may be too long"
            ) from error
        found: list[OwnedPrediction] = []
        new: dict[str, str] = {}
        for model in self.models:
            graph = graphs[graph_settings(model)]
            if len(atoms.numbers):
                new |= model.extrapolation_warnings(graph)
            found.append(predict_owned(model, graph, self._exchange))
        columns = zip(*found, strict=True)
        mean = OwnedPrediction(*(torch.stack(each).mean(0).cpu() for each in columns))
        check_finite(mean._asdict())
        self._set_results(mean, found, furthest, new)
        return mean.forces.numpy() * self._unit

    def _read_box(self) -> np.ndarray:
        """The lower corner [3] of the box, whose vectors are then in `_box`.

        Raises:
            ValueError: for a box in which the models' surfaces cannot be.
        """
        low, high, xy, yz, xz, periodic, _ = self._lmp.extract_box()
        a, b, c = np.subtract(high, low)
        cell = np.array([[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]])
        pbc = np.array(periodic, dtype=bool)
        if np.array_equal(cell, self._box.cell) and np.array_equal(pbc, self._box.pbc):
            return np.array(low)
        self._box = EMPTY._replace(cell=cell, pbc=pbc)
        for model in self.models:
            model.check_cell(self._box, self._conditions)
            if model.opened(self._box, self._conditions) is not self._box:
                raise ValueError(
                    f"{THROUGH}, along which LAMMPS wraps positions; expected a boundary that is "
                    "not periodic along the normal, such as `boundary p p f`"
                )
        return np.array(low)

    def _shared_atoms(self, n: int, tags: np.ndarray, corner: np.ndarray) -> StructureArrays:
        """The n atoms of this process and the copies of others, which have no periodic images."""
        total = n + self._lmp.extract_global("nghost")
        arrays = self._lmp.numpy
        x = arrays.extract_atom("x", nelem=total, dim=3)
        types = arrays.extract_atom("type", nelem=total)
        exchange, is_new = self._exchange, self._lmp.extract_setting("neigh_ago") == 0
        if exchange is None or is_new:
            is_new = True
            ids = arrays.extract_atom("id", nelem=total)
            exchange = self._exchange = Exchange(self._comm, tags, ids[n:])
        order = np.concatenate([np.arange(n), n + exchange.ghost_order])
        positions = x[order]
        if is_new:
            self._reference = _Reference(positions - corner, self._box.cell)
        numbers = self._numbers[types[order]]
        return EMPTY._replace(positions=positions, numbers=numbers, cell=self._box.cell)

    def _furthest_move(self, positions: np.ndarray) -> float:
        """How far (Å) an atom has come nearer to others than the box, since they were copied.

        Half of what pairs have lost to the deformation of the box is added.
        """
        deformation = np.linalg.solve(self._reference.cell, self._box.cell)
        moves = positions - self._reference.positions @ deformation
        furthest = np.sqrt(np.einsum("nx,nx->n", moves, moves).max(initial=0.0))
        stretch = np.linalg.svd(deformation, compute_uv=False)[-1]
        return float(furthest + (self._cutoff + self.skin) * max(0.0, 1 - stretch) / 2)

    def _set_results(
        self,
        mean: OwnedPrediction,
        found: Sequence[OwnedPrediction],
        furthest: float,
        new: dict[str, str],
    ) -> None:
        """Tells LAMMPS the energies and virials, and the user what is new to be warned of."""
        new = {kind: text for kind, text in new.items() if kind not in self.warned}
        of_models = [each.energies.sum().item() for each in found]
        spread = 0.0
        if len(found) > 1 and len(mean.forces):
            spread = torch.stack([each.forces for each in found]).std(0).max().item()
        sums = np.array([len(new), *mean.virials.sum(0).numpy(), *of_models])
        most = np.array([furthest, spread])
        if self._is_shared:  # the one meeting of a step: no process goes on if another cannot
            mine = np.concatenate([most, sums])
            every = np.empty((self._comm.size, len(mine)))
            self._comm.Allgather(mine, every)
            most, sums = every[:, :2].max(axis=0), every[:, 2:].sum(axis=0)
        n_new, virial, energies = sums[0], sums[1:7], sums[7:]
        self._check_move(most[0])
        if n_new:
            self._warn(new)
        lmp, fix, unit = self._lmp, self._fix, self._unit
        lmp.fix_external_set_energy_global(fix, energies.mean() * unit)
        lmp.fix_external_set_virial_global(fix, -virial[ORDER] * unit)
        if len(mean.forces):
            lmp.numpy.fix_external_set_energy_peratom(fix, mean.energies.numpy() * unit)
            virials = np.ascontiguousarray(-mean.virials.numpy()[:, ORDER] * unit)
            lmp.numpy.fix_external_set_virial_peratom(fix, virials)
        if len(found) > 1:
            lmp.fix_external_set_vector(fix, 1, energies.std(ddof=1) * unit)
            lmp.fix_external_set_vector(fix, 2, most[1] * unit)

    def _check_move(self, furthest: float) -> None:
        """Raises ValueError if an atom may be missing among the copies."""
        if furthest > (self.skin + MARGIN) / 2:
            raise ValueError(
                f"an atom moved {furthest:.3g} Å before LAMMPS looked again which atoms are near; "
                f"expected {self.skin / 2:g} Å at most. Remove neighbor, neigh_modify and "
                "comm_modify after the fix, which sets them, or take a larger --skin"
            )

    def _warn(self, new: dict[str, str]) -> None:
        """Warnings of all processes, each kind once, from the first one."""
        every = self._comm.gather(new) if self._is_shared else [new]
        for kind, text in [item for each in every or () for item in each.items()]:
            if kind not in self.warned:
                self.warned[kind] = text
                warnings.warn(text, stacklevel=2)
        self.warned = new | self.warned
