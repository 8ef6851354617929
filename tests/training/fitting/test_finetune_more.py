"""Fine-tuning with elements that the model does not know, old data, and frozen layers."""

from pathlib import Path

import ase.io
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import ValidationError

from force_fields import predict
from runs import changed
from sikff import ForceField, ForceFieldConfig, load
from sikff.training.config import TrainConfig
from sikff.training.data.new_elements import nearest_element
from sikff.training.fitting.fit import fit

CRYSTAL = bulk("Cu", cubic=True)
CRYSTAL.symbols[0] = "Ni"
CRYSTAL.rattle(0.1, seed=3)


@pytest.fixture
def trained(config: TrainConfig) -> Path:
    filled = {"atomic_energies": {"Cu": -1.5, "Ni": -2.5}, "average_neighbours": 16.0}
    sizes = {**config.model, "layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForceField(ForceFieldConfig(elements=("Ni", "Cu"), **sizes, **filled)).double()
    model.save(config.output.with_name("trained.sikff"))
    return config.output.with_name("trained.sikff")


@pytest.fixture
def platinum(config: TrainConfig, trained: Path) -> TrainConfig:
    """A run from that model on structures with platinum, whose energies are those of the model with
    nickel, but 3 eV lower for each atom of platinum."""
    frames = ase.io.read(config.data.train, ":12")
    for atoms in frames:
        found = predict(load(trained), atoms)
        count = int((atoms.symbols == "Ni").sum())
        atoms.symbols[atoms.symbols == "Ni"] = "Pt"
        results = {"energy": float(found.energy) - 3.0 * count, "forces": found.forces.numpy()}
        atoms.calc = SinglePointCalculator(atoms, **results)
    path = config.output.with_name("platinum.xyz")
    ase.io.write(path, frames)
    data = {"train": path, "valid": 3}
    output = config.output.with_name("second")
    update = {"data": data, "start": {"model": trained}, "model": {}, "output": output}
    return changed(config, lr=1e-14, max_epochs=1, weight_decay=0, **update)


def test_new_elements_begin_as_the_nearest_ones(trained: Path, platinum: TrainConfig) -> None:
    """Energies of the elements that the model knows do not change."""
    lines: list[str] = []
    before, after = load(trained), load(fit(platinum, report=lines.append))
    assert after.elements == ("Ni", "Cu", "Pt")
    (note,) = [line for line in lines if "does not know" in line]
    assert "begin as the nearest ones: Pt (as Ni); E0s of Pt fit" in note
    wanted, found = predict(before, CRYSTAL), predict(after, CRYSTAL)
    for name in ("energies", "forces"):
        one, other = getattr(wanted, name), getattr(found, name)
        assert (one - other).abs().max() < 1e-12 * one.abs().max()
    assert after.config.atomic_energies == pytest.approx(
        {"Cu": -1.5, "Ni": -2.5, "Pt": -5.5}, abs=1e-6
    )
    assert after.config.distances_seen is None  # as in a model that does not know its own
    (said,) = [line for line in lines if "before training its" in line]
    assert float(said.split()[-2]) < 1e-3


def test_pairs_that_were_never_seen_do_not_count_in_a_fitted_energy(
    trained: Path, platinum: TrainConfig
) -> None:
    """Where a model knows its distances, pairs of a new element repel until the data are known."""
    seen = {"Cu-Cu": ((2.0, 4.0),), "Cu-Ni": ((2.0, 4.0),), "Ni-Ni": ((2.0, 4.0),)}
    model = load(trained)
    known = ForceField(model.config.model_copy(update={"distances_seen": seen})).double()
    known.load_state_dict(model.state_dict())
    known.save(trained)
    after = load(fit(platinum))
    assert after.config.atomic_energies["Pt"] == pytest.approx(-5.5, abs=1e-6)
    assert after.config.distances_seen["Cu-Pt"]
    assert after.config.distances_seen["Cu-Cu"] == ((2.0, 4.0),)


def test_an_energy_of_a_free_atom_is_taken_as_it_is(platinum: TrainConfig) -> None:
    frames = ase.io.read(platinum.data.train, ":")
    frames.append(ase.Atoms("Pt", info={"config_type": "IsolatedAtom", "REF_energy": -7.0}))
    ase.io.write(platinum.data.train, frames)
    assert load(fit(platinum)).config.atomic_energies["Pt"] == -7.0


def test_the_new_element_is_trained_and_a_killed_run_goes_on(platinum: TrainConfig) -> None:
    run = changed(platinum, lr=0.003, max_epochs=2)
    whole = load(fit(run)).state_dict()
    halved = changed(run, output=run.output.with_name("halved"), max_epochs=1)
    fit(halved)
    resumed = load(fit(changed(halved, max_epochs=2), resume=True)).state_dict()
    assert whole.keys() == resumed.keys()
    gates = [weight for name, weight in whole.items() if name.endswith(".gate")]
    assert all((gate[2] != 0).any() for gate in gates)
    embedding = whole["network.embedding"]
    assert (embedding[2] != embedding[0]).any()


@pytest.mark.parametrize(
    ("element", "known", "nearest"),
    [
        ("Pt", ("Cu", "Ni"), "Ni"),
        ("Si", ("H", "C", "O"), "C"),
        ("S", ("C", "N", "O"), "O"),
        ("Br", ("F", "Cl", "Se"), "Cl"),
        ("Ce", ("Ba", "Y", "Zr"), "Y"),
        ("He", ("H", "Ne"), "Ne"),
        ("Ag", ("Cu", "Cd", "Zn"), "Cu"),
    ],
)
def test_nearest_elements(element: str, known: tuple[str, ...], nearest: str) -> None:
    assert nearest_element(element, known) == nearest


def old_data(config: TrainConfig, path: Path) -> Path:
    """Crystals of copper and nickel, stretched: not those of the run."""
    frames = []
    for seed in range(6):
        atoms = bulk("Cu", a=3.7, cubic=True)
        atoms.symbols[seed % 4] = "Ni"
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        free = sum({"Cu": -1.5, "Ni": -2.5}[symbol] for symbol in atoms.symbols)
        results = {"energy": atoms.get_potential_energy() + free, "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    ase.io.write(path, frames)
    return path


def test_old_data_are_trained_on_again(
    config: TrainConfig, platinum: TrainConfig, tmp_path: Path
) -> None:
    """With a large weight errors of forces fall, without they stay larger."""
    old = old_data(config, tmp_path / "old.xyz")

    def errors(weight: float) -> list[float]:
        lines: list[str] = []
        data = {**platinum.data.model_dump(), "valid": 0, "replay": old, "replay_weight": weight}
        output = tmp_path / f"weight_{weight:g}"
        run = changed(platinum, data=data, output=output, lr=0.03, max_epochs=8)
        fit(run, report=lines.append)
        assert (
            f"6 structures of data.replay are trained on again, with the weight {weight:g}" in lines
        )
        said = [line for line in lines if "structures of data.replay " in line and "MAE" in line]
        assert [line.split()[3] for line in said] == ["before", "after"]
        assert all("meV/atom" in line and "meV/Å" in line for line in said)
        return [float(line.split("meV/atom, ")[1].split()[0]) for line in said]

    much, little = errors(100.0), errors(1e-6)
    assert much[0] == little[0]
    assert much[1] < 0.7 * much[0]
    assert much[1] < 0.7 * little[1]


def test_what_is_left_out_of_old_data_is_said(platinum: TrainConfig, tmp_path: Path) -> None:
    old = old_data(platinum, tmp_path / "old.xyz")
    frames = ase.io.read(old, ":")
    frames[0].info["config_energy_weight"] = 0.0
    frames.append(ase.Atoms("Cu", info={"config_type": "IsolatedAtom", "REF_energy": -1.5}))
    ase.io.write(old, frames)
    lines: list[str] = []
    fit(changed(platinum, data={**platinum.data.model_dump(), "replay": old}), report=lines.append)
    said = [line for line in lines if line.startswith("data.replay: ")]
    assert any("energy" in line and "weight" in line for line in said)
    assert "data.replay: 1 isolated atoms are not trained on" in said


def test_old_data_need_a_model_that_was_trained_on_them(config: TrainConfig) -> None:
    data = {**config.data.model_dump(), "replay": config.data.train}
    with pytest.raises(ValidationError, match=r"data\.replay is for a run that goes on from a"):
        changed(config, data=data)


@pytest.mark.parametrize("count", [0, 1])
def test_frozen_layers_stay(config: TrainConfig, trained: Path, count: int) -> None:
    start = {"model": trained, "freeze_layers": count}
    run = changed(config, start=start, model={}, output=config.output.with_name("second"), lr=0.01)
    before, after = load(trained).state_dict(), load(fit(run)).state_dict()
    changes = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    first = {name for name in changes if ".interactions.0." in name or "embedding" in name}
    second = {name for name in changes if ".interactions.1." in name}
    assert (bool(first), bool(second)) == (count < 1, True)


def test_a_layer_is_left_to_train(config: TrainConfig, trained: Path) -> None:
    start = {"model": trained, "freeze_layers": 2}
    with pytest.raises(ValueError, match="freeze_layers is 2, but the model has 2 layers"):
        fit(changed(config, start=start, model={}, output=config.output.with_name("second")))
