"""The report on data: counts, sizes of labels, repeated structures, outliers."""

from collections.abc import Sequence

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given, settings
from hypothesis import strategies as st

from sikff.forcefield import ForceFieldConfig
from sikff.training.config import TrainConfig
from sikff.training.data.dataset import load_dataset
from sikff.training.data.labels import NAMES, LabelKeys
from sikff.training.data.report import describe
from sikff.training.data.samples import make_samples
from sikff.training.data.structures import Structures
from sikff.training.data.survey import Survey


def with_labels(atoms: list[ase.Atoms], names: Sequence[str] = NAMES) -> Structures:
    return Structures.of(atoms).with_labels(LabelKeys(), names)


def described(atoms: list[ase.Atoms]) -> list[str]:
    return describe(with_labels(atoms))


def notes_of(report: list[str]) -> list[str]:
    return [line.removeprefix("note: ") for line in report if line.startswith("note: ")]


def relabelled(atoms: ase.Atoms, **changes: object) -> ase.Atoms:
    """A copy with other results."""
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **(atoms.calc.results | changes))
    return copy


def test_contents_are_counted(frames: list[ase.Atoms]) -> None:
    frames[5].pbc = (True, True, False)
    frames[5] = relabelled(frames[5])
    report = described(frames)
    symbols = np.concatenate([atoms.get_chemical_symbols() for atoms in frames]).tolist()
    elements = f"Ni {symbols.count('Ni')}, Cu {symbols.count('Cu')}"
    kinds = "1 periodic in 2 directions, 11 periodic in 3 directions"
    assert report[0] == f"3 to 4 atoms in a structure ({elements}); {kinds}"
    assert [line.split(":")[0] for line in report[1:]] == ["energy", "forces", "stress"]
    forces = [atoms.calc.results["forces"] for atoms in frames]
    rms = np.sqrt((np.concatenate(forces) ** 2).mean())
    largest = [abs(each).max() for each in forces]
    where = f"structure {int(np.argmax(largest))}"
    size = f"rms {rms:.3g}, largest {max(largest):.3g} eV/Å ({where})"
    assert report[2] == f"forces: forces, 12 of 12; {size}"
    counts = np.array([[np.sum(a.symbols == e) for e in ("Ni", "Cu")] for a in frames])
    energies = np.array([atoms.calc.results["energy"] for atoms in frames])
    left = (energies - counts @ np.linalg.pinv(counts) @ energies) / counts.sum(1)
    size = f"rms {np.sqrt(np.mean(left**2)):.3g}, largest {abs(left).max():.3g} eV per atom"
    assert f"; {size} from a fit of the compositions (structure " in report[1]


def test_labels_are_covered_and_named(frames: list[ase.Atoms]) -> None:
    for atoms in frames[:5]:
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = 2 * atoms.get_forces()
    for atoms in frames[3:]:
        del atoms.calc.results["stress"]
    report = described(frames)
    assert report[1].startswith("energy: REF_energy, 5 of 12, energy, 7 of 12; rms ")
    assert report[2].startswith("forces: REF_forces, 5 of 12, forces, 7 of 12; rms ")
    assert report[3].startswith("stress: stress, 3 of 12; rms ")
    note = "REF_forces is taken, though the structure's own result differs, in 5 structures"
    assert report[4:] == [f"note: {note}"]
    del frames[0].calc.results["forces"]
    energies_only = describe(with_labels(frames, ["energy"]))
    assert [line.split(":")[0] for line in energies_only[1:]] == ["energy"]
    frames[1].info["REF_stress"] = "none"
    with pytest.raises(ValueError, match="structure 1: REF_stress is 'none'; expected numbers"):
        described(frames)


def test_the_fit_of_the_compositions_honours_weights(frames: list[ase.Atoms]) -> None:
    exact = [relabelled(atoms, energy=-3.0 * len(atoms)) for atoms in frames]
    exact[3].calc.results["energy"] += 40.0
    exact[3].info["config_energy_weight"] = 1e-12
    (note,) = (line for line in described(exact) if line.startswith("energy"))
    assert "largest 13.3 eV per atom from a fit of the compositions (structure 3)" in note


def test_weights_other_than_one_are_said(frames: list[ase.Atoms]) -> None:
    assert "weights" not in " ".join(described(frames))
    frames[0].info["config_energy_weight"] = 0.1
    frames[1].info["config_energy_weight"] = 0.0
    frames[2].arrays["forces_weight"] = np.array([0.0, 2.0, 1.0, 0.5][: len(frames[2])])
    report = described(frames)
    assert report[1].endswith("; weights 0.1 to 1")
    assert report[2].endswith(f"; weights {0.5 if len(frames[2]) == 4 else 1} to 2")
    assert report[3].endswith(")")


def test_shortest_distance(frames: list[ase.Atoms]) -> None:
    frames[7].positions[1] = frames[7].positions[0] + [0.0, 0.6, 0.8]
    frames[7] = relabelled(frames[7])
    settings = {"elements": ("Ni", "Cu"), "cutoff": 4.0}
    model = ForceFieldConfig(**settings)
    samples = make_samples(Structures.of(frames), model)
    pair = f"{frames[7].symbols[0]}-{frames[7].symbols[1]}"
    (line,) = describe(Structures.of(frames), Survey.of(settings, samples))[1:]
    assert line == f"shortest distance 1 Å ({pair}, structure 7)"
    assert not any("shortest" in line for line in described(frames))
    alone = Structures.of([ase.Atoms("Cu")])
    report = describe(alone, Survey.of(settings, make_samples(alone, model)))
    assert not any("shortest" in line for line in report)


def test_single_atoms_are_named(frames: list[ase.Atoms]) -> None:
    alone = ase.Atoms("Cu", info={"REF_energy": 1.0, "REF_forces": np.zeros((1, 3))})
    (note,) = notes_of(described([*frames, alone]))
    assert "structure 12; to take them as E0s mark them config_type=IsolatedAtom" in note


POOL = [
    ase.Atoms("CuNi", [[0, 0, 0], [0, 0, 2.0 + 0.1 * n]], info={"energy": 0.1 * n**2})
    for n in range(6)
]


@settings(deadline=None, max_examples=40)
@given(
    train=st.lists(st.integers(0, 5), min_size=1, max_size=9),
    valid=st.lists(st.integers(0, 5), max_size=9),
)
def test_repeated_structures_are_counted(train: list[int], valid: list[int]) -> None:
    frames = with_labels([POOL[n] for n in train])
    other = Structures.of([POOL[n] for n in valid], "v.xyz")
    notes = notes_of(describe(frames, valid=other))
    again = [place for place, n in enumerate(train) if n in train[:place]]
    shared = [place for place, n in enumerate(valid) if n in train]
    assert sum("occur before" in note for note in notes) == bool(again)
    assert sum("validation" in note for note in notes) == bool(shared)
    if again:
        assert notes[0] == f"{len(again)} structures occur before ({frames.names(again)})"
    if shared:
        assert notes[-1].startswith(f"{len(shared)} validation structures are in the training")
        assert " of v.xyz)" in notes[-1]


def test_structures_repeat_only_with_equal_atoms_cell_and_conditions(
    frames: list[ase.Atoms],
) -> None:
    moved, turned, charged, grown = (relabelled(frames[0]) for _ in range(4))
    moved.positions[0, 0] += 1e-3
    turned.symbols[0] = "Ni"
    charged.info["electric_field"] = [0, 0, 1]
    grown.cell[0, 0] += 1e-3
    moved, turned, grown = map(relabelled, (moved, turned, grown))
    assert notes_of(described([*frames, moved, turned, charged, grown])) == []
    same = relabelled(frames[0])
    same.positions += 1e-9  # as written with fewer digits
    assert notes_of(described([*frames, same])) == ["1 structures occur before (structure 12)"]


@pytest.mark.parametrize(
    ("name", "small", "large"), [("energy", 1e-3, 1e-2), ("forces", 1e-3, 0.1)]
)
def test_contradictions_are_named(
    frames: list[ase.Atoms], name: str, small: float, large: float
) -> None:
    value = frames[4].calc.results[name]
    same, other = (relabelled(frames[4], **{name: value + off}) for off in (small, large))
    assert len(notes_of(described([*frames, same]))) == 1
    notes = notes_of(described([*frames, other]))
    assert notes[1] == "1 of them have other labels there (structure 12)"


def test_outliers_are_named() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(40):
        atoms = ase.Atoms("Cu2", rng.normal(size=(2, 3)))
        forces = rng.normal(size=(2, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=rng.normal(), forces=forces)
        frames.append(atoms)
    assert notes_of(described(frames)) == []
    frames[3].calc.results["energy"] += 100.0
    frames[9].calc.results["forces"][0, 0] = -1e3
    assert notes_of(described(frames)) == [
        "far from all others: energy in structure 3",
        "far from all others: largest force in structure 9",
    ]


def test_a_run_begins_with_the_report(config: TrainConfig) -> None:
    frames = ase.io.read(config.data.train, ":")
    leak = config.data.train.with_name("valid.xyz")
    ase.io.write(leak, frames[2:5])
    data = config.data.model_copy(update={"valid": leak})
    lines = load_dataset(config.model_copy(update={"data": data})).report
    assert lines[0] == "12 training and 3 validation structures, trained on energy, forces, stress"
    assert lines[1].startswith("3 to 4 atoms in a structure (Ni ")
    assert lines[1].endswith("; 12 periodic in 3 directions")
    assert lines[2].startswith("energy: energy, 12 of 12; rms ")
    assert lines[3].startswith("forces: forces, 12 of 12; rms ")
    assert lines[4].startswith("stress: stress, 12 of 12; rms ")
    assert lines[5].startswith("shortest distance 2.")
    assert lines[6].startswith(
        "note: 3 validation structures are in the training set too (structures 0"
    )
    assert len(lines) <= 10
    assert all("\n" not in line for line in lines)
