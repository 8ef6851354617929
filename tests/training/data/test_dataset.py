"""Datasets: splits, completed models, errors, and the notes for the user."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from runs import changed
from sikff.training.config import DataConfig, TrainConfig
from sikff.training.data.dataset import load_dataset
from sikff.training.data.reading import read_structures


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
    given = {**config.model, "atomic_energies": {"Ni": -2.7}}
    assert load_dataset(changed(config, data=files, model=given)).model.atomic_energies == {
        "Ni": -2.7,
        "Cu": -1.5,
    }
    in_field = free("Ni", -2.6)
    in_field.info["electric_field"] = [0.0, 0.0, 1.0]
    ase.io.write(other, in_field)
    assert load_dataset(changed(config, data=files)).model.atomic_energies["Ni"] == -2.5
    for nothing in ([], (), True):
        with pytest.raises(ValueError, match="expected a file, or a list of files"):
            changed(config, data={"train": nothing})


def test_energies_that_are_not_those_of_the_model(config: TrainConfig) -> None:
    far = {"Cu": -45000.0, "Ni": -41000.0}
    wrong = changed(config, model={**config.model, "atomic_energies": far})
    with pytest.raises(ValueError, match=r"eV per atom from those of isolated atoms.*Give the E0s"):
        load_dataset(wrong)
    load_dataset(changed(wrong, data={**config.data.model_dump(), "check_units": False}))


def test_labels_that_are_not_trained_on_are_reported(config: TrainConfig) -> None:
    without = changed(config, loss={"stress": 0.0})
    report = "\n".join(load_dataset(without).report)
    assert "stress of 9 of 9 is not trained on (loss.stress: 0)" in report
    for loss in ({"stress": 1.0}, {}):
        report = "\n".join(load_dataset(changed(config, loss=loss)).report)
        assert "not trained on" not in report
    sparse = load_dataset(changed(config, model={**config.model, "cutoff": 1.0}))
    assert any("no two atoms are within the cutoff (1 Å)" in line for line in sparse.report)


def test_a_stress_is_trained_on_by_default_where_there_is_one(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
    for atoms in frames[:6]:
        atoms.calc.results.pop("stress", None)
    some, none = (config.output.with_name(f"{name}.xyz") for name in ("some", "none"))
    ase.io.write(some, frames)
    for atoms in frames[6:12]:
        del atoms.calc.results["stress"]
    ase.io.write(none, frames)
    for path, names in ((some, "energy, forces, stress"), (none, "energy, forces")):
        dataset = load_dataset(changed(config, data={"train": path, "valid": 3}))
        assert dataset.report[0].endswith(f"trained on {names}")
        assert all((s.targets.stress is None) == (path == none) for s in dataset.train)
    plane = {**config.model, "group": "C_inf_v", "environment": {"plane_origin": [0, 0, -9]}}
    for atoms in frames:
        atoms.pbc = (True, True, False)
    labelled = frames[6:]
    for atoms in labelled[:6]:
        atoms.calc.results["stress"] = np.arange(6.0) / 1000
    ase.io.write(some, frames)
    above = load_dataset(changed(config, data={"train": some, "valid": 3}, model=plane))
    assert above.train[0].targets.stress is None
    assert any("not trained on (above a surface it depends" in line for line in above.report)


def test_elements_that_only_validation_has(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
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


def test_surfaces_come_from_the_structures(tmp_path: Path, config: TrainConfig) -> None:
    names, frames = ["Pt", "Au", "vacuum"] * 3, []
    for number, name in enumerate(names):
        atoms = ase.Atoms("CuNi", [[0, 0, number + 2.0], [0, 2, number + 3.0]])
        results = {"energy": -number, "forces": np.eye(2, 3)}
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["surface"] = name
        frames.append(atoms)
    ase.io.write(tmp_path / "at.xyz", frames)
    data = DataConfig(train=tmp_path / "at.xyz", valid=3, check_units=False)

    def named(**frame: object) -> tuple[str, ...]:
        model = {"group": "C_inf_v", "environment": {"plane_origin": [0, 0, 0], **frame}}
        run = config.model_copy(update={"data": data, "model": model})
        return load_dataset(run).model.environment.surfaces

    assert named() == ("Au", "Pt")
    assert named(surfaces=["Pt", "Cu", "Au"]) == ("Pt", "Cu", "Au")
    with pytest.raises(ValueError, match="the model expects one of Pt, vacuum"):
        named(surfaces=["Pt"])


def test_the_data_completes_the_model(config: TrainConfig) -> None:
    dataset = load_dataset(config)
    assert (len(dataset.train), len(dataset.valid)) == (9, 3)
    assert dataset.model.elements == ("Ni", "Cu")
    assert dataset.model.atomic_energies == {"Ni": -2.5, "Cu": -1.5}
    assert any("Ni -2.5000, Cu -1.5000" in line for line in dataset.report)
    given = config.model_copy(
        update={"model": {**config.model, "atomic_energies": {"Cu": 1.0}, "energy_scale": 7.0}}
    )
    model = load_dataset(given).model
    assert model.atomic_energies == {"Ni": -2.5, "Cu": 1.0}
    assert model.energy_scale == 7.0


def test_an_ignored_field_is_reported(tmp_path: Path, config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
    for atoms in frames:
        atoms.info["electric_field"] = [0.0, 0.0, 0.1]
    ase.io.write(config.data.train, frames)
    assert "have electric_field; the model ignores it" in load_dataset(config).report[-1]


def test_single_atoms_must_be_single(config: TrainConfig, frames: list[ase.Atoms]) -> None:
    path = config.data.train.with_name("alone.xyz")
    ase.io.write(path, frames[0])
    data = config.data.model_copy(update={"isolated_atoms": path})
    with pytest.raises(ValueError, match=r"alone\.xyz: not one atom, .* in structure 0"):
        load_dataset(config.model_copy(update={"data": data}))


def test_isolated_atoms_alone_raise(config: TrainConfig) -> None:
    path = config.data.train.with_name("alone.xyz")
    alone = ase.Atoms("Cu", info={"config_type": "isolated_atom", "REF_energy": -1.0})
    ase.io.write(path, alone)
    for key in ("train", "valid"):
        data = config.data.model_copy(update={key: path})
        with pytest.raises(ValueError, match=r"alone\.xyz: isolated atoms only"):
            load_dataset(config.model_copy(update={"data": data}))


def test_a_periodic_direction_through_the_plane_is_reported(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
    for number, atoms in enumerate(frames):
        atoms.pbc = (True, True, number == 3)
        atoms.cell[0] += [0.0, 0.1, 0.0]
    path = config.output.with_name("slabs.xyz")
    ase.io.write(path, frames)
    plane = {**config.model, "group": "C_inf_v", "environment": {"plane_origin": [0, 0, -3]}}
    for model, noted in ((plane, True), (config.model, False)):
        run = changed(config, data={"train": path, "valid": path}, model=model)
        notes = [line for line in load_dataset(run).report if "through the plane" in line]
        assert bool(notes) == noted
        assert not noted or " plane in structure 3: " in notes[0]


def test_validation_may_have_no_stress(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
    paths = [config.output.with_name(f"{name}.xyz") for name in ("t", "v")]
    ase.io.write(paths[0], frames[3:])
    for atoms in frames[:3]:
        atoms.cell, atoms.pbc = None, False
    ase.io.write(paths[1], frames[:3])
    run = changed(config, data={"train": paths[0], "valid": paths[1]}, loss={"stress": 1.0})
    assert all(sample.targets.stress.isnan().all() for sample in load_dataset(run).valid)
    other = changed(run, data={"train": paths[1], "valid": paths[0]})
    with pytest.raises(
        ValueError, match=r"no stress .* a stress needs a cell of three independent"
    ):
        load_dataset(other)


def test_structures_are_weighted_by_their_config_type(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
    for number, atoms in enumerate(frames[:12]):
        if number % 3:
            atoms.info["config_type"] = ("warm", "cold")[number % 2]
    path = config.output.with_name("kinds.xyz")
    ase.io.write(path, frames)
    run = changed(config, data={"train": path, "valid": 3}, loss={"config_types": {"warm": 5}})
    dataset = load_dataset(run)
    frames = {5.0: 4, 1.0: 8}  # of all twelve
    weights = [sample.weight for sample in (*dataset.train, *dataset.valid)]
    assert {weight: weights.count(weight) for weight in set(weights)} == frames
    for sample in dataset.train:
        number = int(sample.name.split()[-1])
        assert (sample.weight == 5) == (number % 3 != 0 and number % 2 == 0)
    plain = changed(run, data={"train": path, "valid": config.data.train})
    assert {sample.weight for sample in load_dataset(plain).valid} == {1.0}
    every = [atoms for atoms in ase.io.read(path, ":") if "config_type" in atoms.info]
    ase.io.write(path.with_name("some.xyz"), [*every, every[0]])
    data = {"train": path.with_name("some.xyz"), "valid": path}
    nothing = changed(run, data=data, loss={"config_types": {"warm": 0, "cold": 0}})
    with pytest.raises(ValueError, match=r"loss\.config_types is 0 for all 9 structures"):
        load_dataset(nothing)
    wrong = changed(run, loss={"config_types": {"hot": 2, "warm": 1}})
    with pytest.raises(ValueError, match=r"names hot, which no .*; there are cold, warm"):
        load_dataset(wrong)
