"""sikff surface: what it prints is a model with the symmetry of the slab, and what it draws."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk, fcc100, fcc111, graphene, molecule, surface
from matplotlib.figure import Figure

from force_fields import predict
from sikff.forcefield import ForceField, ForceFieldConfig
from sikff.training.cli import main
from sikff.training.data.slab import find_surface
from sikff.training.evaluation.surface_report import SurfaceReport, draw_surface
from sikff.training.slab_settings import SlabConfig

SALT = surface(bulk("NaCl", "rocksalt", a=5.64, cubic=True), (0, 0, 1), 2, vacuum=6.0)
# a slab with glides only: (x, y) -> (-x, y + 1/2)
PG = ase.Atoms(
    "O2Ti2",
    [(0.65, 1.47, 5), (-0.65, 4.97, 5), (1.65, 3.57, 4), (-1.65, 7.07, 4)],
    cell=[5, 7, 20],
    pbc=[True, True, False],
)
SLABS = {
    "NaCl(001)": SALT,
    "fcc(100)": fcc100("Al", (2, 2, 3), vacuum=8),
    "fcc(111)": fcc111("Cu", (2, 2, 3), vacuum=8),
    "graphene": graphene(size=(2, 2, 1), vacuum=8),
    "pg": PG,
}
TURNS = {"NaCl(001)": 90, "fcc(100)": 90, "fcc(111)": 120, "graphene": 120}  # about an atom


def printed_model(text: str, generator: torch.Generator) -> ForceField:
    """A model with random weights from the lines that the command prints under "use"."""
    settings = yaml.safe_load(text.partition("\nuse\n")[2].partition("\nwrote")[0])["model"]
    small = {"channels": 4, "max_frequency": 2, "kernel_fields": 3, "kernel_width": 8}
    model = ForceField(ForceFieldConfig(elements=("H", "O"), **small, **settings)).double()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3, generator=generator)
    return model.eval()


def water(slab: ase.Atoms) -> ase.Atoms:
    atoms = molecule("H2O")
    atoms.rotate(40, (1, 2, 3))
    atoms.positions += [0.3, 0.5, slab.positions[:, 2].max() + 2.5]
    return atoms


def is_symmetry(slab: ase.Atoms, matrix: np.ndarray, shift: np.ndarray) -> bool:
    """Whether r -> R r + t maps the atoms of a slab to atoms: with ASE's minimum images."""
    both = slab.copy()
    both.positions = slab.positions @ matrix.T + shift
    both = both + slab
    both.set_cell(slab.cell)
    n = len(slab)
    distances = both.get_all_distances(mic=True)[:n, n:]
    distances[slab.numbers[:, None] != slab.numbers] = np.inf
    return bool(distances.min(axis=1).max() < 1e-6)


def operations(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Operations of a slab by hand: a translation from atom to atom, a turn about an atom, a
    mirror or a glide."""
    slab = SLABS[name]
    top = slab.positions[slab.positions[:, 2] > slab.positions[:, 2].max() - 1e-3]
    like = slab.positions[(slab.numbers == slab.numbers[0])]
    like = like[abs(like[:, 2] - like[0, 2]) < 1e-3]
    if name == "pg":
        return [(np.diag([-1.0, 1, 1]), np.array([0, 3.5, 0]))]
    centre = top[0]
    angle = np.radians(TURNS[name])
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    shift = next(x - like[0] for x in like[1:] if is_symmetry(slab, np.eye(3), x - like[0]))
    mirror = np.diag([-1.0, 1, 1])
    return [
        (np.eye(3), shift),
        (turn, centre - turn @ centre),
        (mirror, centre - mirror @ centre),
    ]


@pytest.mark.parametrize("name", SLABS)
def test_a_model_of_the_printed_section_has_the_symmetry_of_the_slab(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], generator: torch.Generator
) -> None:
    slab = SLABS[name]
    path, picture = tmp_path / "slab.traj", tmp_path / "picture.png"
    slab.write(path)
    assert main(["surface", str(path), "--output", str(picture)]) == 0
    model, atoms = printed_model(capsys.readouterr().out, generator), water(slab)
    energy = float(predict(model, atoms).energy)
    for matrix, shift in operations(name):
        assert is_symmetry(slab, matrix, shift)
        image = atoms.copy()
        image.positions = atoms.positions @ matrix.T + shift
        assert float(predict(model, image).energy) == pytest.approx(energy, abs=1e-6)
        image.positions += [0.31, 0.17, 0]  # which is no symmetry
        assert not is_symmetry(slab, matrix, np.add(shift, [0.31, 0.17, 0]))
        assert abs(float(predict(model, image).energy) - energy) > 1e-4
    assert picture.stat().st_size > 10_000


def figure_of(name: str, tmp_path: Path) -> tuple[SurfaceReport, Figure]:
    SLABS[name].write(tmp_path / "slab.traj")
    report = SurfaceReport(find_surface(SlabConfig(slab=tmp_path / "slab.traj")), "top", 0.02)
    return report, draw_surface(report)


def test_the_report_names_cell_group_sites_and_layers(tmp_path: Path) -> None:
    report, _ = figure_of("NaCl(001)", tmp_path)
    text = "\n".join(report.lines)
    for words in (
        "16 atoms, Cl8Na8",
        "wallpaper group p4mm (also p4m), point group C4v",
        "primitive cell |a| = 3.9881 Å, |b| = 3.9881 Å, angle 90°",
        "normal [0.0, 0.0, 1.0], origin [0.0, 2.82, 14.46] Å, at the height of the topmost atom",
        "atoms are up to 0 Å off this symmetry (tolerance 0.02 Å)",
        "A     4mm           1  0, 0         top Na\n",
        "B     4mm           1  1/2, 1/2     top Cl\n",
        "C     2mm           2  0, 1/2       hollow: 2 Na, 2 Cl at 1.99 Å\n",
        "D     m             4  0, y\n",
        "G     1             8  x, y\n",
        "1          0.000  Na A, Cl B\n2         -2.820  Na B, Cl A",
    ):
        assert words in text


def test_general_places_and_glide_lines_are_reported(tmp_path: Path) -> None:
    report, figure = figure_of("pg", tmp_path)
    text = "\n".join(report.lines)
    assert "wallpaper group pg (also p1g1), point group Cs" in text
    assert "A     1             2  x, y\nglide lines 0, y; 1/2, y" in text
    assert "1          0.000  2 O A\n" in text
    styles = {line.get_linestyle() for line in figure.axes[0].get_lines()}
    assert "--" in styles


def test_the_picture_has_atoms_sites_and_mirror_lines(tmp_path: Path) -> None:
    report, figure = figure_of("graphene", tmp_path)
    ax = figure.axes[0]
    labels = [text.get_text() for text in ax.texts]
    assert set(labels) == {"A", "B", "C"}
    assert labels.count("B") == 2  # the two atoms in the cell
    markers = {line.get_marker() for line in ax.get_lines()}
    assert {"H", "^", "d"} <= markers
    centres = np.array([patch.center for patch in ax.patches])
    a, b = report.wallpaper.lattice[:, :2]
    for atom in ((a + 2 * b) / 3, (2 * a + b) / 3):  # about the ring
        assert np.linalg.norm(centres - atom, axis=1).min() < 1e-3


def test_errors_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slab = tmp_path / "slab.xyz"
    bulk("Cu", cubic=True).write(slab)
    picture = tmp_path / "surface.png"
    assert main(["surface", str(slab), "--output", str(picture)]) == 2
    assert "the slab has no vacuum" in capsys.readouterr().err
    assert not picture.exists()
    assert main(["surface", str(slab), "--output", str(slab)]) == 2
    assert "is read by this command" in capsys.readouterr().err
