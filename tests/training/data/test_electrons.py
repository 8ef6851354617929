"""Charged and open-shell structures in training data."""

import hashlib
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from force_fields import force_field
from made_labels import with_labels
from runs import changed
from sikff import ForceFieldConfig, load
from sikff.training.config import DataConfig, TrainConfig
from sikff.training.data.charging import charging_energies
from sikff.training.data.check_electrons import check_electrons, describe_electrons
from sikff.training.data.dataset import load_dataset
from sikff.training.data.samples import make_samples
from sikff.training.data.structures import Structures
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

BOTH = {"charge": True, "spin": True}
COST = 3.0  # eV, what the artificial anion binds its electron by


def ions(count: int, seed: int = 0, scale: float = 0.7) -> list[ase.Atoms]:
    """CO and an artificial CO- in turn: EMT's energy, for the anion scaled and shifted."""
    rng, frames = np.random.default_rng(seed), []
    for number in range(count):
        atoms, is_anion = molecule("CO"), number % 2
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        factor = scale if is_anion else 1.0
        results = {
            "energy": factor * atoms.get_potential_energy() - COST * is_anion,
            "forces": factor * atoms.get_forces(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info |= {"charge": -is_anion, "spin": 1 + is_anion}
        frames.append(atoms)
    return frames


def of(info: dict[str, Any], symbols: str = "CO", **settings: Any) -> ase.Atoms:
    positions = 1.2 * np.arange(len(ase.Atoms(symbols)))[:, None] * [0, 0, 1]
    return ase.Atoms(symbols, positions, info=info, **settings)


def notes_on(frames: list[ase.Atoms], **environment: Any) -> list[str]:
    elements = tuple({symbol for atoms in frames for symbol in atoms.symbols})
    model = ForceFieldConfig(elements=elements, environment=environment)
    return check_electrons(Structures.of(frames), model)


@pytest.fixture
def charged(tmp_path: Path, config: TrainConfig) -> TrainConfig:
    """A run on structures of which half are anions."""
    ase.io.write(tmp_path / "ions.xyz", ions(24))
    data = DataConfig(train=tmp_path / "ions.xyz", valid=6)
    return config.model_copy(update={"data": data})


@pytest.mark.parametrize(
    ("infos", "environment", "message"),
    [
        (
            [{}, {"charge": -1}],
            {},
            r"CO with total charges -1, 0, which .* in structures 1, 0; set",
        ),
        ([{"charge": 1}, {"charge": 2}], {"spin": True}, "model.environment.charge: true, or sele"),
        (
            [{"spin": 1}, {"spin": 3}],
            {"charge": True},
            "multiplicities 1, 3, .* in structures 0, 1",
        ),
        (
            [{"charge": 1, "spin": 2}, {"charge": 1, "spin": 4}],
            {"charge": True},
            "multiplicities 2",
        ),
    ],
)
def test_structures_of_one_composition_with_a_difference_that_is_not_read_raise(
    infos: list[dict[str, Any]], environment: dict[str, Any], message: str
) -> None:
    frames = [of(info) for info in infos]
    with pytest.raises(ValueError, match=message):
        notes_on(frames, **environment)
    assert not notes_on(frames[:1], **{"charge": True} if "charge" in infos[0] else {})
    for atoms in frames:
        atoms.info = {"charge": 0, "spin": 1} | atoms.info
    notes_on(frames, **BOTH)


@pytest.mark.parametrize(
    ("frames", "environment"),
    [
        ([of({"charge": 1}), of({}, "OH2")], {}),  # the composition tells
        ([of({"spin": 3}), of({})], {}),  # unspecified may be the same
        ([of({"charge": 0, "spin": 1}), of({"charge": -1, "spin": 2})], {"charge": True}),
        ([of({"charge": -1}), of({"charge": -1}, "OC")], {}),
    ],
)
def test_what_the_composition_or_the_charge_tells_is_allowed(
    frames: list[ase.Atoms], environment: dict[str, Any]
) -> None:
    assert not notes_on(frames, **environment)


@pytest.mark.parametrize(
    ("infos", "lines"),
    [
        ([{}, {"charge": 0, "spin": 1}], []),
        ([{"charge": 1}, {"charge": 1}], ["total charges 1 (2)"]),
        ([{"spin": 3}, {}], ["spin multiplicities 3 (1), not given (1)"]),
        (
            [{"charge": -1, "spin": 2}, {"charge": 0, "spin": 1}],
            ["total charges -1 (1), 0 (1); spin multiplicities 1 (1), 2 (1)"],
        ),
    ],
)
def test_charges_and_spins_are_described(infos: list[dict[str, int]], lines: list[str]) -> None:
    assert describe_electrons(Structures.of(map(of, infos))) == lines


def test_spins_that_the_number_of_electrons_does_not_allow_are_reported() -> None:
    frames = [of({"spin": 2}), of({"spin": 1}), of({"spin": 2, "charge": 1}), of({"spin": 99})]
    frames += [of({"spin": 2}, pbc=True, cell=[9, 9, 9]), of({})]
    (note,) = notes_on([*frames, of({"charge": 1, "spin": 1})], **BOTH)
    assert "in structures 0, 3, 6" in note


def test_structures_of_other_charge_or_spin_are_other_systems() -> None:
    """So they are no copies of each other, whose labels would contradict."""
    infos = [{}, {"charge": 1}, {"charge": -1}, {"spin": 3}, {"charge": 1, "spin": 2}]
    records = Structures.of(map(of, infos)).records
    assert len({each.system_key for each in records}) == len({each.key for each in records}) == 5
    same = Structures.of([of({"total_charge": 1.0, "spin": 0}), of({"charge": 1})])
    assert same[0].key == same[1].key


def test_a_charge_that_is_read_but_never_given_is_reported() -> None:
    assert "looked for charge or total_charge in info" in notes_on([of({})], charge=True)[0]
    assert "looked for spin or total_spin in info" in notes_on([of({})], spin=True)[0]
    assert not notes_on([of({"total_charge": 0, "total_spin": 1})], **BOTH)


def test_a_blind_run_on_ions_is_refused_or_reported(charged: TrainConfig) -> None:
    with pytest.raises(
        ValueError, match=r"CO with total charges -1, 0, which the model does not re"
    ):
        load_dataset(charged)
    ase.io.write(charged.data.train, ions(24)[1::2])
    report = load_dataset(changed(charged, data={"train": charged.data.train, "valid": 3})).report
    assert "structures have charge; the model ignores it (model.environment.charge)" in report
    assert "structures have spin; the model ignores it (model.environment.spin)" in report
    ase.io.write(charged.data.train, ions(24)[::2])
    other = charged.data.train.with_name("valid.xyz")
    ase.io.write(other, ions(4))
    with pytest.raises(ValueError, match=r"valid\.xyz: CO with total charges -1, 0"):
        load_dataset(changed(charged, data={"train": charged.data.train, "valid": other}))
    neutral = load_dataset(changed(charged, data={"train": charged.data.train, "valid": 3})).report
    assert not any("ignores" in line for line in neutral)


def test_the_data_tell_e0s_of_neutral_atoms_and_the_range_of_charges(charged: TrainConfig) -> None:
    reading = changed(charged, model={**charged.model, "environment": BOTH})
    dataset = load_dataset(reading)
    environment = dataset.model.environment
    assert (environment.charge_min, environment.charge_max) == (-1, 0)
    assert (environment.spin_min, environment.spin_max) == (1, 2)
    assert any("total charges from -1 to 0, spin multi" in line for line in dataset.report)
    train = np.array([float(s.targets.energy) for s in dataset.train])
    is_anion = np.array([float(s.graph.charge) for s in dataset.train]) < 0
    fitted = sum(dataset.model.atomic_energies.values())
    assert abs(fitted - train[~is_anion].mean()) < 1e-6  # not the mean over both
    assert train[~is_anion].mean() - train[is_anion].mean() > COST / 2
    given = {**BOTH, "charge_max": 4}
    wider = load_dataset(changed(charged, model={**charged.model, "environment": given}))
    assert wider.model.environment.charge_max == 4


def test_charging_energies_compare_structures_of_one_composition() -> None:
    """Closed form: E = E(composition) + 2 Q + 5 Q^2 / N, with noise-free labels."""
    frames, energies = [], []
    for symbols, base in (("CO", -7.0), ("OH2", 30.0)):
        for charge in (-1, 0, 2):
            frames.append(of({"charge": charge}, symbols))
            energies.append(base + 2 * charge + 5 * charge**2 / len(frames[-1]))
    frames.append(of({"charge": 3}))
    energies.append(np.nan)
    structures = with_labels(frames, energy=energies)
    model = ForceFieldConfig(elements=("H", "C", "O"), environment={"charge": True})
    graphs = [sample.graph for sample in make_samples(structures, model)]
    found = charging_energies(graphs, np.array(energies), ["charge"])
    assert found == pytest.approx([2, 5])
    alone = charging_energies(graphs[:1] + graphs[3:4], np.array([1.0, 5.0]), ["charge"])
    assert alone.tolist() == [0, 0]


def test_an_ion_gives_no_e0(charged: TrainConfig) -> None:
    free = ase.Atoms("O", info={"config_type": "IsolatedAtom", "REF_energy": -1.0, "charge": -1})
    ase.io.write(charged.data.train, [*ions(12), free])
    with pytest.raises(ValueError, match=r"an ion, though said .* in structure 12; an E0 is that"):
        load_dataset(charged)


def test_runs_of_older_versions_on_neutral_data_can_be_resumed(config: TrainConfig) -> None:
    """The fingerprint of their data is that of graphs without charge and spin."""
    old = ("positions", "species", "cell", "edge_index", "shifts", "batch", "field", "origin")
    dataset, digest = load_dataset(config), hashlib.sha256()
    for energy in dataset.model.atomic_energies.values():
        digest.update(f"{energy:.6f} ".encode())
    for sample in (*dataset.train, *dataset.valid):
        graph = [getattr(sample.graph, name) for name in (*old, "surface")]
        for tensor in (*graph, *(each for each in sample.targets if each is not None)):
            rounded = tensor.float() if tensor.is_floating_point() else tensor
            digest.update(rounded.numpy().tobytes())
    assert dataset.fingerprint == digest.hexdigest()
    for sample in dataset.train[:1]:
        sample.graph.charge.fill_(1.0)
    assert dataset.fingerprint != digest.hexdigest()


def test_a_run_learns_what_an_electron_changes(charged: TrainConfig) -> None:
    """Force constants of neutral and anion differ by 30 %: a blind model, given both under one
    charge, cannot do better than half of the difference."""
    model = {**charged.model, "environment": BOTH, "channels": 8}
    settings = {"max_epochs": 15, "ema": 0.9, "loss": {"energy": 1, "forces": 10}}
    reading = changed(charged, model=model, **settings)
    blind = changed(reading, model={**model, "environment": {}}, output=charged.output / "blind")
    found = evaluate(load(fit(reading)), ions(20, seed=5)).metrics
    frames = ions(24)
    for atoms in frames:
        atoms.info.clear()
    ase.io.write(blind.data.train.with_name("blind.xyz"), frames)
    blind = changed(blind, data={"train": blind.data.train.with_name("blind.xyz"), "valid": 6})
    unread = ions(20, seed=5)
    for atoms in unread:
        atoms.info.clear()
    other = evaluate(load(fit(blind)), unread).metrics
    assert found["force_mae_mev_per_a"] < 0.25 * other["force_mae_mev_per_a"]
    assert found["energy_mae_mev_per_atom"] < 0.3 * other["energy_mae_mev_per_atom"]


@pytest.mark.filterwarnings("default")
def test_evaluating_ions_with_a_blind_model_warns_once(charged: TrainConfig) -> None:
    with pytest.warns(UserWarning, match="which the model does not read") as caught:
        evaluate(force_field(), ions(6), batch_size=1)
    assert sum("total charge" in str(each.message) for each in caught) == 1
