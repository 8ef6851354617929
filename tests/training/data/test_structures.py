"""Data: labels are found or missed loudly, E0s are right, splits and orders repeat."""

from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from sikff.forcefield import ForceFieldConfig
from sikff.graph import AtomicGraph
from sikff.training.config import DataConfig
from sikff.training.data.baselines import (
    atomic_energies,
    average_neighbours,
    complete_model,
    compositions,
    energy_scale,
)
from sikff.training.data.check_labels import check_fields
from sikff.training.data.structures import (
    Frames,
    label,
    make_samples,
    read_frames,
    read_labels,
    split_isolated,
    split_validation,
    systems,
    unread_conditions,
)
from tolerances import TOLERANCES, WRITTEN

LIMITS = TOLERANCES[torch.float64]
MODEL = ForceFieldConfig(elements=("Ni", "Cu"), cutoff=4.0)
ALL = ("energy", "forces", "stress")


def labels_of(atoms: list[ase.Atoms], names=ALL, **keys: str):
    return read_labels(Frames.of(atoms), DataConfig(train=Path("test"), **keys), names)


def sampled(atoms: list[ase.Atoms], names=ALL, model=MODEL, **keys: str):
    return make_samples(Frames.of(atoms), model, labels_of(atoms, names, **keys))


def test_labels_are_sought_in_order() -> None:
    atoms = ase.Atoms("H", info={"REF_energy": 1.0, "mine": 3.0, "energy": 4.0})
    atoms.calc = SinglePointCalculator(atoms, energy=2.0)
    assert label(atoms, "energy", None) == 1.0
    assert label(atoms, "energy", "mine") == 3.0
    assert label(atoms, "energy", "energy") == 2.0
    del atoms.info["REF_energy"]
    assert label(atoms, "energy", None) == 2.0
    atoms.calc = None
    assert label(atoms, "energy", None) == 4.0
    assert label(atoms, "energy", "absent") is None


def test_labels_survive_a_file(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
        atoms.arrays["REF_forces"] = 2 * atoms.get_forces()
    ase.io.write(tmp_path / "d.extxyz", frames)
    read = read_frames(tmp_path / "d.extxyz")
    for before, after in zip(frames, read.atoms, strict=True):
        assert np.abs(label(after, "energy", None) - before.get_potential_energy()) < WRITTEN
        assert np.abs(label(after, "forces", None) - 2 * before.get_forces()).max() < WRITTEN
        stress = label(after, "stress", None)
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
    assert label(atoms, "stress", None)[0, 0] == pytest.approx(-1 / 8, rel=LIMITS.parity)
    for key, value in (("stress", 2.0), ("REF_virials", 3.0), ("REF_stress", 4.0)):
        atoms.info[key] = value * np.eye(3)
        expected = -value / 8 if "virial" in key else value
        assert label(atoms, "stress", None)[2, 2] == pytest.approx(expected, rel=LIMITS.parity)
    atoms.cell[2] = 0
    assert label(atoms, "stress", None) is None
    with pytest.raises(ValueError, match=r"no stress .* needs a cell of three independent vectors"):
        labels_of([atoms], ["stress"])


def test_only_what_may_be_missing_is(frames: list[ase.Atoms]) -> None:
    for atoms in frames[1:]:
        del atoms.calc.results["stress"]
    with pytest.raises(ValueError, match=r"no stress .* in frames 1, 2.* more; give it to all"):
        labels_of(frames, ["stress"])
    data = DataConfig(train=Path("test"))
    found = read_labels(Frames.of(frames), data, ["stress", "forces"], partial=["stress"])
    assert [bool(np.isnan(each).all()) for each in found["stress"]] == [False] + [True] * 11
    assert found["stress"][1].shape == (3, 3)
    del frames[4].calc.results["forces"]
    with pytest.raises(ValueError, match=r"no forces .* in frame 4.*, or go without forces"):
        read_labels(Frames.of(frames), data, ["stress", "forces"], partial=["stress"])
    frames[0].calc.results["stress"][2] = np.nan
    with pytest.raises(ValueError, match=r"stress is NaN or infinite in frame 0"):
        read_labels(Frames.of(frames), data, ["stress"], partial=["stress"])


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
    read = read_frames(path)
    found = read_labels(read, DataConfig(train=path), ALL)
    assert [float(value) for value in found["energy"]] == [10.0 + n for n in range(len(frames))]
    shift = 1.0 if suffix in (".db", ".json") else 0.0
    for before, after, forces, stress in zip(
        frames, read.atoms, found["forces"], found["stress"], strict=True
    ):
        assert after.info["config_type"] == "crystal"
        assert np.abs(forces - before.get_forces() - shift).max() < WRITTEN
        assert np.abs(stress - before.get_stress(voigt=False)).max() < WRITTEN


def test_missing_labels_name_their_frames(frames: list[ase.Atoms]) -> None:
    del frames[3].calc.results["forces"]
    frames[7].calc = None
    missing = (
        r"structures: no forces \(looked for REF_forces or forces\) in frames 3, 7; give it to all"
    )
    with pytest.raises(ValueError, match=missing):
        labels_of(frames, ["forces"])
    with pytest.raises(ValueError, match=r"looked for mine\).*0, 1, 2, 3, 4, 5, 6, 7 and 4 more"):
        labels_of(frames, ["energy"], energy_key="mine")


def test_a_missing_key_is_answered_with_those_that_would_do(frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        atoms.arrays["dft_forces"] = atoms.get_forces()
        atoms.arrays["force_weight"] = np.ones(len(atoms))
        atoms.info["comment_on_forces"] = "none"
    with pytest.raises(
        ValueError, match=r"looked for force\).*; forces_key may be forces or dft_forces$"
    ):
        labels_of(frames, ["forces"], forces_key="force")
    for atoms in frames:
        atoms.info["total_virial"] = np.eye(3)
        atoms.calc = None
    with pytest.raises(ValueError, match=r"no stress .*; stress_key may be total_virial$"):
        labels_of(frames, ["stress"])
    with pytest.raises(ValueError, match=r"no energy .* and 4 more$"):
        labels_of(frames, ["energy"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
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
def test_labels_that_are_none_name_their_frames(
    frames: list[ase.Atoms], name: str, value: object, said: str
) -> None:
    assert labels_of(frames, [name])
    frames[2].info[f"REF_{name}"] = value
    with pytest.raises(ValueError, match=rf"^structures: .*{said} in frame 2$") as caught:
        labels_of(frames, [name])
    assert "\n" not in str(caught.value)


def test_results_of_other_positions_are_no_labels(frames: list[ase.Atoms]) -> None:
    frames[3].rattle(0.1)
    with pytest.raises(ValueError, match=r"results for other positions than .* in frame 3"):
        labels_of(frames, ["energy"])
    shared = EMT()
    for atoms in frames[:2]:
        atoms.calc = shared
        atoms.get_potential_energy()
    with pytest.raises(ValueError, match=r"SinglePointCalculator\) in frame 0"):
        labels_of(frames[:2], ["energy"])
    labels_of(frames[1:2], ["energy"])
    frames[0].info["REF_energy"] = 1.0
    assert labels_of(frames[:1], ["energy"])["energy"] == [1.0]  # the calculator is not asked
    frames[5].cell[0, 0] += 0.1
    with pytest.raises(ValueError, match="results for other positions"):
        labels_of(frames[5:6], ["energy"])


def test_structures_that_were_wrapped_or_shifted_keep_their_results(
    frames: list[ase.Atoms],
) -> None:
    expected = labels_of(frames)
    for atoms in frames:
        atoms.positions += [5.0, -7.0, 0.3]
        atoms.wrap()
        assert abs(atoms.positions - atoms.calc.atoms.positions).max() > 0.1
    frames[0].pbc = (True, True, False)
    frames[0].center(vacuum=5.0, axis=2)
    found = labels_of(frames[1:])
    assert found["energy"] == expected["energy"][1:]
    frames[1].calc.atoms = None  # as of calculators that do not say for what they computed
    assert labels_of(frames[1:2])["energy"] == expected["energy"][1:2]


def test_unknown_elements_and_missing_fields_name_their_frames(frames: list[ase.Atoms]) -> None:
    frames[4].symbols[0] = "Au"
    frames[4].calc.atoms = frames[4].copy()
    with pytest.raises(ValueError, match=r"holds Au, which the model does not know.* in frame 4"):
        sampled(frames)
    model = ForceFieldConfig(
        elements=("Ni", "Cu", "Au"), group="SO(2)", environment={"field": True}
    )
    for atoms in frames[1:]:
        atoms.info["electric_field"] = [0, 0, 1]
    with pytest.raises(ValueError, match="no electric_field in frame 0"):
        check_fields(Frames.of(frames), model)
    check_fields(Frames.of(frames[1:]), model)


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
        ({"surface": "Pt"}, "'Pt'; the model expects one of Au, NaCl, vacuum .* in frame 1"),
        ({}, "no surface is named; the model expects one of Au, NaCl, vacuum .* in frame 1"),
        ({"surface": "Au", "electric_field": [0.1, 0, 0]}, "is not along .* in frame 1"),
    ],
)
def test_conditions_that_the_model_cannot_learn_from_name_their_frames(
    info: dict, message: str
) -> None:
    good = at_a_surface(2, surface="NaCl", electric_field=NONE)
    other = at_a_surface(1, **{"electric_field": NONE, **info})
    with pytest.raises(ValueError, match=message):
        sampled([good, other], ("energy",), AXIAL)


def test_the_range_of_the_data_is_kept_with_the_model() -> None:
    frames = [
        at_a_surface(2, surface="NaCl", electric_field=[0, 0, 0.2]),
        at_a_surface(1, surface="Au", electric_field=[0, 0, -0.4], surface_origin=[0, 0, -1.5]),
        at_a_surface(-5, surface="vacuum", electric_field=NONE),
    ]
    labels = labels_of(frames, ("energy",))
    samples = make_samples(Frames.of(frames), AXIAL, labels)
    settings = AXIAL.model_dump(include={"elements", "group", "environment"})
    model, notes = complete_model(settings, Frames.of(frames), labels, samples, {})
    assert model.environment.field_least == pytest.approx(-0.4)
    assert model.environment.field_limit == pytest.approx(0.2)
    assert model.environment.height_limit == pytest.approx(2.0)
    assert "training data: fields from -0.4 to 0.2 V/Å, heights from 2 Å" in notes
    settings["environment"] |= {"field_limit": 1.0, "height_limit": 0.0}
    model, _ = complete_model(settings, Frames.of(frames), labels, samples, {})
    assert (model.environment.field_limit, model.environment.height_limit) == (1.0, 0.0)
    assert model.environment.field_least == pytest.approx(-0.4)
    settings["environment"] |= {"field_limit": None, "field_least": -1.0}
    model, _ = complete_model(settings, Frames.of(frames), labels, samples, {})
    assert model.environment.field_limit == pytest.approx(0.2)
    assert model.environment.field_least == -1.0


@pytest.mark.parametrize("origin", [[0, 0, 0], [0, 0, 1]])
def test_conditions_that_a_model_does_not_read(origin: list[int]) -> None:
    infos = [{"surface_origin": origin}, {"surface": "vacuum", "electric_field": NONE}]
    frames = Frames.of([at_a_surface(2, **info) for info in infos])
    assert unread_conditions(frames, ForceFieldConfig(elements=("Ni", "Cu"))) == ["surface_origin"]


def test_frames_at_different_surfaces_are_different_systems() -> None:
    infos = [{}, {"surface": "Au"}, {"surface": "NaCl"}, {"surface_origin": [0, 0, 1]}]
    frames = [at_a_surface(2, **info) for info in [*infos, *infos]]
    assert systems(Frames.of(frames)) == [[k, k + 4] for k in range(4)]


def test_isolated_atoms_are_set_apart(data_file: Path) -> None:
    train, alone = split_isolated(read_frames(data_file))
    assert train.numbers == list(range(12))
    assert alone.numbers == [12, 13]


def test_split_repeats_and_loses_nothing(frames: list[ase.Atoms]) -> None:
    train, valid = split_validation(Frames.of(frames), 0.25, seed=1)
    again = split_validation(Frames.of(frames), 3, seed=1)
    other = split_validation(Frames.of(frames), 3, seed=2)
    assert (train.numbers, valid.numbers) == (again[0].numbers, again[1].numbers)
    assert valid.numbers != other[1].numbers
    assert sorted(train.numbers + valid.numbers) == list(range(12))
    assert len(valid.numbers) == 3
    with pytest.raises(ValueError, match="12 of 12 frames for validation leaves none"):
        split_validation(Frames.of(frames), 12, seed=0)


def test_atomic_energies_are_recovered_by_least_squares(frames: list[ase.Atoms]) -> None:
    true = {"Ni": -3.0, "Cu": 5.0}
    for atoms in frames:
        atoms.calc.results["energy"] = sum(true[symbol] for symbol in atoms.symbols)
    energies = labels_of(frames, ["energy"])["energy"]
    counts = compositions(Frames.of(frames), MODEL.elements)
    assert counts.sum(1).tolist() == [len(atoms) for atoms in frames]
    for known in ({}, {"Ni": -3.0}, true):
        found, unique = atomic_energies(counts, energies, MODEL.elements, known)
        assert unique
        assert found == pytest.approx(true, abs=LIMITS.gradient)
    same = [place for place, count in enumerate(counts.tolist()) if count == [0, 4]]
    some = [energies[place] for place in same]
    assert not atomic_energies(counts[same], some, MODEL.elements, {})[1]


def test_statistics(frames: list[ase.Atoms]) -> None:
    labels = labels_of(frames)
    counts = compositions(Frames.of(frames), MODEL.elements)
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    scale = energy_scale(counts, labels, [0.0, 0.0])
    assert scale == pytest.approx(np.sqrt((forces**2).mean()), rel=LIMITS.parity)
    alone = [ase.Atoms("Cu", info={"energy": 0.0})] * 2
    energies = labels_of(alone, ["energy"])
    assert energy_scale(compositions(Frames.of(alone), MODEL.elements), energies, [0, 0]) == 1.0
    still = {**labels, "forces": [1e-15 * force for force in labels["forces"]]}
    left = np.array([atoms.get_potential_energy() / len(atoms) for atoms in frames])
    scale = energy_scale(counts, still, [0.0, 0.0])
    assert scale == pytest.approx(np.sqrt((left**2).mean()), rel=LIMITS.parity)


def test_neighbours_near_the_cutoff_count_less(frames: list[ase.Atoms]) -> None:
    x = np.concatenate([neighbor_list("d", atoms, 4.0) for atoms in frames]) / 4
    u = 1 - 84 * x**6 + 216 * x**7 - 189 * x**8 + 56 * x**9
    mean = np.sum(u**2) / sum(map(len, frames))
    assert 1 < mean < 0.7 * len(x) / sum(map(len, frames))
    graphs = [sample.graph for sample in sampled(frames)]
    assert average_neighbours(graphs, 4.0) == pytest.approx(mean, rel=LIMITS.parity)
    far = ase.Atoms("Cu2", [[0, 0, 0], [3.9, 0, 0]])
    assert average_neighbours([AtomicGraph.from_atoms(far, 4.0, ("Cu",))], 4.0) == 1.0


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.traj", "a.db", "a.json", "a"])
@pytest.mark.parametrize(
    "content", [b"", b"\n", bytes(range(256)) * 9, b"what\nis this\n"], ids=["0", "1", "2", "3"]
)
def test_files_that_hold_no_structures(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name) as caught:
        read_frames(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert path.read_bytes() == content


GOOD = """2
Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"
H 0.0 0.0 0.0 0.1 0.2 0.3
H 0.0 0.0 0.8 0.1 0.2 0.3
"""


@pytest.mark.parametrize("lost", range(1, len(GOOD), 9))
def test_truncated_files(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "cut.xyz"
    path.write_text(2 * GOOD)
    assert len(read_frames(path).atoms) == 2
    text = (2 * GOOD)[:-lost]
    path.write_text(text)
    complete = lost == 1 or text.endswith(GOOD)  # the last newline, or whole structures
    if complete:
        assert read_frames(path).atoms[-1].get_forces()[-1, -1] == 0.3
    else:
        with pytest.raises(ValueError, match=r"ASE cannot read .*cut\.xyz.*; expected a whole"):
            read_frames(path)


@pytest.mark.parametrize("old", ["2\n", "pos:R:3", "forces:R:3"])
def test_announcements_without_end(tmp_path: Path, old: str) -> None:
    """ASE would count."""
    path = tmp_path / "long.xyz"
    path.write_text(GOOD + GOOD.replace(old, old[:-1].rstrip("2") + "9" * 15 + old[-1:].strip("3")))
    with pytest.raises(ValueError, match=r"long\.xyz.*more atoms or columns are announced"):
        read_frames(path)
    path.write_text(GOOD.replace("energy", "at=12:30:123456789 energy"))
    assert len(read_frames(path).atoms) == 1


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no data file"):
        read_frames(tmp_path / "absent.xyz")
    with pytest.raises(ValueError, match="is a folder; expected a file"):
        read_frames(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "closed.xyz").write_text(GOOD)
    monkeypatch.setattr(ase.io, "iread", refuse)
    with pytest.raises(ValueError, match=r"closed\.xyz' \(PermissionError: .*Permission denied"):
        read_frames(tmp_path / "closed.xyz")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "0\n\n", "no atoms in frame 1"),
        (GOOD + GOOD.replace("0.8", "nan"), "positions or cell hold NaN or infinity.* in frame 1"),
        (GOOD.replace("energy", 'electric_field="1 2" energy'), "field is .* three .* in frame 0"),
    ],
)
def test_structures_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.xyz").write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.xyz: .*{said}$"):
        read_frames(tmp_path / "bad.xyz")


def test_atoms_without_an_element_are_refused(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    frames[2].symbols[1] = "X"
    ase.io.write(tmp_path / "x@1.xyz", frames)
    with pytest.raises(ValueError, match=r"atoms without an element \(X\) in frame 2"):
        read_frames(tmp_path / "x@1.xyz")
