"""Fine-tuning: runs that start from a trained model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import ValidationError

from force_fields import predict
from runs import changed, fit_two_epochs, rows, weights
from sikff import ForceField, ForceFieldConfig, load
from sikff.calculators import SIKFFCalculator
from sikff.training.cli import main as cli
from sikff.training.config import TrainConfig
from sikff.training.data.reading import read_structures
from sikff.training.fitting.fit import fit
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64]
FIELD = {"field": True}
Started = Callable[..., TrainConfig]


@pytest.fixture
def trained(config: TrainConfig) -> Path:
    """The file of a model of O(3)."""
    filled = {"atomic_energies": {"Cu": -1.5, "Ni": -2.5}, "average_neighbours": 16.0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForceField(ForceFieldConfig(elements=("Ni", "Cu"), **config.model, **filled))
    path = config.output.with_name("trained.sikff")
    model.double().save(path, {"made": "by hand"})
    return path


@pytest.fixture
def started(config: TrainConfig, trained: Path) -> Started:
    """Runs in an electric field that start from that model."""
    frames = ase.io.read(config.data.train, ":")
    for atoms in frames:
        atoms.info["electric_field"] = [0.0, 0.0, 0.2]
    ase.io.write(trained.with_name("field.xyz"), frames)
    data = {"train": trained.with_name("field.xyz"), "valid": 3}
    output = config.output.with_name("second")

    def with_model(freeze: bool = False, model: dict[str, Any] | None = None, **update: Any) -> Any:
        start = {"model": trained, "freeze_vacuum": freeze}
        update = {"data": data, "output": output, "model": model or {}, "start": start, **update}
        return changed(config, **update)

    return with_model


def still(config: TrainConfig) -> TrainConfig:
    """A run that changes next to nothing."""
    return changed(config, lr=1e-14, max_epochs=1, weight_decay=0)


def copper() -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=3)
    return atoms


def assert_same(one: ForceField, other: ForceField, **conditions: Any) -> None:
    wanted, found = predict(one, copper()), predict(other, copper(), **conditions)
    assert wanted.forces.abs().max() > 1e-3
    assert (wanted.energies - found.energies).abs().max() < EXACT.invariance
    assert (wanted.forces - found.forces).abs().max() < EXACT.invariance


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"group": "C_inf_v", "axis": (1, 2, 2)},
        {"group": "C_inf_v", "environment": FIELD},
        {"group": "SO(2)", "environment": FIELD, "vacuum_group": "O(3)"},
    ],
    ids=["as it is", "restricted", "in a field", "corrected"],
)
def test_a_run_begins_with_the_trained_model(
    trained: Path, started: Started, model: dict[str, Any]
) -> None:
    before, after = load(trained), load(fit(still(started(model=model))))
    assert after.config.group == model.get("group", "O(3)")
    assert after.config.atomic_energies == before.config.atomic_energies
    assert after.provenance["before"]["made"] == "by hand"
    conditions = {"field": (0.0, 0.0, 0.2)} if "environment" in model else {}
    assert_same(before, after, **conditions)


def test_it_learns_the_charge_and_leaves_neutral_structures_alone(
    trained: Path, started: Started
) -> None:
    """At first: to the last bit, but for the energy per charge that the data tell."""
    run = still(started(model={"environment": {"charge": True}}))
    frames = ase.io.read(run.data.train, ":")
    for number, atoms in enumerate(frames):
        del atoms.info["electric_field"]
        if "config_type" not in atoms.info:
            atoms.info["charge"] = number // 6  # compositions repeat after six
            atoms.calc.results["energy"] += 2.5 * (number // 6)
    ase.io.write(run.data.train, frames)
    before, after = load(trained), load(fit(run))
    assert after.config.environment.charge_max == 1
    assert_same(before, after)
    energies = [float(predict(after, copper(), charge=charge).energy) for charge in (0, 1)]
    assert energies[1] - energies[0] == pytest.approx(2.5, abs=0.5)  # EMT differs by rattling


def test_it_learns_the_field(trained: Path, started: Started) -> None:
    config = started(model={"group": "C_inf_v", "environment": FIELD}, lr=1e-3)
    model = load(fit(config))
    assert model.config.type_group == "O(3)"
    assert model.config.environment.field_max == pytest.approx(0.2)
    up, down = (predict(model, copper(), field=(0, 0, z)).energy for z in (0.2, -0.2))
    assert abs(float(up - down)) > 1e-6
    assert rows(config)[-1]["train_loss"] < rows(config)[0]["train_loss"]


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_vacuum_network_stays(trained: Path, started: Started, freeze: bool) -> None:
    model = {"group": "C_inf_v", "environment": FIELD, "vacuum_group": "O(3)"}
    path = fit(started(freeze, model, lr=1e-3, max_epochs=1))
    before, after = weights(trained), weights(path)
    same = [torch.equal(w, after[n.replace("network", "vacuum", 1)]) for n, w in before.items()]
    assert all(same) if freeze else not any(same)
    assert any(after[name].any() for name in after if name.startswith("one_body"))
    if freeze:  # without a field nothing else is left
        assert_same(load(trained), load(path))


def test_an_environment_needs_only_the_group_of_the_file() -> None:
    given = {
        "data": {"train": "a.xyz", "valid": 3},
        "max_epochs": 1,
        "model": {"environment": {"field": True}},
    }
    assert TrainConfig(**given, start={"model": "a.sikff"}).model == given["model"]
    plane = given | {"model": {"environment": {"plane_origin": [0, 0, 0]}}}
    assert TrainConfig(**plane, start={"model": "a.sikff"}).model == plane["model"]
    with pytest.raises(ValidationError, match="keeps its normal"):
        TrainConfig(**plane)


def test_fine_tuning_has_a_lower_learning_rate() -> None:
    common = {"data": {"train": "a.xyz", "valid": 3}, "max_epochs": 1}
    rates = {
        freeze: TrainConfig(**common, start={"model": "a.sikff", "freeze_vacuum": freeze}).lr
        for freeze in (False, True)
    }
    assert rates == {False: 0.003, True: TrainConfig(**common).lr}
    assert TrainConfig(**common, lr=0.02, start={"model": "a.sikff"}).lr == 0.02


def test_other_energies_of_free_atoms_shift_the_model(
    config: TrainConfig, trained: Path, started: Started
) -> None:
    atoms = {"Cu": -1.0, "Ni": -2.0}
    shifted = load(fit(still(started(model={"atomic_energies": atoms}))))
    one = copper()
    change = predict(shifted, one).energies - predict(load(trained), one).energies
    assert (change - 0.5).abs().max() < EXACT.invariance


def test_errors_before_fine_tuning_are_reported(
    config: TrainConfig, trained: Path, started: Started
) -> None:
    """Energies shifted by known amounts: what is suggested takes the shift away."""
    model = load(trained)
    frames = read_structures(config.data.train).atoms[:12]
    for atoms in frames:
        atoms.calc = SIKFFCalculator(model, device="cpu")
        results = {"forces": atoms.get_forces(), "energy": atoms.get_potential_energy()}
        results["energy"] += 3.0 * np.sum(atoms.symbols == "Cu") - np.sum(atoms.symbols == "Ni")
        atoms.calc = SinglePointCalculator(atoms, **results)
    path = trained.with_name("shifted.xyz")
    ase.io.write(path, frames)
    lines: list[str] = []
    run = still(started(data={"train": path, "valid": 3}))
    fit(run, report=lines.append)
    (said,) = [line for line in lines if "before training its" in line]
    per_atom = [3 * np.mean(a.symbols == "Cu") - np.mean(a.symbols == "Ni") for a in frames]
    assert 0.5 < float(said.split()[-2]) / (1000 * np.mean(np.abs(per_atom))) < 2
    (note,) = [line for line in lines if "would shift it" in line]
    energies = yaml.safe_load(note.partition("energies: ")[2].partition("}")[0] + "}")
    assert energies == pytest.approx({"Ni": -3.5, "Cu": 1.5}, abs=2e-4)
    again = still(started(data=run.data.model_dump(), model={"atomic_energies": energies}))
    lines.clear()
    fit(changed(again, output=trained.with_name("again")), report=lines.append)
    (said,) = [line for line in lines if "before training its" in line]
    assert float(said.split()[-2]) < 0.2
    assert not any("would shift" in line for line in lines)


def test_a_resumed_run_does_not_need_the_first_file(
    trained: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"group": "C_inf_v", "environment": FIELD}
    whole = weights(fit(started(model=model)))
    halved = started(model=model, output=trained.with_name("halved"))
    fit_two_epochs(halved, monkeypatch)
    trained.unlink()
    resumed = weights(fit(halved, resume=True))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_starts_that_do_not_fit_are_errors(trained: Path, started: Started, tmp_path: Path) -> None:
    for model, message in (
        ({"channels": 8}, r"model.channels is 8, but .*trained.sikff', where it is 2; leave"),
        (
            {"group": "C3", "vacuum_group": "SO(3)", "environment": FIELD},
            "cannot be the vacuum network",
        ),
        ({"group": "D_inf_h", "environment": FIELD}, "reads a field that the group turns"),
        ({"elements": ("Cu",)}, r"model.elements is \('Cu',\), but"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(started(model=model))
    with pytest.raises(ValueError, match="but the model has no vacuum network"):
        fit(started(True))
    axial = fit(still(started(model={"group": "C_inf_v"}, output=tmp_path / "axial")))
    with pytest.raises(ValueError, match=r"O\(3\) is not a subgroup of the model's group C_inf_v"):
        fit(started(model={"group": "O(3)"}, start={"model": axial}))
    with pytest.raises(FileNotFoundError, match="no model file"):
        fit(started(start={"model": tmp_path / "none.sikff"}))
    frames = ase.io.read(started().data.train, ":")
    frames[-1].info["REF_energy"] += 1.0
    ase.io.write(tmp_path / "other.xyz", frames)
    with pytest.raises(
        ValueError, match=r"the energy of a free Ni atom is -1\.5000 eV in the data"
    ):
        fit(started(data={"train": tmp_path / "other.xyz", "valid": 3}))


def test_the_command(
    trained: Path, started: Started, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(f"data: {{train: {started().data.train}, valid: 3}}\nmax_epochs: 1\n")
    settings = [str(path), f"output={tmp_path / 'tuned'}", "dtype=float64", "--quiet"]
    for option in (["--restrict", "C_inf_v"], ["--freeze-vacuum"]):
        assert cli(["train", *settings, *option]) == 2
        said = capsys.readouterr().err
        assert f"{option[0]} needs a trained model; name it with --from MODEL" in said
    options = ["--from", str(trained), "--restrict", "C_inf_v", "model.environment.field=true"]
    assert cli(["train", *settings, *options]) == 0
    model = load(tmp_path / "tuned" / "model.sikff")
    assert (model.config.group, model.config.type_group) == ("C_inf_v", "O(3)")
    assert cli(["info", str(tmp_path / "tuned" / "model.sikff")]) == 0
    assert "C_inf_v about [0.0, 0.0, 1.0], restricted from O(3)" in capsys.readouterr().out
    np.testing.assert_allclose(model.environment.field_directions, [[0, 0, 1]])
