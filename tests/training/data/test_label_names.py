"""One name for a label in a data set, and notes on labels that may not belong together."""

from collections.abc import Callable, Sequence
from pathlib import Path

import ase
import ase.io
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from sikff.training.config import TrainConfig
from sikff.training.data.check_labels import check_names, doubts
from sikff.training.data.dataset import load_dataset
from sikff.training.data.labels import LabelKeys
from sikff.training.data.reading import read_structures
from sikff.training.data.structures import Structures


def copied(atoms: ase.Atoms, **results: object) -> ase.Atoms:
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **(atoms.calc.results | results))
    return copy


def energy(atoms: ase.Atoms) -> None:
    atoms.info["REF_energy"] = atoms.calc.results["energy"] - 50.0


def forces(atoms: ase.Atoms) -> None:
    atoms.arrays["REF_forces"] = 0.9 * atoms.calc.results["forces"]


def stress(atoms: ase.Atoms) -> None:
    atoms.info["REF_stress"] = atoms.calc.results["stress"]


def virials(atoms: ase.Atoms) -> None:
    """In place of the stress, which they equal."""
    full = atoms.get_stress(voigt=False)
    atoms.info["virial"] = -full * atoms.get_volume()
    atoms.calc.results.pop("stress")


MIXED: dict[str, tuple[Callable[[ase.Atoms], None], str]] = {
    "energy": (energy, "energy is REF_energy in structures 0, 3, 6, 9 of .*, energy in structures"),
    "forces": (forces, "forces is REF_forces in structures 0, 3, 6, 9 of .*, forces in structures"),
    "stress": (stress, "stress is REF_stress in structures 0, 3, 6, 9 of .*, stress in structures"),
    "virials": (virials, "stress is virial in .*, stress in .*-virial / volume"),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_label_of_two_names_is_refused(name: str, frames: list[ase.Atoms]) -> None:
    change, words = MIXED[name]
    mixed = [copied(atoms) for atoms in frames]
    for atoms in mixed[::3]:
        change(atoms)
    with pytest.raises(ValueError, match=words):
        check_names([Structures.of(mixed).with_labels(LabelKeys())])
    for number, atoms in enumerate(mixed):
        if number % 3:
            change(atoms)
    check_names([Structures.of(mixed).with_labels(LabelKeys())])


def test_a_key_chooses_among_names(frames: list[ase.Atoms]) -> None:
    mixed = [copied(atoms) for atoms in frames]
    for atoms in mixed[::3]:
        energy(atoms)
    for key, count in {"energy": 12, "REF_energy": 4}.items():
        chosen = Structures.of(mixed).with_labels(LabelKeys(energy=key))
        check_names([chosen])
        assert len(chosen.having("energy")) == count
    with pytest.raises(
        ValueError, match=r"choose energy_key REF_energy \(in 4 of 12\) or energy \(in 12 of 12\)"
    ):
        check_names([Structures.of(mixed).with_labels(LabelKeys())])


def test_structures_without_any_label_have_no_name(frames: list[ase.Atoms]) -> None:
    bare = [atoms if k % 2 else ase.Atoms(atoms) for k, atoms in enumerate(frames)]
    for atoms in bare[::2]:
        atoms.calc = None
    check_names([Structures.of(bare).with_labels(LabelKeys())])


@pytest.fixture
def files(tmp_path: Path, frames: list[ase.Atoms]) -> Callable[[str, Sequence[int]], Path]:
    """Writes structures, those with the given numbers with a reference of their own."""

    def write(name: str, numbers: Sequence[int]) -> Path:
        chosen = [copied(atoms) for atoms in frames]
        for number in numbers:
            energy(chosen[number])
            forces(chosen[number])
        ase.io.write(tmp_path / name, chosen)
        return tmp_path / name

    return write


def test_files_of_a_run_have_one_name(
    config: TrainConfig, files: Callable[[str, Sequence[int]], Path], tmp_path: Path
) -> None:
    results, references = files("results.xyz", []), files("references.xyz", range(12))
    mixed, alone = files("mixed.xyz", [0, 5]), tmp_path / "alone.xyz"
    atoms = [ase.Atoms("Cu"), ase.Atoms("Ni")]
    for each in atoms:
        each.calc = SinglePointCalculator(each, energy=0.0)
    ase.io.write(alone, atoms)

    def load(**data: object) -> None:
        load_dataset(
            config.model_copy(update={"data": config.data.model_copy(update={"valid": 3, **data})})
        )

    load(train=results)
    load(train=references)
    load(train=results, valid=results)
    load(train=results, isolated_atoms=alone)
    for data in (
        {"train": mixed},
        {"train": (results, references)},
        {"train": results, "valid": references},
        {"train": references, "valid": mixed},
        {"train": references, "isolated_atoms": alone},
    ):
        with pytest.raises(ValueError, match=r"energy is .*Expected one name in all structures"):
            load(**data)
    load(train=mixed, energy_key="energy", forces_key="forces")


def test_energies_and_forces_of_two_sources_are_noted(frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        energy(atoms)
    (note,) = doubts(Structures.of(frames).with_labels(LabelKeys()))
    assert note.startswith("energy is REF_energy and forces are forces in 12 of 12 structures")
    assert not doubts(Structures.of(frames).with_labels(LabelKeys("REF_energy", "forces")))
    for atoms in frames:
        forces(atoms)
    assert not doubts(Structures.of(frames).with_labels(LabelKeys()))


# Energies and free energies


def smeared(frames: list[ase.Atoms], path: Path, per_atom: float) -> Path:
    """As ASE reads files of VASP: energies are extrapolated to no smearing."""
    chosen = []
    for k, atoms in enumerate(frames):
        free = atoms.calc.results["energy"] - per_atom * len(atoms) * (k + 1) / len(frames)
        chosen.append(copied(atoms, free_energy=free))
    ase.io.write(path, chosen)
    return path


def test_a_free_energy_that_differs_is_noted(frames: list[ase.Atoms], tmp_path: Path) -> None:
    structures = read_structures(smeared(frames, tmp_path / "a.xyz", 0.005))
    (note,) = doubts(structures.with_labels(LabelKeys()))
    assert note.startswith("free_energy differs from energy by up to 5 meV/atom in structures 2, 3")
    assert "(energy_key: free_energy)" in note
    chosen = structures.with_labels(LabelKeys(energy="free_energy"))
    assert not doubts(chosen)
    assert float(chosen[0].value("energy")) == structures[0].atoms.calc.results["free_energy"]
    assert not doubts(structures.with_labels(LabelKeys(), ["energy"]))  # no forces are trained on
    for per_atom in (0.0, 0.0009):
        near = read_structures(smeared(frames, tmp_path / "b.xyz", per_atom))
        assert not doubts(near.with_labels(LabelKeys()))


@pytest.mark.parametrize("same", [True, False])
def test_a_free_energy_beside_a_reference(
    frames: list[ase.Atoms], tmp_path: Path, same: bool
) -> None:
    """It belongs to the reference only if that is the energy of the same calculation."""
    structures = read_structures(smeared(frames, tmp_path / "a.xyz", 0.005))
    for atoms in structures.atoms:
        atoms.info["REF_energy"] = atoms.calc.results["energy"] - (0.0 if same else 50.0)
        atoms.arrays["REF_forces"] = atoms.calc.results["forces"]
    notes = doubts(structures.with_labels(LabelKeys()))
    assert [note.split(" by")[0] for note in notes] == (
        ["free_energy differs from REF_energy"] if same else []
    )
    for atoms in structures.atoms:
        atoms.info["REF_free_energy"] = atoms.info["REF_energy"] - 0.02 * len(atoms)
    if not same:
        (note,) = doubts(structures.with_labels(LabelKeys()))
        assert "by up to 20 meV/atom" in note
        assert "(energy_key: REF_free_energy)" in note


def test_the_free_energy_is_in_the_report_of_a_run(
    config: TrainConfig, frames: list[ase.Atoms], tmp_path: Path
) -> None:
    path = smeared(frames, tmp_path / "a.xyz", 0.005)
    data = config.data.model_copy(update={"train": path})
    report = load_dataset(config.model_copy(update={"data": data})).report
    assert any(line.startswith("note: free_energy differs") for line in report)
