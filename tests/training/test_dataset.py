"""What a run makes of its files, and what it tells of them."""

import ase
import ase.io
import pytest

from runs import changed
from sikff.training.config import TrainConfig
from sikff.training.data import read_frames
from sikff.training.dataset import load_dataset


def free(symbol: str, energy: float) -> ase.Atoms:
    """An isolated atom."""
    return ase.Atoms(symbol, info={"config_type": "IsolatedAtom", "REF_energy": energy})


def test_one_element_has_one_energy(config: TrainConfig) -> None:
    other = config.output.with_name("other.xyz")
    ase.io.write(other, free("Ni", -2.5))
    files = {**config.data.model_dump(), "isolated_atoms": [other, other]}
    assert load_dataset(changed(config, data=files)).model.atomic_energies["Ni"] == -2.5
    ase.io.write(other, free("Ni", -2.6))
    with pytest.raises(ValueError, match=r"free Ni atom has -2.6000 eV, and -2.5000 eV before in"):
        load_dataset(changed(config, data=files))
    for nothing in ([], (), True):
        with pytest.raises(ValueError, match="expected a file, or a list of files"):
            changed(config, data={"train": nothing})


def test_energies_that_are_not_those_of_the_model(config: TrainConfig) -> None:
    far = {"Cu": -45000.0, "Ni": -41000.0}
    wrong = changed(config, model={**config.model, "atomic_energies": far})
    with pytest.raises(ValueError, match=r"eV per atom from those of isolated atoms.*Give the E0s"):
        load_dataset(wrong)
    load_dataset(changed(wrong, data={**config.data.model_dump(), "check_units": False}))


def test_what_is_not_trained_on_is_said(config: TrainConfig) -> None:
    report = "\n".join(load_dataset(config).report)
    assert "stress of 9 of 9 is not trained on (loss.stress: 0)" in report
    assert "not trained on" not in "\n".join(
        load_dataset(changed(config, loss={"stress": 1.0})).report
    )
    sparse = load_dataset(changed(config, model={**config.model, "cutoff": 1.0}))
    assert any("no two atoms are within the cutoff (1 Å)" in line for line in sparse.report)


def test_elements_that_only_validation_has(config: TrainConfig) -> None:
    frames = read_frames(config.data.train).atoms
    frames[0].symbols[0] = "Pd"
    frames[0].calc.atoms = frames[0].copy()
    paths = [config.output.with_name(f"{name}.xyz") for name in ("t", "v")]
    ase.io.write(paths[0], frames[1:])
    ase.io.write(paths[1], frames[:1])
    files = {"train": paths[0], "valid": paths[1]}
    with pytest.raises(ValueError, match="Pd occurs in validation structures only; give"):
        load_dataset(changed(config, data=files))
    named = {**config.model, "elements": ["Cu", "Ni", "Pd"]}
    assert load_dataset(changed(config, data=files, model=named)).model.elements[2] == "Pd"
