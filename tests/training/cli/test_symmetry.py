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
    ase.io.write(tmp_path / "structures.xyz", ethanol())
    groups = ("--groups", "O(3)", "C_inf_v", "SO(2)")
    symmetry(
        *(tmp_path / "model.sikff", "--structures", tmp_path / "structures.xyz"),
        *("--output", tmp_path, *groups),
    )
    assert "use  model: {group: SO(2), axis: [0.0, 0.0, 1.0]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--groups", "C_v"), "sikff: unknown symmetry group 'C_v'"),
        (("--axis", 0, 0, 0), "sikff: axis must be three finite numbers, not all zero"),
        (("--epochs", -1), "epochs: input should be greater than or equal to 0, got '-1'"),
        (("--threshold", "nan"), "threshold: input should be a finite number, got 'nan'"),
    ],
)
def test_wrong_options_end_with_a_sentence(
    arguments: tuple, message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        symmetry("particles.xyz", *arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_model_without_structures_raises(tmp_path: Path) -> None:
    force_field().save(tmp_path / "model.sikff")
    with pytest.raises(ValueError, match=r"measured on structures; .*--structures"):
        symmetry(tmp_path / "model.sikff")


def test_data_without_forces_get_advice_for_a_search(tmp_path: Path) -> None:
    for key, advice in (("charges", "give them to all$"), ("dft_forces", r"\(--forces-key dft_f")):
        atoms = ethanol()
        atoms.set_array(key, atoms.positions)
        ase.io.write(tmp_path / "data.xyz", [atoms, atoms])
        with pytest.raises(ValueError, match=f"no forces in .*; the symmetry is .*{advice}"):
            symmetry(tmp_path / "data.xyz", "--output", tmp_path, "--minutes", 0)


def test_wrong_files_raise(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data file"):
        symmetry(tmp_path / "nothing.xyz")
    with pytest.raises(FileNotFoundError, match="no model file"):
        symmetry(tmp_path / "nothing.sikff", "--structures", tmp_path / "nothing.xyz")
    ase.io.write(tmp_path / "atoms.xyz", ase.Atoms("H", info={"config_type": "IsolatedAtom"}))
    with pytest.raises(ValueError, match="isolated atoms only"):
        symmetry(tmp_path / "atoms.xyz")
