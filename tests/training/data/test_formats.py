"""Formats beside ASE's: read into the same structures and labels, or refused with a reason."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase.units import Hartree, kcal, mol

from same_labels import KBAR, expect_equal, molecules
from sikff.training.config import NpzUnits, TrainConfig
from sikff.training.data.dataset import load_dataset
from sikff.training.data.formats import pymatgen_json
from sikff.training.data.reading import read_structures

KCAL = kcal / mol


# ---- archives of NumPy


def arrays_of(frames: list[ase.Atoms], names: tuple[str, ...], unit: float) -> dict[str, Any]:
    numbers, positions, energies, forces = names
    return {
        numbers: frames[0].numbers.astype(np.uint8),
        positions: np.array([atoms.positions for atoms in frames]),
        energies: np.array([atoms.get_potential_energy() for atoms in frames]) / unit,
        forces: np.array([atoms.get_forces() for atoms in frames]) / unit,
    }


RMD17 = ("nuclear_charges", "coords", "energies", "forces")
MD22 = ("z", "R", "E", "F")


@pytest.mark.parametrize("names", [RMD17, MD22], ids=["rMD17", "MD22"])
def test_archives_without_units_are_read_as_kcal_and_a_warning_says_so(
    tmp_path: Path, frames: list[ase.Atoms], names: tuple[str, ...]
) -> None:
    chosen = molecules(frames)
    path = tmp_path / "a.npz"
    arrays = arrays_of(chosen, names, KCAL)
    arrays |= {"old_indices": np.arange(len(chosen)), "name": "x"}
    if names == MD22:
        arrays["E"] = arrays["E"][:, None]
    np.savez(path, **arrays)
    with pytest.warns(UserWarning, match=r"a\.npz does not name .* read as kcal/mol and Å.*npz_u"):
        found = read_structures(path)
    expect_equal(list(found.atoms), chosen, stress=False)
    found = read_structures(path, NpzUnits())  # no warning
    expect_equal(list(found.atoms), chosen, stress=False)


def test_units_of_archives(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    """Those that the user names, and those in the file; not both if they differ."""
    chosen = molecules(frames)
    arrays = arrays_of(chosen, RMD17, Hartree)
    np.savez(tmp_path / "a.npz", **arrays)
    units = NpzUnits(energy="Hartree")
    expect_equal(list(read_structures(tmp_path / "a.npz", units).atoms), chosen, stress=False)
    np.savez(tmp_path / "b.npz", **arrays, e_unit="hartree", r_unit=np.bytes_("Ang"))
    expect_equal(list(read_structures(tmp_path / "b.npz").atoms), chosen, stress=False)
    with pytest.raises(ValueError, match=r"e_unit is Hartree, data\.npz_units\.energy is kcal/mol"):
        read_structures(tmp_path / "b.npz", NpzUnits())
    np.savez(tmp_path / "c.npz", **arrays, e_unit="furlong")
    with pytest.raises(ValueError, match=r"e_unit is 'furlong'; expected one of eV, Hartree"):
        read_structures(tmp_path / "c.npz")


def test_a_run_reads_an_archive_in_the_units_of_its_configuration(
    tmp_path: Path, frames: list[ase.Atoms], config: TrainConfig
) -> None:
    arrays = arrays_of(frames[::6] * 5, RMD17, KCAL)
    arrays["coords"] += 0.01 * np.arange(10)[:, None, None] * np.eye(4, 3)
    arrays["energies"] += np.arange(10)
    arrays["forces"] += 0.01 * np.arange(10)[:, None, None]
    np.savez(tmp_path / "a.npz", **arrays)
    data = {"train": tmp_path / "a.npz", "npz_units": {"energy": "eV"}, "check_units": False}
    settings = config.model_dump() | {"data": data}
    dataset = load_dataset(TrainConfig.model_validate(settings))
    energies = [float(s.targets.energy) for s in (*dataset.train, *dataset.valid)]
    np.testing.assert_allclose(sorted(energies), sorted(arrays["energies"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coords": None}, "expected nuclear_charges, coords and z, R"),
        ({"energies": None, "forces": None}, "expected energies or E, and forces or F"),
        ({"R": np.zeros((2, 4, 3))}, "it has coords and R; expected one of them"),
        ({"forces": np.zeros((2, 3, 3))}, r"forces or F has shape \(2, 3, 3\); expected \(2, 4, 3"),
        ({"energies": np.zeros(3)}, r"energies or E has shape \(3,\); expected \(2,\)"),
        ({"coords": np.zeros(4)}, r"coords or R has shape \(4,\); expected \(4, 4, 3\)"),
        ({"energies": np.array(["a", "b"])}, "energies has the type <U1; expected numbers"),
        ({"energies": np.array([1, None])}, "pickled objects, which may run code"),
        ({"lattice": np.arange(9.0).reshape(3, 3)}, "expected a symmetric matrix"),
        ({"nuclear_charges": np.array([29, 29, 29, 200])}, "200 is no atomic number"),
    ],
)
def test_wrong_archives_raise(
    tmp_path: Path, frames: list[ase.Atoms], change: dict[str, Any], message: str
) -> None:
    arrays = arrays_of(frames[:1] * 2, RMD17, KCAL) | change
    np.savez(tmp_path / "a.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ValueError, match=rf"cannot read .*a\.npz': .*{message}"):
        read_structures(tmp_path / "a.npz", NpzUnits())


def test_arrays_of_an_archive_that_are_not_read_are_named(
    tmp_path: Path, frames: list[ase.Atoms]
) -> None:
    arrays = arrays_of(frames[:1] * 2, RMD17, KCAL)
    np.savez(tmp_path / "a.npz", **arrays, charges=np.zeros(4), lattice=5 * np.eye(3))
    with pytest.warns(UserWarning, match=r"a\.npz: charges not read"):
        found = read_structures(tmp_path / "a.npz", NpzUnits())
    assert found[0].atoms.pbc.all() and found[0].atoms.cell.lengths().tolist() == [5.0] * 3


# ---- JSON of pymatgen


def entry(atoms: ase.Atoms, **changes: Any) -> dict[str, Any]:
    """An entry of MPtrj: the stress in kbar, positive under compression."""
    sites = [
        {
            "species": [{"element": symbol, "occu": 1}],
            "abc": scaled.tolist(),
            "xyz": position.tolist(),
            "label": symbol,
            "properties": {},
        }
        for symbol, scaled, position in zip(
            atoms.symbols, atoms.get_scaled_positions(False), atoms.positions, strict=True
        )
    ]
    structure = {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {"matrix": atoms.cell.tolist(), "pbc": [True, True, True]},
        "sites": sites,
    }
    energy = atoms.get_potential_energy()
    return {
        "structure": structure,
        "uncorrected_total_energy": energy,
        "corrected_total_energy": energy - 1.0,
        "energy_per_atom": energy / len(atoms),
        "force": atoms.get_forces().tolist(),
        "stress": (-atoms.get_stress(voigt=False) / KBAR).tolist(),
        "magmom": None,
        "mp_id": "mp-1",
        **changes,
    }


def nested(frames: list[ase.Atoms]) -> dict[str, Any]:
    pairs = zip(frames[::2], frames[1::2], strict=True)
    return {
        f"mp-{k}": {f"mp-{k}-0": entry(a), f"mp-{k}-1": entry(b)} for k, (a, b) in enumerate(pairs)
    }


FORMS: dict[str, Callable[[list[ase.Atoms]], Any]] = {
    "MPtrj": nested,
    "list": lambda frames: [entry(atoms) for atoms in frames],
    "names": lambda frames: {str(k): entry(atoms) for k, atoms in enumerate(frames)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("chunk", [1 << 20, 7])
def test_json_of_pymatgen(
    tmp_path: Path,
    frames: list[ase.Atoms],
    form: str,
    chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pymatgen_json, "CHUNK", chunk)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(FORMS[form](frames), indent=1 if chunk == 7 else None))
    found = list(read_structures(path).atoms)
    expect_equal(found, frames)
    assert found[0].info["corrected_total_energy"] == frames[0].get_potential_energy() - 1.0
    for atoms in frames:  # EMT's stress is ASE's, so a wrong sign would show
        assert abs(atoms.get_stress()).max() > 1e-3


def test_one_structure_of_pymatgen_without_labels(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    structure = entry(frames[0])["structure"] | {"charge": 2}
    for site in structure["sites"]:
        del site["xyz"]
    (tmp_path / "a.json").write_text(json.dumps(structure))
    (atoms,) = read_structures(tmp_path / "a.json").atoms
    np.testing.assert_allclose(atoms.positions, frames[0].positions, atol=1e-9)
    assert atoms.info["charge"] == 2 and atoms.calc is None


def test_json_is_read_entry_by_entry(frames: list[ase.Atoms]) -> None:
    """The members that are complete come before the rest of the file is read."""
    text = json.dumps(nested(frames))
    file = io.StringIO(text)
    members = pymatgen_json.members(file)
    first = next(members)
    assert first[0] == "mp-0" and [*first[1]] == ["mp-0-0", "mp-0-1"]
    assert [name for name, _ in members] == [f"mp-{k}" for k in range(1, 6)]
    assert list(pymatgen_json.members(io.StringIO(" [ ] "))) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lambda t: t[:-30], r"no JSON at character \d+: .*is it cut off\?"),
        (lambda t: t.replace('"occu": 1', '"occu": 0.5', 1), "0: site 0 is occupied by 0.5 Cu"),
        (lambda t: t.replace('"element": "Cu"', '"element": "Xx"', 1), "site 0 has Xx"),
        (lambda t: t.replace('"force": [[', '"force": [[1], [', 1), "0: the forces"),
        (lambda t: t.replace('"stress": [[', '"stress": [[1, ', 1), "0: the stress"),
        (lambda t: t.replace('"mp_id"', '"energy": 1, "mp_id"', 1), "expected one of them"),
        (lambda t: t[:-1] + ", 5]", "1 is 5; expected an entry with a structure"),
    ],
)
def test_wrong_json_of_pymatgen_raises(
    tmp_path: Path, frames: list[ase.Atoms], text: Callable[[str], str], message: str
) -> None:
    frames[0].symbols[:] = "Cu"
    (tmp_path / "a.json").write_text(text(json.dumps([entry(frames[0])])))
    with pytest.raises(ValueError, match=rf"cannot read .*a\.json': .*{message}"):
        read_structures(tmp_path / "a.json")


def test_databases_of_ase_in_json_are_still_read(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    ase.io.write(tmp_path / "a.json", frames)
    expect_equal(list(read_structures(tmp_path / "a.json").atoms), frames)
