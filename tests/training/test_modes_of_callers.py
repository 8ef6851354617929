"""What programs have done to torch before they call us changes no result."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import ase
import numpy as np
import pytest
import torch

from force_fields import crystal, force_field
from runs import changed, weights
from sikff import ForceField
from sikff.calculators import SIKFFCalculator
from sikff.plain_torch import default_dtype
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.predict import predict
from sikff.training.fitting.fit import fit
from tolerances import TOLERANCES

LIMIT = TOLERANCES[torch.float32].parity


@contextlib.contextmanager
def lightning() -> Iterator[None]:
    """What a predict loop enters in mixed precision."""
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        yield


@contextlib.contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES: dict[str, Callable[[], AbstractContextManager]] = {
    "inference mode and bfloat16": lightning,
    "no_grad": torch.no_grad,
    "float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default device": default_device,
    "device as a context": lambda: torch.device("meta"),
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "deterministic algorithms": deterministic,
}


def predictions(models: Sequence[ForceField]) -> dict[str, np.ndarray]:
    """Of a committee, and the errors of one on the labels that the other makes."""
    atoms = crystal()
    atoms.info["electric_field"] = [0, 0, 0.1]
    (found,) = predict(models, [atoms])
    errors = evaluate(models[0], predict(models[1], [atoms])).metrics
    values = {name: errors[name] for name in ("energy_mae_mev_per_atom", "force_mae_mev_per_a")}
    results = {**found.calc.results, "forces_std": found.arrays["forces_std"], **values}
    return {name: np.asarray(value) for name, value in results.items()}


def walk(models: Sequence[ForceField]) -> dict[str, np.ndarray]:
    """What a calculator of a committee computes as it starts to replay."""
    calculator, atoms, found = SIKFFCalculator(models, "cpu", replay_after=1), crystal(), {}
    for step in range(3):
        atoms.rattle(0.01, seed=step)
        for name in ("dipole", "stress", "energies", "forces"):
            found[f"{name} {step}"] = calculator.get_property(name, atoms)
        found[f"polarizability {step}"] = calculator.get_field_response(atoms).polarizability
    return found


@pytest.mark.parametrize("read", [predictions, walk])
@pytest.mark.parametrize("mode", MODES)
def test_results_do_not_depend_on_modes_of_the_caller(mode: str, read: Callable) -> None:
    models = [force_field(seed=seed, environment={"field": True}).float() for seed in range(2)]
    expected = read(models)
    with MODES[mode]():
        found = read(models)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(value).max() > 0, name
        error = np.abs(found[name] - value).max() / np.abs(value).max()
        assert error < LIMIT, name


@pytest.mark.parametrize("mode", MODES)
def test_training_does_not_depend_on_modes_of_the_caller(mode: str, config: TrainConfig) -> None:
    """Nor do the random weights of its start."""
    config = changed(config, dtype="float32", max_epochs=1)
    expected = weights(fit(config))
    with MODES[mode]():
        path = fit(changed(config, output=config.output.with_name("inside")))
    for name, weight in weights(path).items():
        assert (weight - expected[name]).abs().max() < LIMIT, name


def test_each_operation_is_computed_while_anomalies_are_detected() -> None:
    """A replay has no traceback to show; it begins afterwards."""
    atoms: ase.Atoms = crystal()
    atoms.calc = SIKFFCalculator(force_field(), device="cpu", replay_after=0)
    with (
        pytest.warns(UserWarning, match="Anomaly Detection has been enabled"),
        torch.autograd.detect_anomaly(),
    ):
        forces = atoms.get_forces()
    static = atoms.calc._evaluator.evaluators[0].static
    assert static.compilations == 0
    atoms.calc.reset()
    assert np.abs(atoms.get_forces() - forces).max() < LIMIT
    assert static.compilations == 1
