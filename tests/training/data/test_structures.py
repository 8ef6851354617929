"""Structures: labels are read or raise, samples are right, splits are reproducible."""

from collections.abc import Sequence
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import given
from hypothesis import strategies as st

from sikff.forcefield import ForceFieldConfig
from sikff.training.data.batches import Sample
from sikff.training.data.check_labels import check_fields
from sikff.training.data.data_statistics import complete_model
from sikff.training.data.labels import NAMES, LabelKeys, find_label
from sikff.training.data.reading import read_structures
from sikff.training.data.samples import make_samples, unread_conditions
from sikff.training.data.structures import Structures, split_isolated, split_validation
from sikff.training.data.survey import Survey
from tolerances import TOLERANCES, WRITTEN

LIMITS = TOLERANCES[torch.float64]
MODEL = ForceFieldConfig(elements=("Ni", "Cu"), cutoff=4.0)


def with_labels(
    atoms: list[ase.Atoms], names: Sequence[str] = NAMES, partial: Sequence[str] = (), **keys: str
) -> Structures:
    structures = Structures.of(atoms).with_labels(LabelKeys(**keys), names)
    structures.check_labels_complete(names, partial)
    return structures


def sampled(
    atoms: list[ase.Atoms], names: Sequence[str] = NAMES, model: ForceFieldConfig = MODEL
) -> list[Sample]:
    return make_samples(with_labels(atoms, names), model, names)


def label(atoms: ase.Atoms, name: str, key: str | None = None) -> np.ndarray | None:
    found = find_label(atoms, name, key)
    return None if found is None else found.value


def test_label_keys_are_tried_in_order() -> None:
    atoms = ase.Atoms("H", info={"REF_energy": 1.0, "mine": 3.0, "energy": 4.0})
    atoms.calc = SinglePointCalculator(atoms, energy=2.0)
    assert label(atoms, "energy") == 1.0
    assert label(atoms, "energy", "mine") == 3.0
    assert label(atoms, "energy", "energy") == 2.0
    del atoms.info["REF_energy"]
    assert label(atoms, "energy") == 2.0
    atoms.calc = None
    assert label(atoms, "energy") == 4.0
    assert label(atoms, "energy", "absent") is None


def test_labels_survive_a_file(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
        atoms.arrays["REF_forces"] = 2 * atoms.get_forces()
    ase.io.write(tmp_path / "d.extxyz", frames)
    read = read_structures(tmp_path / "d.extxyz")
    for before, after in zip(frames, read.atoms, strict=True):
        assert np.abs(label(after, "energy") - before.get_potential_energy()) < WRITTEN
        assert np.abs(label(after, "forces") - 2 * before.get_forces()).max() < WRITTEN
        stress = label(after, "stress")
        assert np.abs(stress - before.get_stress(voigt=False)).max() < WRITTEN
        assert stress.shape == label(before, "stress", "stress").shape == (3, 3)


@given(
    key=st.sampled_from(["REF_virial", "REF_virials", "virial", "virials", "my_virial"]),
    virial=st.lists(st.floats(-9, 9), min_size=6, max_size=6),
    edge=st.floats(1, 9),
    shape=st.sampled_from([(6,), (9,), (3, 3), (1, 3, 3)]),
)
def test_a_virial_is_minus_the_stress_times_the_volume(
    key: str, virial: list[float], edge: float, shape: tuple[int, ...]
) -> None:
    xx, yy, zz, yz, xz, xy = virial
    full = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    value = np.array(virial) if shape == (6,) else full.reshape(shape)
    atoms = ase.Atoms("H", cell=[edge] * 3, pbc=True, info={key: value})
    stress = label(atoms, "stress", "my_virial" if key == "my_virial" else None)
    assert stress.shape == (3, 3)
    assert np.abs(stress * edge**3 + full).max() < LIMITS.parity


def test_stress_is_preferred_to_virials() -> None:
    atoms = ase.Atoms("H", cell=[2, 2, 2], pbc=True, info={"virial": np.eye(3)})
    assert label(atoms, "stress")[0, 0] == pytest.approx(-1 / 8, rel=LIMITS.parity)
    for key, value in (("stress", 2.0), ("REF_virials", 3.0), ("REF_stress", 4.0)):
        atoms.info[key] = value * np.eye(3)
        expected = -value / 8 if "virial" in key else value
        assert label(atoms, "stress")[2, 2] == pytest.approx(expected, rel=LIMITS.parity)
    atoms.cell[2] = 0
    assert label(atoms, "stress") is None
    with pytest.raises(ValueError, match=r"no stress .* needs a cell of three independent vectors"):
        with_labels([atoms], ["stress"])


def test_only_partial_labels_may_be_missing(frames: list[ase.Atoms]) -> None:
    for atoms in frames[1:]:
        del atoms.calc.results["stress"]
    with pytest.raises(ValueError, match=r"no stress .* in structures 1, 2.* more; give it to all"):
        with_labels(frames, ["stress"])
    found = with_labels(frames, ["stress", "forces"], partial=["stress"]).values("stress")
    assert [bool(np.isnan(each).all()) for each in found] == [False] + [True] * 11
    assert found[1].shape == (3, 3)
    del frames[4].calc.results["forces"]
    with pytest.raises(ValueError, match=r"no forces .* in structure 4.*, or go without forces"):
        with_labels(frames, ["stress", "forces"], partial=["stress"])
    frames[0].calc.results["stress"][2] = np.nan
    with pytest.raises(ValueError, match=r"stress is NaN or infinite in structure 0"):
        with_labels(frames, ["stress"], partial=["stress"])


@pytest.mark.parametrize("suffix", [".db", ".json", ".traj", ".extxyz"])
def test_labels_survive_the_formats_of_ase(
    tmp_path: Path, frames: list[ase.Atoms], suffix: str
) -> None:
    path = tmp_path / f"d{suffix}"
    if suffix in (".db", ".json"):
        with ase.db.connect(path) as rows:
            for number, atoms in enumerate(frames):
                extra = {"REF_energy": 10.0 + number, "config_type": "crystal"}
                data = {"REF_forces": atoms.get_forces() + 1, "electric_field": [0.0, 0.0, 1.0]}
                rows.write(atoms, key_value_pairs=extra, data=data)
    else:
        for number, atoms in enumerate(frames):
            atoms.info |= {"REF_energy": 10.0 + number, "config_type": "crystal"}
        ase.io.write(path, frames)
    read = read_structures(path)
    found = read.with_labels(LabelKeys())
    energies = [float(value) for value in found.values("energy")]
    assert energies == [10.0 + n for n in range(len(frames))]
    shift = 1.0 if suffix in (".db", ".json") else 0.0
    for before, after, forces, stress in zip(
        frames, read.atoms, found.values("forces"), found.values("stress"), strict=True
    ):
        assert after.info["config_type"] == "crystal"
        assert np.abs(forces - before.get_forces() - shift).max() < WRITTEN
        assert np.abs(stress - before.get_stress(voigt=False)).max() < WRITTEN


def test_missing_labels_name_their_structures(frames: list[ase.Atoms]) -> None:
    del frames[3].calc.results["forces"]
    frames[7].calc = None
    missing = r": no forces \(looked for REF_forces or forces\) in structures 3, 7; give it to all"
    with pytest.raises(ValueError, match=missing):
        with_labels(frames, ["forces"])
    with pytest.raises(ValueError, match=r"looked for mine\).*0, 1, 2, 3, 4, 5, 6, 7 and 4 more"):
        with_labels(frames, ["energy"], energy="mine")


def test_a_missing_key_raises_with_suggestions(frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        atoms.arrays["dft_forces"] = atoms.get_forces()
        atoms.arrays["force_weight"] = np.ones(len(atoms))
        atoms.info["comment_on_forces"] = "none"
    with pytest.raises(
        ValueError, match=r"looked for force\).*; forces_key may be forces or dft_forces$"
    ):
        with_labels(frames, ["forces"], forces="force")
    for atoms in frames:
        atoms.info["total_virial"] = np.eye(3)
        atoms.calc = None
    with pytest.raises(ValueError, match=r"no stress .*; stress_key may be total_virial$"):
        with_labels(frames, ["stress"])
    with pytest.raises(ValueError, match=r"no energy .* and 4 more; or go without \(loss.energy"):
        with_labels(frames, ["energy"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("energy", "abc", "'abc'; expected numbers"),
        ("energy", True, "True; expected numbers"),
        ("energy", [[1.0], [1.0, 2.0]], r"\[\[1.0\], \[1.0, 2.0\]\]; expected numbers"),
        ("energy", 1j, "1j; expected numbers"),
        ("energy", [1.0, 2.0], r"has shape \(2,\); expected \(\)"),
        ("forces", np.zeros((3, 4)), r"has shape \(3, 4\); expected \(4, 3\)"),
        ("forces", np.zeros(12), r"has shape \(12,\); expected \(4, 3\)"),
        ("stress", np.zeros(5), r"has shape \(5,\); expected \(3, 3\), \(6,\) or \(9,\)"),
        ("forces", np.full((4, 3), np.nan), "forces is NaN or infinite"),
        ("energy", np.inf, "energy is NaN or infinite"),
    ],
)
def test_invalid_labels_name_their_structures(
    frames: list[ase.Atoms], name: str, value: object, message: str
) -> None:
    assert with_labels(frames, [name])
    frames[2].info[f"REF_{name}"] = value
    with pytest.raises(
        ValueError, match=rf"^structures.*: .*{message}( in structure 2)?$"
    ) as caught:
        with_labels(frames, [name])
    assert "structure 2" in str(caught.value) and "\n" not in str(caught.value)


def test_results_for_other_positions_raise(frames: list[ase.Atoms]) -> None:
    frames[3].rattle(0.1)
    with pytest.raises(ValueError, match=r"structure 3: .*results for other positions than "):
        with_labels(frames, ["energy"])
    shared = EMT()
    for atoms in frames[:2]:
        atoms.calc = shared
        atoms.get_potential_energy()
    with pytest.raises(ValueError, match=r"structure 0: .*SinglePointCalculator\)"):
        with_labels(frames[:2], ["energy"])
    with_labels(frames[1:2], ["energy"])
    frames[0].info["REF_energy"] = 1.0
    assert with_labels(frames[:1], ["energy"]).values("energy") == [
        1.0
    ]  # the calculator is not asked
    frames[5].cell[0, 0] += 0.1
    with pytest.raises(ValueError, match="results for other positions"):
        with_labels(frames[5:6], ["energy"])


def test_structures_that_were_wrapped_or_shifted_keep_their_results(
    frames: list[ase.Atoms],
) -> None:
    expected = with_labels(frames)
    for atoms in frames:
        atoms.positions += [5.0, -7.0, 0.3]
        atoms.wrap()
        assert abs(atoms.positions - atoms.calc.atoms.positions).max() > 0.1
    frames[0].pbc = (True, True, False)
    frames[0].center(vacuum=5.0, axis=2)
    found = with_labels(frames[1:])
    energies = expected.values("energy")
    assert found.values("energy") == energies[1:]
    frames[1].calc.atoms = None  # as for calculators that do not store their structure
    assert with_labels(frames[1:2]).values("energy") == energies[1:2]


def test_unknown_elements_and_missing_fields_name_their_structures(frames: list[ase.Atoms]) -> None:
    frames[4].symbols[0] = "Au"
    frames[4].calc.atoms = frames[4].copy()
    with pytest.raises(
        ValueError, match=r"structure 4: .* holds Au, which the model does not know"
    ):
        sampled(frames)
    model = ForceFieldConfig(
        elements=("Ni", "Cu", "Au"), group="SO(2)", environment={"field": True}
    )
    for atoms in frames[1:]:
        atoms.info["electric_field"] = [0, 0, 1]
    with pytest.raises(ValueError, match="no electric_field in structure 0"):
        check_fields(Structures.of(frames), model)
    check_fields(Structures.of(frames[1:]), model)


def at_a_surface(number: int, **info: object) -> ase.Atoms:
    """A molecule of copper and nickel at some height, under conditions."""
    atoms = ase.Atoms("CuNi", positions=[[0, 0, number], [0, 2, number + 1.0]])
    atoms.calc = SinglePointCalculator(atoms, energy=-number, forces=np.ones((2, 3)))
    atoms.info |= info
    return atoms


AXIAL = ForceFieldConfig(
    elements=("Ni", "Cu"),
    group="C_inf_v",
    environment={"plane_origin": (0, 0, 0), "surfaces": ("Au", "NaCl"), "field": True},
)
NONE = [0, 0, 0]


def test_conditions_are_read_as_far_as_the_model_reads_them() -> None:
    frames = [
        at_a_surface(2, surface="NaCl", electric_field=[0, 0, 0.2]),
        at_a_surface(1, surface="Au", electric_field=[0, 0, -0.4], surface_origin=[0, 0, -1.5]),
        at_a_surface(-5, surface="vacuum", electric_field=NONE),
    ]
    graphs = [sample.graph for sample in sampled(frames, ("energy",), AXIAL)]
    assert [int(graph.surface) for graph in graphs] == [1, 0, -1]
    assert graphs[1].origin.tolist() == [[0, 0, -1.5]]
    assert graphs[1].field.tolist() == [[0, 0, -0.4]]
    blind = [sample.graph for sample in sampled(frames, ("energy",), MODEL)]
    assert not any(graph.field.any() or graph.surface.any() for graph in blind)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"surface": "Pt"}, "'Pt'; the model expects one of Au, NaCl, vacuum"),
        ({}, "no surface is named; the model expects one of Au, NaCl, vacuum"),
        ({"surface": "Au", "electric_field": [0.1, 0, 0]}, "is not along "),
    ],
)
def test_conditions_that_the_model_cannot_learn_from_name_their_structures(
    info: dict, message: str
) -> None:
    good = at_a_surface(2, surface="NaCl", electric_field=NONE)
    other = at_a_surface(1, **{"electric_field": NONE, **info})
    with pytest.raises(ValueError, match=message):
        sampled([good, other], ("energy",), AXIAL)


def test_the_range_of_the_data_is_stored_in_the_model() -> None:
    frames = [
        at_a_surface(2, surface="NaCl", electric_field=[0, 0, 0.2]),
        at_a_surface(1, surface="Au", electric_field=[0, 0, -0.4], surface_origin=[0, 0, -1.5]),
        at_a_surface(-5, surface="vacuum", electric_field=NONE),
    ]
    structures = with_labels(frames, ["energy", "forces"])
    samples = make_samples(structures, AXIAL)
    settings = AXIAL.model_dump(include={"elements", "group", "environment"})
    model, notes = complete_model(settings, structures, Survey.of(settings, samples), {})
    assert model.environment.field_min == pytest.approx(-0.4)
    assert model.environment.field_max == pytest.approx(0.2)
    assert model.environment.height_min == pytest.approx({"Ni": 3.0, "Cu": 2.0})
    heights = "training data: fields from -0.4 to 0.2 V/Å, heights from 3 (Ni), 2 (Cu) Å"
    assert any(note.startswith(heights) for note in notes)
    settings["environment"] |= {"field_max": 1.0, "height_min": 0.0}
    model, _ = complete_model(settings, structures, Survey.of(settings, samples), {})
    assert (model.environment.field_max, model.environment.height_min) == (1.0, 0.0)
    assert model.environment.field_min == pytest.approx(-0.4)
    settings["environment"] |= {"field_max": None, "field_min": -1.0}
    model, _ = complete_model(settings, structures, Survey.of(settings, samples), {})
    assert model.environment.field_max == pytest.approx(0.2)
    assert model.environment.field_min == -1.0


@pytest.mark.parametrize("origin", [[0, 0, 0], [0, 0, 1]])
def test_conditions_that_a_model_does_not_read(origin: list[int]) -> None:
    infos = [{"surface_origin": origin}, {"surface": "vacuum", "electric_field": NONE}]
    frames = Structures.of([at_a_surface(2, **info) for info in infos])
    assert unread_conditions(frames, ForceFieldConfig(elements=("Ni", "Cu"))) == ["surface_origin"]


def test_structures_at_different_surfaces_are_different_systems() -> None:
    infos = [{}, {"surface": "Au"}, {"surface": "NaCl"}, {"surface_origin": [0, 0, 1]}]
    frames = [at_a_surface(2, **info) for info in [*infos, *infos]]
    systems = Structures.of(frames).groups(lambda structure: structure.system_key)
    assert [[each.number for each in system] for system in systems] == [
        [k, k + 4] for k in range(4)
    ]


def numbers(structures: Structures) -> list[int]:
    return [structure.number for structure in structures]


def test_isolated_atoms_are_split_off(data_file: Path) -> None:
    train, alone = split_isolated(read_structures(data_file))
    assert numbers(train) == list(range(12))
    assert numbers(alone) == [12, 13]


def test_split_repeats_and_loses_nothing(frames: list[ase.Atoms]) -> None:
    train, valid = split_validation(Structures.of(frames), 0.25, seed=1)
    again = split_validation(Structures.of(frames), 3, seed=1)
    other = split_validation(Structures.of(frames), 3, seed=2)
    assert list(map(numbers, (train, valid))) == list(map(numbers, again))
    assert numbers(valid) != numbers(other[1])
    assert sorted(numbers(train) + numbers(valid)) == list(range(12))
    assert len(valid) == 3
    with pytest.raises(ValueError, match="12 of 12 structures for validation leaves none"):
        split_validation(Structures.of(frames), 12, seed=0)
