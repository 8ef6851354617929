"""Force fields in i-PI, which moves the beads of path integrals: extra `ipi`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from sikff.graph import StructureArrays
from sikff.graph.conditions import FIELD, ORIGIN, Conditions

from .ase_properties import check_parameters
from .structure_evaluator import REPLAY_AFTER, SKIN, StructureEvaluator

DRIVER = Path(__file__).with_name("ipi_driver.py")  # what i-PI loads
ANGSTROM, ELECTRONVOLT = 1.8897261, 0.036749326  # in atomic units, as i-PI has them
VECTORS = (FIELD, ORIGIN)

Result = tuple[float, np.ndarray, np.ndarray, str]  # energy, forces [N, 3], virial [3, 3], extras


class SIKFFDriver:
    """What i-PI calls for energies, forces and virials: ``<ffdirect>`` with ``<pes> custom``.

    The arguments are the ``<parameters>`` of the force field in the input of i-PI. With a
    ``<batch_size>`` several beads are evaluated at once. Elements, periodic directions and
    conditions (`electric_field` and the others of :class:`~sikff.calculators.SIKFFCalculator`) are
    those of the last structure in the template; positions and cell those of i-PI. Virials are NaN
    in components that depend on the origin of the coordinates, above a surface.

    An error ends i-PI, also in a force field with threads of its own.

    Args:
        template: a file of the structure, as ASE reads it.
        model: path of a model file; of several, separated by spaces, the mean.
        device, dtype, skin: as those of SIKFFCalculator.
        replay_after: likewise; "none": never.
        verbosity: of i-PI, which gives it to every driver.
        **conditions: `electric_field`, `surface_origin` (three numbers separated by spaces),
            `surface`, `charge`, `spin`, if the template has none.

    Raises:
        FileNotFoundError, ValueError: as SIKFFCalculator; for other parameters.
    """

    def __init__(
        self,
        template: str,
        model: str,
        device: str = "auto",
        dtype: str | None = None,
        skin: float = SKIN,
        replay_after: int | str = REPLAY_AFTER,
        verbosity: object = None,
        **conditions: Any,
    ) -> None:
        given = {k: v.split() if k in VECTORS else v for k, v in conditions.items()}
        check_parameters(given)
        atoms = ase.io.read(template)
        self._numbers, self._pbc = atoms.numbers, atoms.pbc
        self._conditions = Conditions.of(atoms.info, given)
        patience = None if replay_after == "none" else replay_after
        self._evaluator = StructureEvaluator.of(
            model.split(), device, dtype, skin, replay_after=patience
        )

    def __call__(
        self, cell: np.ndarray | Sequence[np.ndarray], pos: np.ndarray | Sequence[np.ndarray]
    ) -> Result | list[Result]:
        """Results for one structure, or for a list of them, in atomic units.

        Args:
            cell: [3, 3], columns are cell vectors.
            pos: [N, 3].

        Raises:
            ValueError: for another number of atoms than in the template; as SIKFFCalculator.
            CalculationFailed: if a model returns NaN or infinity.
        """
        try:
            if isinstance(cell, np.ndarray):
                return self._results([cell], [pos])[0]
            return self._results(cell, pos)
        except Exception as error:
            _end_simulation(error)
            raise

    def _results(self, cells: Sequence[Any], positions: Sequence[Any]) -> list[Result]:
        n = len(self._numbers)
        if any(len(each) != n for each in positions):
            raise ValueError(
                f"i-PI has {len(positions[0])} atoms, the template {n}; expected the same atoms, "
                "in the same order"
            )
        structures = [
            StructureArrays.of(x / ANGSTROM, self._numbers, cell.T / ANGSTROM, self._pbc)
            for x, cell in zip(positions, cells, strict=True)
        ]
        conditions = [self._conditions] * len(structures)
        found = self._evaluator.mean(structures, conditions, stress=True)
        energies, forces, stresses = (
            x.double().cpu().numpy() for x in (found.energy, found.forces, found.stress)
        )
        volumes = abs(np.linalg.det([structure.cell for structure in structures]))
        virials = -stresses * volumes[:, None, None] * ELECTRONVOLT
        forces = forces.reshape(-1, n, 3) * (ELECTRONVOLT / ANGSTROM)
        return [
            (energy * ELECTRONVOLT, force, virial, "")
            for energy, force, virial in zip(energies.tolist(), forces, virials, strict=True)
        ]


def _end_simulation(error: Exception) -> None:
    """Ends i-PI from one of its threads, whose exceptions would leave the others waiting."""
    if threading.current_thread() is not threading.main_thread():
        from ipi.utils.softexit import softexit

        softexit.cleanup("bad", f"sikff: {error}")
