"""Structures whose optimisers and integrators run side by side, with energies from one batch."""

import threading
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.calculators.calculator import CalculationFailed
from ase.constraints import FixAtoms, FixBondLengths
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE, LBFGS

from force_fields import crystal, ethanol, force_field
from pair_model import PairModel, structures
from sikff.calculators import SIKFFCalculator
from sikff.calculators.lockstep import run_together
from sikff.calculators.structure_evaluator import StructureEvaluator
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def evaluator(*models: Any, **options: Any) -> StructureEvaluator:
    return StructureEvaluator.of(models, device="cpu", **options)


def optimise(n: int, atoms: ase.Atoms) -> int:
    """By another method and for another number of steps each."""
    target = FrechetCellFilter(atoms) if atoms.pbc.all() else atoms
    with [BFGS, LBFGS, FIRE][n % 3](target, logfile=None) as method:
        method.run(fmax=1e-3, steps=3 + 4 * n)
        return method.nsteps


def test_each_structure_takes_the_way_that_it_takes_alone() -> None:
    """Some end early, some strain their cells, so that the batch changes and needs the stress."""
    model = force_field()
    starts = [ethanol(), crystal(), ethanol(1), ethanol(2), ethanol(3)]
    starts[2].set_constraint([FixAtoms([0]), FixBondLengths([(1, 2)])])
    together, alone = ([atoms.copy() for atoms in starts] for _ in range(2))
    steps = run_together(evaluator(model), together, optimise)
    for n, (atoms, expected) in enumerate(zip(together, alone, strict=True)):
        expected.calc = SIKFFCalculator(model, device="cpu")
        assert steps[n] == optimise(n, expected)
        assert atoms.positions == pytest.approx(expected.positions, abs=1000 * LIMITS.invariance)
        assert atoms.get_potential_energy() == pytest.approx(expected.get_potential_energy())
        assert set(atoms.calc.results) == set(expected.calc.results)
        assert abs(atoms.positions - starts[n].positions).max() > 1e-3
    assert together[1].get_stress() == pytest.approx(alone[1].get_stress(), abs=1e-7)


def test_a_step_of_all_is_one_call_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    model = PairModel().double()
    shared = evaluator(model)
    compute = shared.evaluate

    def counted(given: Any, *args: Any, **options: Any) -> Any:
        sizes.append(len(given))
        return compute(given, *args, **options)

    monkeypatch.setattr(shared, "evaluate", counted)

    def move(n: int, atoms: ase.Atoms) -> None:
        VelocityVerlet(atoms, units.fs).run(6 if n else 2)

    run_together(shared, [atoms for atoms in structures() if len(atoms) > 1], move)
    assert sizes == [4] * 7  # one that has ended stays until more than half of them have


def test_structures_that_have_ended_leave_the_batch() -> None:
    sizes: list[int] = []
    shared = evaluator(PairModel().double())
    compute = shared.evaluate
    shared.evaluate = lambda given, *args, **options: (
        sizes.append(len(given)) or compute(given, *args, **options)
    )

    def move(n: int, atoms: ase.Atoms) -> None:
        VelocityVerlet(atoms, units.fs).run(n + 1)

    run_together(shared, [structures()[0] for _ in range(4)], move)
    assert sizes == [4, 4, 4, 4, 1]


def test_an_error_of_one_structure_is_its_own() -> None:
    """It ends, and the others get the forces that they have alone."""
    model = force_field()
    starts = [ethanol(), ethanol(1), ethanol(2)]
    together = [atoms.copy() for atoms in starts]

    def work(n: int, atoms: ase.Atoms) -> np.ndarray:
        for step in range(4):
            if (n, step) == (1, 2):
                atoms.positions[0] = atoms.positions[1]
            atoms.positions += 0.01
            forces = atoms.get_forces()
        return forces

    found = run_together(evaluator(model), together, work)
    assert isinstance(found[1], ValueError)
    assert "atoms 0 (C) and 1 (C) are 0 Å apart" in str(found[1])
    for n in (0, 2):
        starts[n].calc = SIKFFCalculator(model, device="cpu")
        assert found[n] == pytest.approx(work(n, starts[n]), abs=LIMITS.gradient)


def test_nan_in_one_structure_is_its_own() -> None:
    class Broken(PairModel):
        def atomic_energies(self, graph: Any) -> torch.Tensor:
            far = graph.positions[:, 0] > 100
            return super().atomic_energies(graph).masked_fill(far, torch.nan)

    starts = structures()[:2]
    starts[1].positions += 200
    found = run_together(evaluator(Broken().double()), starts, lambda n, a: a.get_forces())
    assert np.isfinite(found[0]).all()
    assert isinstance(found[1], CalculationFailed)


def test_an_interrupt_ends_every_structure_where_it_asks_for_forces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared, calls, ended = evaluator(PairModel().double()), [], []
    compute = shared.evaluate

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(*args, **options)

    monkeypatch.setattr(shared, "evaluate", interrupted)

    def move(n: int, atoms: ase.Atoms) -> None:
        dynamics = VelocityVerlet(atoms, units.fs)
        try:
            dynamics.run(9)
        finally:
            ended.append(dynamics.nsteps)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run_together(shared, structures()[:3], move)
    assert ended == [1, 1, 1]
    assert threading.active_count() == before


def test_what_is_asked_for_later_is_computed_alone() -> None:
    starts = structures()[:2]
    run_together(evaluator(PairModel().double()), starts, lambda n, a: a.get_forces())
    starts[0].positions[0] += 0.1
    alone = starts[0].copy()
    alone.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    assert starts[0].get_potential_energy() == pytest.approx(alone.get_potential_energy())


def test_a_committee_has_its_deviations() -> None:
    models = [force_field(), force_field(seed=1)]
    together = [ethanol(), crystal()]

    def work(n: int, atoms: ase.Atoms) -> Any:
        return atoms.calc.get_deviations(atoms)["forces_std"], atoms.get_forces()

    found = run_together(evaluator(*models), together, work)
    for atoms, (spread, forces) in zip([ethanol(), crystal()], found, strict=True):
        atoms.calc = SIKFFCalculator(models, device="cpu")
        assert spread == pytest.approx(atoms.calc.get_deviations(atoms)["forces_std"], abs=1e-9)
        assert forces == pytest.approx(atoms.get_forces(), abs=LIMITS.gradient)


@pytest.mark.parametrize("name", ["stress", "stresses", "dipole"])
def test_properties_go_to_those_that_ask(name: str) -> None:
    """Others, which have none, do not notice."""
    model = force_field(environment={"field": True}) if name == "dipole" else force_field()
    together = [crystal(), ethanol()]

    def work(n: int, atoms: ase.Atoms) -> Any:
        return atoms.calc.get_property(name, atoms) if n == 0 else atoms.get_forces()

    found, _ = run_together(evaluator(model), together, work)
    alone = crystal()
    alone.calc = SIKFFCalculator(model, device="cpu")
    assert found == pytest.approx(alone.calc.get_property(name, alone), abs=LIMITS.gradient)
    assert not {"stress", "stresses", "dipole"} & set(together[1].calc.results)
