"""Calculators that threads share: every thread gets the results of its own structure."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ase
import numpy as np
import pytest
import torch

from pair_model import PairModel, structures
from sikff.calculators import SIKFFCalculator
from tolerances import TOLERANCES

LIMIT = TOLERANCES[torch.float64].parity
STEPS = 10


class PausingModel(PairModel):
    """Lets other threads run before and after it computes."""

    def forward(self, graph, forces=True, stress=False, dipole=False):
        time.sleep(1e-3)
        prediction = super().forward(graph, forces, stress, dipole)
        time.sleep(1e-3)
        return prediction


class PausingCalculator(SIKFFCalculator):
    """Lets other threads run between the calculation and the reading of its results."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        time.sleep(1e-3)


def results(calculator: SIKFFCalculator, atoms: ase.Atoms) -> dict[str, np.ndarray]:
    deviations = calculator.get_deviations(atoms)
    return {
        "forces": calculator.get_forces(atoms),
        "energy": np.array(calculator.get_potential_energy(atoms)),
        "forces_std": deviations["forces_std"],
        "energy_std": np.array(deviations["energy_std"]),
        "dipole": calculator.get_field_response(atoms).dipole,
    }


def trajectory(
    calculator: SIKFFCalculator, atoms: ase.Atoms, read: Callable
) -> list[dict[str, np.ndarray]]:
    """What `read` returns at each step of a random walk that depends on the structure only."""
    atoms, values = atoms.copy(), []
    for step in range(STEPS):
        atoms.rattle(0.02, seed=step)
        values.append(read(calculator, atoms))
    return values


@pytest.mark.parametrize(
    "read", [results, lambda c, a: dict(c.calculate_properties(a, ["forces"]))]
)
def test_threads_that_share_a_calculator_get_results_of_their_own_structures(
    read: Callable,
) -> None:
    models = [PausingModel().double(), PausingModel(cutoff=3.5).double()]
    alone = [PausingCalculator(models, device="cpu") for _ in range(3)]
    shared = PausingCalculator(models, device="cpu")
    walkers = structures()[:3]
    expected = [trajectory(c, a, read) for c, a in zip(alone, walkers, strict=True)]
    with ThreadPoolExecutor(3) as pool:
        parallel = list(pool.map(lambda atoms: trajectory(shared, atoms, read), walkers))
    for in_thread, single in zip(parallel, expected, strict=True):
        for one, other in zip(in_thread, single, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert np.abs(one[name] - other[name]).max() < LIMIT, name
