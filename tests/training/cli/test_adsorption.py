"""sikff adsorption and sikff pmf: what they print and write."""

import json
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest

from force_fields import force_field
from sikff.training.cli import main

PLANE: dict[str, Any] = {
    "plane_origin": (0.0, 0.0, 0.0),
    "plane_range": 8.0,
    "surfaces": ("a", "b"),
    "height_min": {"O": 1.5, "H": 1.5},
}
PLACES = {**PLANE, "lattice": ((3.0, 0.0), (0.0, 3.0)), "wallpaper": "p4mm", "stars": 1}
SHORT = ("--grid", "2", "--starts", "1", "--images", "1", "--quiet", "--device", "cpu")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models of a flat surface, of one with places, and of none; an atom."""
    monkeypatch.chdir(tmp_path)
    force_field("C4v", environment=PLACES).save("places.sikff")
    force_field("C_inf_v", environment=PLANE).save("flat.sikff")
    force_field().save("vacuum.sikff")
    ase.io.write("atom.xyz", ase.Atoms("O", [[7.0, 8.0, 9.0]], info={"surface": "a"}))
    ase.io.write("nameless.xyz", ase.Atoms("O"))
    return tmp_path


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:an O is")  # random weights pull it into the wall
def test_adsorption_maps_a_corrugated_surface(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adsorption", "places.sikff", "atom.xyz", *SHORT]) == 0
    said = capsys.readouterr().out
    assert "O above a surface p4mm" in said
    assert all(f" {group} " in said for group in ("4mm", "2mm"))
    table = np.genfromtxt("adsorption/map.csv", delimiter=",", names=True)
    assert len(table) == 4
    assert table["energy_meV"][1] == pytest.approx(table["energy_meV"][2], abs=1e-3)
    found = json.loads(Path("adsorption/sites.json").read_text())
    kinds = [place["kind"] for place in found["places"]]
    assert kinds[0] == "minimum"
    assert len(found["places"][0]["wavenumbers_per_cm"]) == 3
    assert len(ase.io.read("adsorption/structures.xyz", ":")) >= len(kinds)
    assert Path("adsorption/adsorption.png").stat().st_size > 10_000
    with_more = ("--surface", "b", "--paths", "0", "--overwrite", "--output", "b")
    assert main(["adsorption", "places.sikff", "nameless.xyz", *SHORT, *with_more]) == 0
    assert "path 1" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:an O is")
def test_adsorption_on_a_flat_surface_is_one_place(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adsorption", "flat.sikff", "atom.xyz", *SHORT]) == 0
    said = capsys.readouterr().out
    assert "a flat surface" in said
    assert not Path("adsorption/map.csv").exists()
    assert Path("adsorption/adsorption.png").exists()
    assert "structures.xyz, adsorption/adsorption.png exists" in fails(
        capsys, "adsorption", "flat.sikff", "atom.xyz", *SHORT
    )


def test_what_has_no_surface_is_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, problem in (
        (("adsorption", "vacuum.sikff", "nameless.xyz"), "sees no surface here"),
        (("adsorption", "places.sikff", "nameless.xyz"), "the model expects one of a, b"),
        (("adsorption", "places.sikff", "atom.xyz", "--anchor", "1"), "0 to 0"),
        (("pmf", "places.sikff", "atom.xyz"), "temperature"),
    ):
        if words[0] == "pmf":
            with pytest.raises(SystemExit):
                main(words)
            assert problem in capsys.readouterr().err
        else:
            assert problem in fails(capsys, *words)
    Path("adsorption").mkdir()
    Path("adsorption/map.csv").mkdir()
    assert "map.csv' is a folder" in fails(capsys, "adsorption", "places.sikff", "atom.xyz")


@pytest.mark.filterwarnings("ignore:an O is")
def test_pmf_is_integrated_and_compared_with_a_trajectory(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform([0, 0, 1.5], [9, 9, 4], (200, 3))
    ase.io.write("md.traj", [ase.Atoms("O", [place]) for place in places])
    pmf = ("pmf", "places.sikff", "atom.xyz", "--temperature", "300", "--grid", "2", "--quiet")
    assert main([*pmf, "--trajectory", "md.traj"]) == 0
    said = capsys.readouterr().out
    assert "integrated at 300 K: lowest " in said
    assert "trajectory: up to 5 kT" in said
    table = np.genfromtxt("pmf/profile.csv", delimiter=",", names=True)
    assert table["height_A"].max() < 8
    assert Path("pmf/pmf.png").stat().st_size > 10_000
    flat = ("pmf", "flat.sikff", "atom.xyz", "--temperature", "300", "--output", "flat", "--quiet")
    assert main([*flat, "--overwrite"]) == 0
    ase.io.write("other.xyz", [ase.Atoms("OH", [[0, 0, 2], [0, 0, 3]])] * 12)
    said = fails(capsys, *pmf, "--trajectory", "other.xyz", "--overwrite")
    assert "frame 0 of the trajectory is HO; expected molecules with the atoms O" in said
