"""How many structures a step has, where the settings leave it open."""

import ase
import ase.io
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from runs import changed, rows
from sikff.training.config import TrainConfig, read_config
from sikff.training.fitting.fit import fit
from sikff.training.fitting.in_memory import train_in_memory


def larger(atoms: ase.Atoms, times: int) -> ase.Atoms:
    """The crystal repeated, with labels."""
    whole = atoms.repeat((times, 1, 1))
    energy, forces = atoms.get_potential_energy(), [*atoms.get_forces()] * times
    whole.calc = SinglePointCalculator(whole, energy=times * energy, forces=forces)
    return whole


@pytest.mark.parametrize(("atoms", "expected"), [(4, 5), (48, 3), (200, 1)])
def test_steps_have_few_large_structures(
    config: TrainConfig, frames: list[ase.Atoms], atoms: int, expected: int
) -> None:
    sized = [larger(each, atoms // len(each)) for each in frames[:8]]
    run = changed(config, batch_size=None, max_epochs=1, data={"valid": 2})
    lines: list[str] = []
    train_in_memory(run, sized, report=lines.append)
    assert f"{expected} structure{'s' * (expected > 1)} in a step (batch_size)" in lines


def test_a_resumed_run_keeps_its_steps(config: TrainConfig) -> None:
    """Also one that an older version began, whose steps were of five structures of any size."""
    fit(changed(config, max_epochs=1, batch_size=2))
    assert rows(config)[0]["step"] == -(-9 // 2)
    lines: list[str] = []
    fit(changed(config, max_epochs=2, batch_size=None), resume=True, report=lines.append)
    assert not [line for line in lines if "in a step" in line]
    assert read_config(config.output / "config.yaml").batch_size == 2


def test_a_new_run_writes_down_how_many_structures_its_steps_have(config: TrainConfig) -> None:
    run = changed(config, batch_size=None, max_epochs=1)
    fit(run)
    assert read_config(config.output / "config.yaml").batch_size == 5
    fit(changed(run, max_epochs=2), resume=True)


def test_every_device_has_a_structure(config: TrainConfig, frames: list[ase.Atoms]) -> None:
    path = config.output.with_name("large.xyz")
    ase.io.write(path, [larger(each, 50) for each in frames[:4]])
    data = {"train": path, "valid": 1}
    fit(changed(config, batch_size=None, max_epochs=1, data=data, devices=2, plots=False))
    assert read_config(config.output / "config.yaml").batch_size == 2
