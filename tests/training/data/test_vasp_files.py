"""Files of VASP: read into the structures and labels that were written, or refused."""

from pathlib import Path

import ase
import numpy as np
import pytest

from same_labels import KBAR, expect_equal
from sikff.training.data.reading import read_structures

STARS, DASHES, EQUALS = ("\n" + 50 * c + "\n" for c in "*-=")


def ml_ab(frames: list[ase.Atoms], count: int | None = None) -> str:
    """An ML_AB: atoms sorted by type, the stress in kbar, positive under compression."""

    def section(title: str, body: str, rule: str = EQUALS) -> str:
        return f"{rule}     {title}{DASHES}{body}"

    def rows(array: np.ndarray) -> str:
        return "\n".join("  ".join(f"{x:.16E}" for x in row) for row in array)

    text = " 1.0 Version"
    text += section("The number of configurations", str(count or len(frames)), STARS)
    text += section("The atom types in the data file", "Cu Ni", STARS)
    text += section("Basis set for Cu", "1 1\n 2 1", STARS)
    for number, atoms in enumerate(frames, 1):
        kinds = [(s, list(atoms.symbols).count(s)) for s in dict.fromkeys(atoms.symbols)]
        stress = -atoms.get_stress(voigt=False) / KBAR
        xx, yy, zz, yz, xz, xy = stress.ravel()[[0, 4, 8, 5, 2, 1]]
        text += f"{STARS}     Configuration num.  {number:5d}"
        text += section("System name", "Cu = Ni * -")
        text += section("The number of atom types", str(len(kinds)))
        text += section("The number of atoms", str(len(atoms)))
        text += section(
            "Atom types and atom numbers", "\n".join(f" {s} {n}" for s, n in kinds), STARS
        )
        text += section("CTIFOR", "2.0E-003")
        text += section("Primitive lattice vectors (ang.)", rows(atoms.cell.array))
        text += section("Atomic positions (ang.)", rows(atoms.positions))
        text += section("Total energy (eV)", f"{atoms.get_potential_energy():.14f}")
        text += section("Forces (eV ang.^-1)", rows(atoms.get_forces()))
        text += f"{EQUALS}     Stress (kbar){DASHES}"
        text += f"     XX YY ZZ{DASHES}{rows(np.array([[xx, yy, zz]]))}"
        text += f"{DASHES}     XY YZ ZX{DASHES}{rows(np.array([[xy, yz, xz]]))}"
    return text + "\n"


@pytest.mark.parametrize("name", ["ML_AB", "ML_ABN", "old.mlab"])
def test_ml_ab(tmp_path: Path, frames: list[ase.Atoms], name: str) -> None:
    (tmp_path / name).write_text(ml_ab(frames))
    expect_equal(list(read_structures(tmp_path / name).atoms), frames)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.0 Version", "2.0 Version", "version 2.0 of the format; expected 1.0"),
        ("Total energy (eV)", "Energy", r"configuration 1 has no Total energy \(eV\)"),
        ("     Cu 4", "     Cu 5", ""),
        (" Cu 4", " Cu 5", "5 atoms of all types; expected 4"),
        (" Cu 4", " cu 4", "' *cu 4'; expected an element and a number|'cu 4'"),
        ("XX YY ZZ", "XX YY", "expected XX YY ZZ and XY YZ ZX"),
        ("2.0E-003", "2.0E-003", ""),
    ],
)
def test_wrong_ml_ab_raises(
    tmp_path: Path, frames: list[ase.Atoms], old: str, new: str, message: str
) -> None:
    path = tmp_path / "ML_AB"
    path.write_text(ml_ab(frames[:1]).replace(old, new, 1))
    if not message:
        assert len(read_structures(path)) == 1
        return
    with pytest.raises(ValueError, match=rf"cannot read .*ML_AB': .*{message}"):
        read_structures(path)


def test_ml_ab_that_is_cut_off_raises(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    text = ml_ab(frames)
    for end in (text.index("XX YY ZZ", 9000), text.index("Forces", 12000)):
        (tmp_path / "ML_AB").write_text(text[:end])
        with pytest.raises(ValueError, match=r"cannot read .*ML_AB'"):
            read_structures(tmp_path / "ML_AB")
    (tmp_path / "ML_AB").write_text(ml_ab(frames, count=13))
    with pytest.raises(ValueError, match="announces 13 structures and holds 12; is it cut off"):
        read_structures(tmp_path / "ML_AB")


# ---- vasprun.xml and OUTCAR, through ASE


def vasprun(frames: list[ase.Atoms]) -> str:
    """A vasprun.xml with what ASE reads: the stress in kbar, positive under compression."""

    def vectors(name: str, array: np.ndarray) -> str:
        rows = "".join(f"<v> {x:.12f} {y:.12f} {z:.12f} </v>\n" for x, y, z in array)
        return f'<varray name="{name}">\n{rows}</varray>\n'

    symbols = "".join(f"<rc><c>{s}</c><c>{1 + (s == 'Ni')}</c></rc>\n" for s in frames[0].symbols)
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<atominfo>\n<array name="atoms">'
        f"<set>\n{symbols}</set></array>\n</atominfo>\n<kpoints>\n"
    )
    text += vectors("kpointlist", np.zeros((1, 3))) + '<varray name="weights"><v> 1 </v></varray>\n'
    text += "</kpoints>\n"
    for atoms in frames:
        basis = vectors("basis", atoms.cell.array)
        scaled = vectors("positions", atoms.get_scaled_positions(False))
        structure = f"<structure>\n<crystal>\n{basis}</crystal>\n{scaled}</structure>\n"
        if atoms is frames[0]:
            text += structure.replace("<structure>", '<structure name="initialpos">')
        energy = atoms.get_potential_energy()
        energies = "".join(
            f'<i name="{name}"> {energy:.12f} </i>\n' for name in ("e_fr_energy", "e_0_energy")
        )
        text += f"<calculation>\n<scstep><energy>\n{energies}</energy></scstep>\n{structure}"
        text += vectors("forces", atoms.get_forces())
        text += vectors("stress", -atoms.get_stress(voigt=False) / KBAR)
        text += f"<energy>\n{energies}</energy>\n</calculation>\n"
    return text + "</modeling>\n"


def outcar(frames: list[ase.Atoms]) -> str:
    """An OUTCAR with what ASE reads."""
    kinds = [(s, list(frames[0].symbols).count(s)) for s in dict.fromkeys(frames[0].symbols)]
    text = "".join(f" POTCAR:    PAW_PBE {s} 06Sep2000\n" for s, _ in kinds)
    text += f"   ions per type =  {' '.join(str(n) for _, n in kinds)}\n"
    text += "   ISPIN  =      1    spin polarized calculation?\n"
    text += " ----- Iteration      1(   1) -----\n"
    for atoms in frames:
        xx, yy, zz, yz, xz, xy = -atoms.get_stress() / KBAR
        text += "  in kB  " + " ".join(f"{x:.9f}" for x in (xx, yy, zz, xy, yz, xz)) + "\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        for vector in atoms.cell.array:
            text += " ".join(f"{x:14.9f}" for x in (*vector, 0.0, 0.0, 0.0)) + "\n"
        text += " POSITION                                       TOTAL-FORCE (eV/Angst)\n ---\n"
        for row in np.hstack([atoms.positions, atoms.get_forces()]):
            text += " ".join(f"{x:14.9f}" for x in row) + "\n"
        text += " ---\n"
        energy = atoms.get_potential_energy()
        text += "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n ---\n"
        text += f"  free  energy   TOTEN  =  {energy:.9f} eV\n\n"
        text += f"  energy  without entropy= {energy:.9f}  energy(sigma->0) = {energy:.9f}\n"
    return text


@pytest.mark.parametrize("name", ["vasprun.xml", "OUTCAR"])
def test_outputs_of_vasp_are_read_through_ase(
    tmp_path: Path, frames: list[ase.Atoms], name: str
) -> None:
    chosen = frames[::6]
    text = vasprun(chosen) if name == "vasprun.xml" else outcar(chosen)
    (tmp_path / name).write_text(text)
    found = list(read_structures(tmp_path / name).atoms)
    for atoms, expected in zip(found, chosen, strict=True):
        assert list(atoms.symbols) == list(expected.symbols)
        np.testing.assert_allclose(atoms.positions, expected.positions, atol=1e-7)
        np.testing.assert_allclose(
            atoms.get_potential_energy(), expected.get_potential_energy(), atol=1e-7
        )
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), atol=1e-7)
        np.testing.assert_allclose(atoms.get_stress(), expected.get_stress(), atol=1e-7)
