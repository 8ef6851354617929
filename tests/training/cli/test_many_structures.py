"""sikff md --all and sikff relax --all: many structures in batches."""

import os
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.constraints import FixAtoms

from sikff.training.cli import main
from sikff.training.evaluation.plots import read_log
from sikff.training.simulation.structure_files import read_structure
from tolerances import TOLERANCES, WRITTEN

MODEL = str(Path(__file__).parents[2] / "data" / "format_1" / "O3.sikff")
QUICK = ["--device", "cpu", "--quiet", "--dtype", "float64"]
MD = ["--every", "2", "--timestep", "0.1", "--ensemble", "nvt"]
LIMITS = TOLERANCES[torch.float64]


@pytest.fixture(autouse=True)
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ase.Atoms]:
    monkeypatch.chdir(tmp_path)
    atoms = [molecule(name) for name in ("CH3OH", "CH4", "H2O", "CH3OH")]
    for n, each in enumerate(atoms):
        each.rattle(0.05, seed=n)
        each.info["name"] = f"the {n}th"
    atoms[0].set_constraint(FixAtoms([1]))
    ase.io.write("many.xyz", atoms)
    for n, each in enumerate(ase.io.read("many.xyz", ":")):
        ase.io.write(f"one-{n}.xyz", each)
    return atoms


def command(name: str, structure: str, *options: str) -> int:
    return main([name, MODEL, structure, *QUICK, *options])


def test_structures_relax_as_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    relax = ("--fmax", "0.5", "--steps", "60", "--optimiser", "lbfgs")
    assert command("relax", "many.xyz", "--all", "--batch-size", "3", *relax) == 0
    printed = capsys.readouterr().out
    assert "structures                   4" in printed and "wrote relaxed.extxyz" in printed
    found = ase.io.read("relaxed.extxyz", ":")
    for n, atoms in enumerate(found):
        assert command("relax", f"one-{n}.xyz", "--output", "one.xyz", *relax) == 0
        alone = read_structure("one.xyz")
        Path("one.xyz").unlink()
        assert np.abs(atoms.positions - alone.positions).max() < WRITTEN
        assert atoms.get_potential_energy() == pytest.approx(alone.get_potential_energy())
        assert atoms.info["name"] == f"the {n}th"
    assert len(found) == 4 and found[0].constraints[0].index.tolist() == [1]


def test_structures_that_do_not_converge_are_named_and_written(
    capsys: pytest.CaptureFixture[str], starts: list[ase.Atoms]
) -> None:
    starts[1].positions[0] = starts[1].positions[1]
    ase.io.write("many.xyz", starts)
    assert command("relax", "many.xyz", "--all", "--steps", "1", "--fmax", "1e-9") == 2
    error = capsys.readouterr().err
    assert "4 of 4 structures not below 1e-09 eV/Å after 1 steps" in error
    assert "structure 0: not converged; structure 1: atoms 0 (C) and 1 (H) are 0 Å" in error
    assert error.count("\n") == 1
    assert len(ase.io.read("relaxed.extxyz", ":")) == 4


def test_structures_move_as_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--trajectory", "md.xyz")
    assert (
        command("md", "many.xyz", "--all", *MD, *files, "--steps", "14", "--batch-size", "3") == 0
    )
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["structure", "steps", "temperature_K"]
    assert [line.split()[:2] for line in printed[1:5]] == [[str(n), "14"] for n in range(4)]
    assert printed[5] == "wrote md-0.csv ... md-3.xyz"
    assert sorted(path for path in os.listdir() if path.startswith("md-3")) == [
        "md-3.csv",
        "md-3.restart",
        "md-3.xyz",
    ]
    for n in range(4):
        options = ("--seed", str(n), "--log", "one.csv", "--trajectory", "a.xyz", "--overwrite")
        assert command("md", f"one-{n}.xyz", *MD, *options, "--steps", "14") == 0
        last, alone = (read_structure(name) for name in (f"md-{n}.xyz", "a.xyz"))
        assert np.abs(last.positions - alone.positions).max() < WRITTEN
        logs = [read_log(name)["epot_eV"] for name in (f"md-{n}.csv", "one.csv")]
        assert np.abs(logs[0] - logs[1]).max() < LIMITS.invariance


def test_batches_go_on_to_the_last_bit() -> None:
    files = (["--log", f"{name}.csv", "--trajectory", f"{name}.xyz"] for name in ("all", "parts"))
    whole, parts = files
    assert command("md", "many.xyz", "--all", *MD, *whole, "--steps", "25") == 0
    assert command("md", "many.xyz", "--all", *MD, *parts, "--steps", "13") == 0
    assert command("md", "many.xyz", "--all", *MD, *parts, "--steps", "25", "--continue") == 0
    for n in range(4):
        for suffix in ("csv", "xyz"):
            written = [Path(f"{name}-{n}.{suffix}").read_bytes() for name in ("all", "parts")]
            assert written[0] == written[1]


def test_a_structure_that_fails_is_named_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], starts: list[ase.Atoms]
) -> None:
    starts[2].positions[0] = starts[2].positions[1]
    ase.io.write("many.xyz", starts)
    assert command("md", "many.xyz", "--all", *MD, "--steps", "4") == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("sikff: 1 of 4 structures failed; structure 2: atoms 0 (O) and")
    assert [line.split()[0] for line in printed.out.splitlines()[1:4]] == ["0", "1", "3"]
    assert read_log("md-3.csv")["step"].tolist() == [0, 2, 4]


def test_files_of_structures_are_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("md-2.csv").touch()
    assert command("md", "many.xyz", "--all", *MD, "--steps", "4") == 2
    assert "md-2.csv exists; choose another name or add --overwrite" in capsys.readouterr().err


def test_forces_that_float32_rounds_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--steps", "1", "--fmax", "1e-9")
    for structure, more in (("many.xyz", ["--all"]), ("one-0.xyz", ["--overwrite"])):
        command = ["relax", MODEL, structure, "--device", "cpu", "--quiet", *options, *more]
        assert main([*command, "--dtype", "float32"]) == 2
        error = capsys.readouterr().err
        assert "(forces of float32 are wrong by " in error
        assert "eV/Å here: take --dtype float64); wrote" in error
