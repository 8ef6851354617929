"""Structures labelled by a force field."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch

from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from sikff.forcefield import EnvironmentConfig
from sikff.training.cli import main
from sikff.training.data.labels import LabelKeys, without_labels
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.predict import deviations, predict, spread
from sikff.training.simulation.structure_files import write_structures
from tolerances import TOLERANCES, WRITTEN

LIMIT = TOLERANCES[torch.float64].parity


def model_of(seed: int, **settings: object) -> ForceField:
    sizes = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 1}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = ForceFieldConfig(**{"elements": ("Cu", "Ni"), **sizes, **settings})
        return ForceField(config).double().eval()


@pytest.fixture
def mixed(frames: list[ase.Atoms]) -> list[ase.Atoms]:
    """Crystals, slabs and clusters by turns, of two sizes, with labels of several kinds."""
    for number, atoms in enumerate(frames):
        atoms.calc = None
        atoms.pbc = [(True, True, number % 2), False, True][number % 3]
        atoms.info |= {"name": f"s{number}", "REF_electric_field": [0.0, 0.0, 0.0]}
    frames[4].info |= {"REF_energy": 5.0, "energy": 6.0, "stress": np.ones(6), "virial": np.ones(9)}
    frames[5].arrays["REF_forces"] = frames[5].arrays["forces"] = np.ones((3, 3))
    return frames


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("periodic", [False, True])
def test_predictions_equal_those_of_the_calculator(
    mixed: list[ase.Atoms], batch_size: int, count: int, periodic: bool
) -> None:
    models = [model_of(0), model_of(1, cutoff=4.0)][:count]
    if periodic:
        mixed = [atoms for atoms in mixed if atoms.pbc.all()]
    done: list[int] = []
    found = predict(models, mixed, batch_size, done.append)
    assert sum(done) == len(mixed)
    calculator = SIKFFCalculator(models, device="cpu")
    for given, atoms in zip(mixed, found, strict=True):
        assert given.calc is None
        assert atoms is not given
        copy = given.copy()
        copy.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(
            copy.get_potential_energy(), rel=LIMIT, abs=LIMIT
        )
        forces = copy.get_forces()
        assert np.abs(forces).max() > 1e-3
        np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=LIMIT)
        assert ("stress" in atoms.calc.results) == given.pbc.any()
        if given.pbc.all():
            np.testing.assert_allclose(atoms.get_stress(), copy.get_stress(), rtol=0, atol=LIMIT)
        if count > 1:
            expected = calculator.get_deviations(copy)
            assert atoms.info["energy_std"] == pytest.approx(expected["energy_std"], rel=1e-8)
            np.testing.assert_allclose(
                atoms.arrays["forces_std"], expected["forces_std"], rtol=0, atol=LIMIT
            )
        else:
            assert "forces_std" not in atoms.arrays
        labels = {"REF_energy", "energy", "stress", "virial", "REF_forces", "forces"}
        assert not labels & (atoms.info.keys() | atoms.arrays.keys())
        assert atoms.info["name"] == given.info["name"]
        assert "REF_electric_field" in atoms.info
    assert any(atoms.pbc.all() for atoms in mixed)
    assert any("REF_forces" in atoms.arrays for atoms in mixed)  # what was given stays


def test_the_spread_names_the_structure(frames: list[ase.Atoms]) -> None:
    found = predict([model_of(0), model_of(1)], frames)
    spreads = spread(found)
    squares = [np.mean(atoms.arrays["forces_std"] ** 2) for atoms in found]
    assert spreads["of_structure"] == np.argmax(squares)
    assert spreads["largest_force_std_mev_per_a"] == pytest.approx(1000 * np.sqrt(max(squares)))
    every = np.concatenate([atoms.arrays["forces_std"] for atoms in found])
    assert spreads["force_std_mev_per_a"] == pytest.approx(1000 * np.sqrt(np.mean(every**2)))
    again = predict(model_of(0), found)
    assert "forces_std" not in again[0].arrays
    assert "energy_std" not in again[0].info
    assert not np.allclose(again[0].get_forces(), found[0].get_forces())


@pytest.mark.parametrize("name", ["spreads.xyz", "spreads.extxyz"])
def test_files_of_predictions_are_training_data(
    tmp_path: Path, mixed: list[ase.Atoms], name: str
) -> None:
    found = predict([model_of(0), model_of(1)], mixed)
    write_structures(tmp_path / name, found)
    read = read_structures(tmp_path / name).with_labels(LabelKeys())
    for structure, atoms in zip(read, found, strict=True):
        np.testing.assert_allclose(structure.value("forces"), atoms.get_forces(), atol=1e-7)
        energy = atoms.get_potential_energy()
        assert structure.value("energy") == pytest.approx(energy, abs=1e-7)
        spread_read = structure.atoms.arrays["forces_std"]
        np.testing.assert_allclose(spread_read, atoms.arrays["forces_std"], atol=1e-7)


def test_unknown_elements_and_nan_raise(mixed: list[ase.Atoms]) -> None:
    model = model_of(0)
    mixed[7].symbols[0] = "H"
    with pytest.raises(ValueError, match=r"structure 7: .*H"):
        predict(model, mixed)
    mixed[7].symbols[0] = "Cu"
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(
        ValueError, match=r"structures: the force field returned NaN.* in structure"
    ):
        predict(model, mixed)
    with pytest.raises(ValueError, match="the models of the committee disagree"):
        predict([model_of(0), model_of(0, elements=("Cu",))], mixed)


def test_extrapolation_warnings_are_emitted_once(mixed: list[ase.Atoms]) -> None:
    model = model_of(0, environment=EnvironmentConfig(field=True, field_max=0.1))
    for atoms in mixed:
        atoms.info["electric_field"] = [0.0, 0.0, 0.2]
        del atoms.info["REF_electric_field"]
    with pytest.warns(UserWarning, match="beyond the training data") as caught:
        predict(model, mixed[1:3], batch_size=1)
    assert len(caught) == 1


def test_every_model_of_a_committee_must_allow_the_field(mixed: list[ase.Atoms]) -> None:
    frame = EnvironmentConfig(field=True)
    upright, lying = (
        model_of(0, group="C_inf_v", axis=a, environment=frame) for a in ([0, 0, 1], [1, 0, 0])
    )
    for atoms in mixed:
        del atoms.info["REF_electric_field"]
    without = predict(upright, mixed)  # no field is a field of zero
    for atoms in mixed:
        atoms.info["REF_electric_field"] = [0.0, 0.0, 0.2]
    within = predict(upright, mixed)
    change = [a.get_forces() - b.get_forces() for a, b in zip(within, without, strict=True)]
    assert max(np.abs(each).max() for each in change) > 1e-6
    for models in ([upright, lying], [lying, upright], model_of(0)):
        with pytest.raises(ValueError, match=r"structure 0: .*field"):
            predict(models, mixed)


def test_predictions_are_written_under_label_keys_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mixed: list[ase.Atoms],
) -> None:
    """A run that reads labels under other names finds them, and nothing that was there before."""
    monkeypatch.chdir(tmp_path)
    model_of(0).save("m.sikff")
    for atoms in mixed:
        atoms.info |= {"dft_energy": 7.0, "dft_stress": np.ones(9)}
        atoms.arrays["dft_force"] = np.full((len(atoms), 3), 8.0)
    write_structures("in.xyz", [without_labels(atoms) for atoms in mixed])
    names = {"energy": "dft_energy", "forces": "dft_force", "stress": "dft_stress"}
    keys = [word for name, key in names.items() for word in (f"--{name}-key", key)]
    asked = ["predict", "m.sikff", "in.xyz", "--output", "out.xyz", "--quiet"]
    assert main([*asked, *keys]) == 0
    structures = read_structures("out.xyz")
    found = structures.with_labels(LabelKeys(**names))
    usual = structures.with_labels(LabelKeys())
    assert 0 < len(found.having("stress")) < len(found)
    for name in names:
        for one, other in zip(found.values(name), usual.values(name), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=WRITTEN)
    assert not any(np.any(each == 7.0) for each in found.values("energy"))


def test_the_command_takes_a_charge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixed: list[ase.Atoms]
) -> None:
    """--charge replaces that of the structures, whose info it is written to."""
    monkeypatch.chdir(tmp_path)
    model = model_of(0, environment=EnvironmentConfig(charge=True))
    with torch.no_grad():
        model.share_energy.fill_(1.0)
    model.save("m.sikff")
    structures = [without_labels(atoms) for atoms in mixed]
    for number, atoms in enumerate(structures):
        atoms.info = {"charge": number % 2}
    write_structures("in.xyz", structures)
    energies = {}
    for charge in (None, 0, -1):
        option = [] if charge is None else ["--charge", str(charge)]
        asked = ["predict", "m.sikff", "in.xyz", "--output", f"out{charge}.xyz", "--quiet"]
        assert main([*asked, *option]) == 0
        frames = ase.io.read(f"out{charge}.xyz", ":")
        energies[charge] = [atoms.get_potential_energy() for atoms in frames]
        if charge is not None:
            assert {atoms.info["charge"] for atoms in frames} == {charge}
            for atoms in structures:
                atoms.info["charge"] = charge
            expected = [a.get_potential_energy() for a in predict(model, structures)]
            assert energies[charge] == pytest.approx(expected, abs=1e-4)
    different = np.array(energies[None]) != np.array(energies[0])
    assert different.tolist() == [bool(number % 2) for number in range(len(structures))]


def test_the_command_raises_for_invalid_names_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["predict", "absent.sikff", "absent.xyz", "--output"]
    assert main([*asked, "spreads.traj"]) == 2
    assert "expected a name in .xyz or .extxyz" in capsys.readouterr().err
    Path("spreads.xyz").touch()
    assert main([*asked, "spreads.xyz"]) == 2
    assert "spreads.xyz exists" in capsys.readouterr().err
    Path("folder.xyz").mkdir()
    for name, words in (("folder.xyz", "is a folder"), ("spreads.xyz/o.xyz", "is a file and no")):
        assert main([*asked, name, "--overwrite"]) == 2
        assert words in capsys.readouterr().err


def test_predict_notes_charges_of_other_names(
    mixed: list[ase.Atoms],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model_of(0).save("model.sikff")
    mixed[2].info |= {"net_charge": -1, "weight": 0.0}
    ase.io.write("in.xyz", mixed)
    options = ["--output", "out.xyz", "--quiet", "--device", "cpu"]
    assert main(["predict", "model.sikff", "in.xyz", *options]) == 0
    printed = capsys.readouterr().out
    assert "note: net_charge in structure 2 is not read; a total charge is called" in printed
    assert "weight" not in printed  # of labels, which are left out


def test_deviations_of_many_structures_are_those_of_each(mixed: list[ase.Atoms]) -> None:
    models = [model_of(0), model_of(1), model_of(2)]
    found = deviations(models, mixed, batch_size=5)
    calculator = SIKFFCalculator(models, device="cpu")
    for atoms, of_atoms in zip(mixed, found, strict=True):
        std = calculator.get_deviations(atoms)["forces_std"]
        assert of_atoms == pytest.approx(np.linalg.norm(std, axis=1), abs=LIMIT)
    assert max(each.max() for each in found) > 1e-3
    with pytest.raises(ValueError, match="expected two or more"):
        deviations(models[:1], mixed)
    assert deviations(models, []) == []
