"""``sikff symmetry``: output, files and errors."""

import json
from pathlib import Path

import ase
import ase.io
import pytest

from force_fields import ethanol, force_field
from sikff.training.cli.main import parse_command
from sikff.training.studies.nbody.particle_files import write_particles
from sikff.training.studies.nbody.particle_systems import Springs, simulate


def symmetry(*arguments: object) -> None:
    run, _ = parse_command(["symmetry", *map(str, arguments)])
    run()


@pytest.fixture
def particles(tmp_path: Path) -> Path:
    path = tmp_path / "particles.xyz"
    write_particles(
        path, simulate(Springs(10.0), 100, n_particles=3, axis=(1, 2, 2), frames=(5, 15), dt=0.01)
    )
    return path


def test_particles_have_the_group_and_axis_of_their_springs(
    particles: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    symmetry(particles, "--epochs", 0, "--json", tmp_path / "s.json", "--output", tmp_path / "out")
    printed = capsys.readouterr().out
    assert "100 systems of 3 moving particles" in printed
    assert "use  model: {group: C_inf_v, axis: [0.33" in printed
    assert "° from x, y and z" in printed
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["group"] == "C_inf_v"
    assert [each["verdict"] for each in written["candidates"]][:3] == ["broken", "broken", "use"]
    assert written["recommendation"] in printed
    assert (tmp_path / "out" / "symmetry.png").stat().st_size > 1000


def test_a_model_has_its_own_group(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    force_field("SO(2)").save(tmp_path / "model.sikff")
    ase.io.write(tmp_path / "frames.xyz", ethanol())
    groups = ("--groups", "O(3)", "C_inf_v", "SO(2)")
    symmetry(
        *(tmp_path / "model.sikff", "--structures", tmp_path / "frames.xyz"),
        *("--output", tmp_path, *groups),
    )
    assert "use  model: {group: SO(2), axis: [0.0, 0.0, 1.0]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--groups", "C_v"), "unknown symmetry group 'C_v'"),
        (("--axis", 0, 0, 0), "axis must be three finite numbers, not all zero"),
        (("--epochs", -1), "epochs must be finite and not negative; got -1"),
        (("--threshold", "nan"), "threshold must be finite and not negative; got nan"),
    ],
)
def test_wrong_options_raise(particles: Path, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        symmetry(particles, *arguments)


def test_wrong_files_raise(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data file"):
        symmetry(tmp_path / "nothing.xyz")
    with pytest.raises(FileNotFoundError, match="no model file"):
        symmetry(tmp_path / "nothing.sikff", "--structures", tmp_path / "nothing.xyz")
    ase.io.write(tmp_path / "atoms.xyz", ase.Atoms("H", info={"config_type": "IsolatedAtom"}))
    with pytest.raises(ValueError, match="isolated atoms only"):
        symmetry(tmp_path / "atoms.xyz")
