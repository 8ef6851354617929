"""Surfaces of slabs in training configurations: what is found, and what is refused."""

from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
from ase.build import add_adsorbate, bulk, fcc100, fcc111, molecule, surface
from pydantic import ValidationError

from sikff.surface import Wallpaper, find_wallpaper
from sikff.training.config import TrainConfig, read_config
from sikff.training.data.slab import find_surface, surface_settings, with_surface
from sikff.training.slab_settings import SlabConfig


@pytest.fixture
def salt(tmp_path: Path) -> Path:
    slab = surface(bulk("NaCl", "rocksalt", a=5.64, cubic=True), (0, 0, 1), 2, vacuum=6.0)
    slab.pbc = True
    ase.io.write(tmp_path / "salt.cif", slab)
    return tmp_path / "salt.cif"


def run(environment: dict[str, Any], **model: Any) -> TrainConfig:
    return TrainConfig(
        data={"train": "train.xyz"},
        max_epochs=1,
        model={**model, "environment": environment},
    )


def test_a_slab_becomes_numbers(salt: Path) -> None:
    config = run({"slab": str(salt), "stars": 3, "plane_range": 8.0}, channels=4)
    found, notes = with_surface(config)
    environment = found.model["environment"]
    assert environment.keys() == {"stars", "plane_range", "plane_origin", "lattice", "wallpaper"}
    assert "axis" not in found.model
    assert found.model["channels"] == 4
    assert environment["wallpaper"] == "p4mm"
    assert environment["plane_origin"][2] == pytest.approx(ase.io.read(salt).positions[:, 2].max())
    assert Wallpaper("p4mm", environment["lattice"]) == find_wallpaper(ase.io.read(salt)).wallpaper
    assert len(notes) == 1
    assert "p4mm with |a| = 3.9881 Å" in notes[0]
    assert with_surface(found) == (found, [])  # nothing is read again


def test_the_normal_becomes_the_axis(tmp_path: Path) -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.rotate(50, (1, 2, 0), rotate_cell=True)
    slab.write(tmp_path / "slab.traj")
    found, _ = with_surface(run({"slab": str(tmp_path / "slab.traj")}))
    normal = np.cross(*slab.cell.array[:2])
    assert found.model["axis"] == pytest.approx(normal / np.linalg.norm(normal))
    assert found.model["environment"]["wallpaper"] == "p3m1"


def test_the_bottom_has_the_opposite_axis(salt: Path) -> None:
    found, _ = with_surface(run({"slab": str(salt), "slab_side": "bottom"}))
    assert found.model["axis"] == [0, 0, -1]
    lowest = ase.io.read(salt).positions[:, 2].min()
    assert found.model["environment"]["plane_origin"][2] == pytest.approx(lowest)
    with pytest.raises(
        ValueError, match=r"model.axis is \[0, 0, 1\], but the normal of .* -1\.0\]"
    ):
        with_surface(run({"slab": str(salt), "slab_side": "bottom"}, axis=[0, 0, 1]))
    with_surface(run({"slab": str(salt)}, axis=[0, 0, 2]))


def test_a_centred_lattice_that_happens_to_be_square_keeps_its_group(tmp_path: Path) -> None:
    """By name its primitive vectors would be read as the sides of a rectangle."""
    places = [(0.1, 0), (-0.1, 0), (0.6, 0.5), (0.4, 0.5)]
    positions = [(5 * u, 5 * v, 4) for u, v in places]
    slab = ase.Atoms("O4", positions, cell=[5, 5, 20], pbc=[True, True, False])
    found = find_wallpaper(slab)
    settings = surface_settings(found)["environment"]
    assert found.wallpaper.name == "c2mm"
    assert isinstance(settings["wallpaper"], list)
    assert Wallpaper.from_generators(settings["lattice"], settings["wallpaper"]) == found.wallpaper


def test_the_last_of_several_structures_is_the_slab(tmp_path: Path) -> None:
    path = tmp_path / "slabs.traj"
    ase.io.write(path, [fcc111("Cu", (1, 1, 3), vacuum=8), fcc100("Cu", (1, 1, 3), vacuum=8)])
    findings = find_surface(SlabConfig(slab=path))
    assert findings.found.wallpaper.name == "p4mm"
    assert findings.lines == [f"note: the last of 2 structures of '{path}' is the slab"]


def test_disorder_is_told_with_the_tolerance_that_helps(tmp_path: Path) -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=8)
    slab.rattle(0.01, seed=0)
    path = tmp_path / "slab.traj"
    slab.write(path)
    with pytest.raises(
        ValueError, match=r"no symmetry but translations \(p1\): within 0\.05 Å the"
    ):
        with_surface(run({"slab": str(path)}))
    found, _ = with_surface(run({"slab": str(path), "slab_tolerance": 0.05}))
    assert found.model["environment"]["wallpaper"] == "p3m1"


def test_adsorbates_are_told(tmp_path: Path) -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=8)
    add_adsorbate(slab, molecule("CH3OH"), 2.5, position=(0.4, 0.3))
    path = tmp_path / "slab.traj"
    slab.write(path)
    with pytest.raises(ValueError, match=r"without its topmost atoms \(.* 1 O.*adsorbates, remove"):
        with_surface(run({"slab": str(path)}))


def test_a_surface_with_less_symmetry_than_its_lower_layers_is_accepted_with_a_note(
    tmp_path: Path,
) -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=8)
    add_adsorbate(slab, "O", 1.2, "fcc")
    path = tmp_path / "slab.traj"
    slab.write(path)
    found, notes = with_surface(run({"slab": str(path)}))
    assert found.model["environment"]["wallpaper"] == "p3m1"
    assert notes[1].startswith("note: without its topmost atoms (1 O) the slab has p3m1 with")


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (bulk("Cu", cubic=True), "slab.xyz': the slab has no vacuum: the largest gap"),
        (molecule("H2O"), "slab.xyz': got 3 atoms, periodic in 0 directions; expected a slab"),
    ],
)
def test_what_is_no_slab_is_refused(atoms: ase.Atoms, message: str, tmp_path: Path) -> None:
    atoms.write(tmp_path / "slab.xyz")
    with pytest.raises(ValueError, match=message):
        with_surface(run({"slab": str(tmp_path / "slab.xyz")}))


def test_a_group_that_the_surface_does_not_have_is_refused(salt: Path) -> None:
    with pytest.raises(ValidationError, match="group is C6v, but p4mm has the point group C4v"):
        with_surface(run({"slab": str(salt)}, group="C6v"))
    assert with_surface(run({"slab": str(salt)}, group="C2v"))[0].model["group"] == "C2v"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"slab_side": "top"}, "model.environment has slab_side without slab; set slab"),
        ({"slab": "a.cif", "lattice": [[3, 0], [0, 3]]}, "has slab and lattice, which the slab"),
        ({"slab": "a.cif", "wallpaper": "pm"}, "has slab and wallpaper, which the slab stands for"),
        ({"slab": "a.cif", "plane_origin": [0, 0, 0]}, "has slab and plane_origin"),
        ({"slab": "a.cif", "slab_side": "left"}, "slab_side: input should be 'top' or 'bottom'"),
        ({"slab": "a.cif", "slab_tolerance": -1}, "slab_tolerance: input should be greater than"),
        ({"slab": "a.cif", "stars": 0}, "environment.stars: input should be greater"),
        ({"slap": "a.cif"}, "unknown key model.environment.slap; did you mean .*environment.slab"),
    ],
)
def test_keys_are_checked_before_the_slab_is_read(
    environment: dict[str, Any], message: str, tmp_path: Path
) -> None:
    text = f"data: {{train: a}}\nmax_epochs: 1\nmodel: {{environment: {environment}}}\n"
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_config(tmp_path / "config.yaml")
