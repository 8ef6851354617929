"""sikff md and sikff relax: options, files, errors and interrupts."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.constraints import FixAtoms

from disk import full_disk
from force_fields import force_field
from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.training.cli import main
from sikff.training.evaluation.plots import read_log
from sikff.training.simulation.averages import average
from sikff.training.simulation.md import thermal_momenta
from sikff.training.simulation.structure_files import read_structure
from tolerances import TOLERANCES, WRITTEN

LIMITS = TOLERANCES[torch.float64]
MODELS = Path(__file__).parents[2] / "data" / "format_1"
O3, AXIAL = str(MODELS / "O3.sikff"), str(MODELS / "C_inf_v.sikff")
QUICK = ["--device", "cpu", "--quiet", "--dtype", "float64"]


@pytest.fixture(autouse=True)
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ase.Atoms:
    monkeypatch.chdir(tmp_path)
    atoms = molecule("CH3OH")
    atoms.rattle(0.05, seed=0)
    ase.io.write("start.xyz", atoms)
    return read_structure("start.xyz")


def md(*arguments: str, model: str = O3, structure: str = "start.xyz") -> int:
    steps = ["--steps", "4", "--every", "2", "--timestep", "0.1"]
    return main(["md", model, structure, *steps, *QUICK, *arguments])


def test_dynamics_write_log_plot_and_trajectory(capsys: pytest.CaptureFixture[str]) -> None:
    assert md("--trajectory", "out/md.traj", "--log", "out/log.csv", "--skin", "0") == 0
    assert sorted(os.listdir("out")) == ["log.csv", "log.png", "log.restart", "md.traj"]
    frames = ase.io.read("out/md.traj", index=":")
    log = read_log("out/log.csv")
    assert log["time_fs"].tolist() == [0.0, 0.2, 0.4]
    assert log["epot_eV"].tolist() == [frame.get_potential_energy() for frame in frames]
    printed = capsys.readouterr().out
    assert "drift_mev_per_atom_per_ps" in printed
    mean = f"{log['epot_eV'].mean():.6g}, too few independent samples for an error"
    assert "without equilibration:\n  temperature_K" in printed
    assert f"  epot_eV                    {mean}" in printed
    assert "wrote out/log.csv, out/log.png, out/log.restart, out/md.traj" in printed


def test_compile_gives_the_same_energies(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "compile", lambda flat, **_: asked.append(flat) or flat)
    assert md("--log", "a.csv") == 0
    assert md("--log", "b.csv", "--compile") == 0
    energies = [read_log(log)["epot_eV"] for log in ("a.csv", "b.csv")]
    assert np.abs(energies[1] - energies[0]).max() < WRITTEN
    assert len(asked) == 1


def test_md_continues_from_the_last_frame_of_a_trajectory() -> None:
    assert md("--trajectory", "a.traj", "--log", "a.csv") == 0
    assert md("--trajectory", "b.traj", "--log", "b.csv", structure="a.traj") == 0
    last, first = read_structure("a.traj"), ase.io.read("b.traj", index=0)
    assert np.array_equal(first.get_momenta(), last.get_momenta())


def test_a_run_goes_on_where_it_was_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--trajectory", "{}.xyz", "--log", "{}.csv", "--ensemble", "nvt", "--every", "3"]
    whole, parts = ([each.format(name) for each in files] for name in ("whole", "parts"))
    assert md(*whole, "--steps", "16") == 0
    assert md(*parts, "--steps", "5") == 0
    capsys.readouterr()
    assert md(*parts, "--steps", "16", "--continue") == 0
    printed = capsys.readouterr().out
    assert "steps                        16" in printed
    for suffix in (".csv", ".xyz"):
        assert Path(f"parts{suffix}").read_bytes() == Path(f"whole{suffix}").read_bytes()
    assert md(*parts, "--steps", "16", "--continue", "--timestep", "0.2") == 2
    assert "of a run with timestep 0.1, not 0.2" in capsys.readouterr().err
    assert md("--log", "absent.csv", "--continue") == 2
    assert "no restart file 'absent.restart' to continue from" in capsys.readouterr().err


def test_means_have_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the library, of all rows but one that is nearer to the one before it."""
    run = ["--ensemble", "nvt", "--friction", "1", "--timestep", "1", "--steps", "301"]
    assert md(*run, "--every", "3") == 0
    printed = capsys.readouterr().out
    found = average(read_log("md.csv")["temperature_K"][:-1])
    assert not found.is_short
    assert f"  temperature_K              {found.mean:.6g} ± {found.error:.2g} (" in printed
    assert f" independent samples after {0.003 * found.start:.3g} ps)" in printed


def test_labels_of_the_start_are_not_written(start: ase.Atoms) -> None:
    start.info |= {"REF_energy": -1.0, "name": "methanol"}
    start.arrays["REF_forces"] = np.ones((6, 3))
    ase.io.write("labelled.xyz", start)
    assert md("--trajectory", "a.xyz", structure="labelled.xyz") == 0
    assert main(["relax", O3, "labelled.xyz", "--fmax", "100", *QUICK]) == 0
    for frame in [*ase.io.read("a.xyz", index=":"), read_structure("relaxed.extxyz")]:
        assert frame.info == {"name": "methanol"}
        assert "REF_forces" not in frame.arrays
        assert frame.get_potential_energy() != -1.0


def test_constraints_of_the_command_and_of_the_file_are_merged(start: ase.Atoms) -> None:
    start.set_constraint(FixAtoms([5]))
    ase.io.write("held.xyz", start)
    assert md("--trajectory", "a.traj", "--constraints", "fix=C,3", structure="held.xyz") == 0
    end = read_structure("a.traj")
    moved = np.abs(end.positions - start.positions).max(1) > WRITTEN
    assert moved.tolist() == [False, True, True, False, True, False]
    relax = ["relax", O3, "held.xyz", "--constraints", "fix=0-4", "--fmax", "100", *QUICK]
    assert main(relax) == 0
    assert read_structure("relaxed.extxyz").constraints[0].index.tolist() == list(range(6))


def test_a_field_changes_forces_and_is_written_to_frames(start: ase.Atoms) -> None:
    assert md("--field", "0", "0", "-0.3", "--trajectory", "a.xyz", model=AXIAL) == 0
    first = ase.io.read("a.xyz", index=0)
    assert first.info["electric_field"].tolist() == [0.0, 0.0, -0.3]
    start.calc = SIKFFCalculator(load(AXIAL).double(), device="cpu", electric_field=[0, 0, -0.3])
    assert np.abs(first.get_forces() - start.get_forces()).max() < WRITTEN
    start.calc.set(electric_field=None)
    assert np.abs(first.get_forces() - start.get_forces()).max() > 1e-3


@pytest.mark.parametrize(
    "options", ["--field 0.3", "--field 0.3 --axis z", "--field -0.3 --axis 0,0,-2"]
)
def test_one_number_is_a_field_along_the_axis(options: str) -> None:
    assert md(*options.split(), "--trajectory", "a.xyz", model=AXIAL) == 0
    assert ase.io.read("a.xyz", index=0).info["electric_field"] == pytest.approx([0, 0, 0.3])


def test_a_free_axis_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    force_field("O(3)", environment={"field": True}).save("field.sikff")
    relax = ["relax", "field.sikff", "start.xyz", "--fmax", "1e3", *QUICK]
    assert main([*relax, "--field", "0.6", "--axis", "1,2,2"]) == 0
    assert read_structure("relaxed.extxyz").info["electric_field"] == pytest.approx([0.2, 0.4, 0.4])
    assert main([*relax, "--field", "0.6", "--overwrite"]) == 2
    assert "expected three components, or one number with --axis" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:a periodic direction leads through the plane")
def test_a_surface_changes_forces_and_is_written_to_frames(
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment = {"plane_origin": (0.0, 0.0, -2.0), "surfaces": ("graphene", "NaCl")}
    model = force_field("C_inf_v", environment=environment)
    model.save("surface.sikff")
    given = ["--surface-origin", "0", "0", "-2.5", "--surface", "NaCl"]
    assert md(*given, "--trajectory", "a.traj", model="surface.sikff") == 0
    first = ase.io.read("a.traj", index=0)
    there = first.copy()
    there.info.clear()
    for surface, same in (("NaCl", True), ("graphene", False), ("vacuum", False)):
        there.calc = SIKFFCalculator(
            model, device="cpu", surface_origin=[0, 0, -2.5], surface=surface
        )
        difference = np.abs(there.get_forces() - first.get_forces()).max()
        assert difference < LIMITS.parity if same else difference > 1e-3
    assert md("--trajectory", "b.traj", "--log", "b.csv", model="surface.sikff") == 2  # which?
    capsys.readouterr()
    bath = ["--surface-friction", "0.02", "--friction-decay", "0.5", "--log", "d.csv"]
    assert md(*given, *bath, "--temperature", "400", model="surface.sikff") == 0
    assert "drift" not in capsys.readouterr().out
    assert np.ptp(read_log("d.csv")["etot_eV"]) > 1e-4
    assert md(*given, "--ensemble", "npt", "--log", "c.csv", model="surface.sikff") == 2
    assert "periodic in three directions" in capsys.readouterr().err
    for pbc, answer in (((True, True, True), 2), ((True, True, False), 0)):
        box = molecule("CH3OH", cell=(8, 8, 8), pbc=pbc)
        ase.io.write("box.xyz", box)
        relax = ["relax", "surface.sikff", "box.xyz", *given, "--cell", "--fmax", "1e3"]
        assert main([*relax, "--overwrite", *QUICK]) == answer
    assert "the model sees a plane, which no pressure moves" in capsys.readouterr().err
    assert md(*given, "--ensemble", "npt", structure="box.xyz", model="surface.sikff") == 2


@pytest.mark.filterwarnings("default")
def test_a_field_beyond_the_training_data_gets_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    force_field("C_inf_v", environment={"field": True, "field_min": 0.0, "field_max": 0.5}).save(
        "weak.sikff"
    )
    assert md("--field", "0.6", model="weak.sikff") == 0
    assert capsys.readouterr().err == (
        "sikff: warning: the electric field of 0.6 V/Å is beyond the training data of the model, "
        "0 to 0.5 V/Å\n"
    )
    assert md("--field", "0.5", "--overwrite", model="weak.sikff") == 0
    assert not capsys.readouterr().err


@pytest.mark.filterwarnings("default")
def test_a_charge_comes_from_the_option_or_the_start(
    start: ase.Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {"charge": True, "charge_min": -1, "charge_max": 1, "spin": True}
    model = force_field(environment=environment)
    model.save("ions.sikff")
    start.info |= {"charge": -1, "spin": 2}
    ase.io.write("anion.xyz", start)
    assert md("--charge", "-1", "--spin", "2", "--trajectory", "a.xyz", model="ions.sikff") == 0
    more = ["--overwrite", "--trajectory", "b.xyz"]
    assert md(*more, model="ions.sikff", structure="anion.xyz") == 0
    runs = [ase.io.read(name, ":") for name in ("a.xyz", "b.xyz")]
    for one, other in zip(*runs, strict=True):
        assert one.get_potential_energy() == other.get_potential_energy()
        assert (one.info["charge"], one.info["spin"]) == (-1, 2)
    anion, neutral = (
        SIKFFCalculator(model, device="cpu", charge=charge, spin=spin).get_potential_energy(start)
        for charge, spin in ((None, None), (-1, 2))
    )
    assert anion == neutral == pytest.approx(runs[0][0].get_potential_energy(), abs=1e-6)
    assert not capsys.readouterr().err
    assert md("--charge", "2", "--overwrite", model="ions.sikff") == 0
    assert "is 2, beyond the training data of the model, -1 to 1" in capsys.readouterr().err
    assert md("--charge", "1", "--overwrite") == 0
    assert capsys.readouterr().err.count("which the model does not read") == 1
    relax = ["relax", "ions.sikff", "start.xyz", "--charge", "-1", "--steps", "1", *QUICK]
    assert main([*relax, "--overwrite", "--fmax", "1e3"]) == 0
    assert read_structure("relaxed.extxyz").info["charge"] == -1
    assert main(["info", "ions.sikff"]) == 0
    assert "total charge (-1 to 1) and spin multiplicity" in capsys.readouterr().out


def test_a_committee_moves_atoms_and_is_logged() -> None:
    other = load(O3)
    for parameter in other.parameters():
        parameter.data.mul_(1.01)
    other.save("other.sikff")
    assert md("--committee", "other.sikff", O3) == 0
    assert (read_log("md.csv")["force_std_eV_per_A"] > 0).all()
    relax = ["relax", O3, "start.xyz", "--fmax", "1e-9", "--steps", "1", "--overwrite", *QUICK]
    ends = []
    for committee in ([], ["--committee", O3], ["--committee", "other.sikff"]):
        assert main([*relax, *committee]) == 2  # one step does not get there
        ends.append(read_structure("relaxed.extxyz").positions)
    assert np.abs(ends[1] - ends[0]).max() < WRITTEN < 1e-4 < np.abs(ends[2] - ends[0]).max()


def test_cells_follow_a_barostat() -> None:
    ase.io.write("crystal.xyz", molecule("CH3OH", vacuum=1.2, pbc=True))
    npt = ["--ensemble", "npt", "--pressure", "2", "--friction", "1"]
    assert md(*npt, structure="crystal.xyz") == 0
    log = read_log("md.csv")
    assert np.abs(np.diff(log["volume_A3"])).min() > 0
    assert np.isfinite(log["pressure_GPa"]).all()


def test_the_last_step_is_recorded() -> None:
    assert md("--every", "3", "--trajectory", "a.traj") == 0
    assert read_log("md.csv")["step"].tolist() == [0, 3, 4]
    assert len(ase.io.read("a.traj", index=":")) == 3


def test_input_files_are_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    model = Path("model.sikff")
    shutil.copy(O3, model)
    kept = model.read_bytes()
    for command in (
        "md model.sikff start.xyz --log model.sikff",
        "md model.sikff start.xyz --trajectory start.xyz",
        f"md {O3} start.xyz --committee {O3} model.sikff --trajectory ./model.sikff",
        "relax model.sikff start.xyz --output model.sikff",
    ):
        assert main([*command.split(), "--overwrite", "--device", "cpu"]) == 2
        assert "is read by this command; choose another name" in capsys.readouterr().err
    assert model.read_bytes() == kept


def test_momenta_are_those_of_the_start_or_new(
    capsys: pytest.CaptureFixture[str], start: ase.Atoms
) -> None:
    start.set_momenta(thermal_momenta(start, 200.0, np.random.default_rng(0)))
    ase.io.write("warm.traj", start)
    given = ["md", O3, "warm.traj", "--steps", "1", "--device", "cpu", "--overwrite"]
    first = f"starts with the momenta of warm.traj: {start.get_temperature():.4g} K"
    for options, kept in (([], True), (["--new-momenta"], False)):
        assert main([*given, "--temperature", "600", *options]) == 0
        assert (first in capsys.readouterr().out) == kept
        began = read_log("md.csv")["temperature_K"][0]
        assert (began == pytest.approx(start.get_temperature())) == kept
    assert main(["relax", O3, "warm.traj", "--fmax", "100", "--device", "cpu"]) == 0
    assert "wrote relaxed.extxyz" in capsys.readouterr().out
    assert not read_structure("relaxed.extxyz").has("momenta")


@pytest.mark.filterwarnings("default")
def test_formats_that_lose_constraints_warn(capsys: pytest.CaptureFixture[str]) -> None:
    held = ["--constraints", "bonds=0-1"]
    for name, loses in (("a.xyz", True), ("a.traj", False)):
        assert md(*held, "--trajectory", name, "--overwrite") == 0
        said = "a.xyz cannot hold FixBondLengths; a .traj can" in capsys.readouterr().err
        assert said == loses == (not read_structure(name).constraints)


def test_files_are_replaced_only_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("md.csv", "md.png", "a.traj", "relaxed.extxyz"):
        Path(name).write_text("existing")
        command = ["relax", O3, "start.xyz"] if name == "relaxed.extxyz" else None
        code = main(command) if command else md("--trajectory", "a.traj")
        assert code == 2
        assert f"{name} exists; choose another name or add --overwrite" in capsys.readouterr().err
        assert Path(name).read_text() == "existing"
        if name != "relaxed.extxyz":
            Path(name).unlink()
    Path("md.csv").write_text("existing")
    assert md("--overwrite") == 0
    assert len(read_log("md.csv")["step"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("md absent.sikff start.xyz", "no model file 'absent.sikff'"),
        ("md {model} absent.xyz", "no structure file 'absent.xyz'"),
        ("md {model} start.xyz --steps 0", "steps: input should be greater than or equal to 1"),
        ("md {model} start.xyz --timestep nan", "timestep: input should be a finite number"),
        ("md {model} start.xyz --seed -1", "seed: input should be greater than or equal to 0"),
        ("md {model} start.xyz --temperature -5", "temperature: input should be greater than or"),
        ("md {model} start.xyz --constraints fix=0-9", "there is no atom 9; the 6 atoms are"),
        ("md {model} start.xyz --log a.traj --trajectory a.traj", "have one name: a.traj, a.png"),
        ("md {model} start.xyz --log a.png", "have one name: a.png, a.png"),
        ("md {model} start.xyz --trajectory a.pdb", "expected a name in .traj, .xyz or .extxyz"),
        ("md {model} start.xyz --log .", "'.' is a folder; expected the name of a file"),
        ("md {model} start.xyz --log start.xyz/a.csv", "start.xyz"),
        ("md {model} start.xyz --skin -1", "skin"),
        ("md {model} start.xyz --pressure 1", "pressure is 1 GPa, but nve keeps the cell"),
        ("md {model} start.xyz --ensemble npt", "periodic in three directions"),
        ("relax {model} start.xyz --pressure 1", "pressure is 1 GPa; expected none, or a"),
        ("relax {model} start.xyz --pressure nan", "pressure: input should be a finite number"),
        ("md {model} start.xyz --field 0 0 nan", "field"),
        ("md {model} start.xyz --field 0 0 1", "field"),
        ("md {axial} start.xyz --field 0 1", "--field is 0.0 1.0; expected three components, or"),
        ("md {model} start.xyz --field 1", "--field is 1.0; expected three components, or one"),
        ("md {axial} start.xyz --field 1 --axis x", "--axis is [1.0, 0.0, 0.0], but the axis of"),
        ("md {axial} start.xyz --field 1 0 0", "is not along [[0.0, 0.0, 1.0]], which the model"),
        ("md {axial} start.xyz --field 1 --axis up", "'up' is not x, y, z or three numbers"),
        ("md {axial} start.xyz --axis 0,0,0", "'0,0,0' is not x, y, z or three numbers"),
        ("md {axial} start.xyz --surface-origin 0 0 1", "the model sees no plane"),
        ("md {axial} start.xyz --surface-friction 0.01", "the model sees none for this structure"),
        ("md {axial} start.xyz --friction-height 4", "friction_height shape surface_friction"),
        ("md {axial} start.xyz --surface-friction 1 --ensemble nve", "the ensemble is nve"),
        ("md {axial} start.xyz --surface-origin 0 0 nan", "surface_origin is [0.0, 0.0, nan]"),
        ("relax {axial} start.xyz --surface graphene", "the model sees no plane"),
        ("md {model} start.xyz --device tpu", "device is 'tpu'"),
        ("md {model} start.xyz --committee {axial}", "the models of the committee disagree"),
        ("md {model} metal.xyz", "Pt"),
        ("relax {model} start.xyz --fmax 0", "fmax: input should be greater than 0"),
        ("relax {model} start.xyz --output a.what --fmax 100", "ASE cannot write 'a.what'"),
        ("relax {model} start.xyz --output relaxed", "ASE cannot write 'relaxed'"),
        ("relax {model} start.xyz --fmax 1e-9 --steps 1", "not below 1e-09 eV/Å after 1 steps"),
        ("relax {model} start.xyz --cell", "cell"),
    ],
)
def test_errors_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    ase.io.write("metal.xyz", molecule("PH3"))
    Path("metal.xyz").write_text(Path("metal.xyz").read_text().replace("P ", "Pt "))
    command = [each.format(model=O3, axial=AXIAL) for each in arguments.split()]
    try:
        code: object = main([*command, "--quiet"])
    except SystemExit as end:
        code = end.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("sikff: ")
    assert error.count("\n") == 1


def test_failing_dynamics_name_the_step_and_keep_frames(capsys: pytest.CaptureFixture[str]) -> None:
    speed = 0.47 / (0.2 * units.fs)  # from 1 Å to 0.06 Å in two steps
    atoms = ase.Atoms("H2", [[0, 0, 0], [0, 0, 1]])
    atoms.set_velocities([[0, 0, speed], [0, 0, -speed]])
    ase.io.write("crash.traj", atoms)
    assert md("--trajectory", "a.traj", "--every", "1", structure="crash.traj") == 2
    error = capsys.readouterr().err
    assert error.startswith("sikff: dynamics stopped in step 2 of 4 (frames kept: 2); the time")
    assert error.count("\n") == 1
    assert len(ase.io.read("a.traj", index=":")) == len(read_log("md.csv")["step"]) == 2


def test_a_full_disk_keeps_the_log_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    with full_disk(2000):
        assert md("--steps", "50", "--every", "1") == 2
    assert "File too large" in capsys.readouterr().err
    assert len(Path("md.csv").read_text().splitlines()) > 10


def test_ctrl_c_in_relax_writes_the_structure_reached(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(atoms: ase.Atoms, *_: object, **__: object) -> bool:
        atoms.positions += 1.0
        raise KeyboardInterrupt

    monkeypatch.setattr("sikff.training.simulation.relax.relax", interrupted)
    assert main(["relax", O3, "start.xyz", *QUICK]) == 130
    assert capsys.readouterr().err == "sikff: interrupted; what was written so far is kept\n"
    assert read_structure("relaxed.extxyz").positions[0, 0] > 0.5


def test_ctrl_c_in_md_keeps_log_and_frames() -> None:
    command = [sys.executable, "-m", "sikff.training", "md", O3, "start.xyz", *QUICK]
    endless = ["--steps", "1000000000", "--timestep", "1e-4", "--trajectory", "a.xyz"]
    # children of what a shell runs in the background ignore SIGINT
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    options = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": heed}
    with subprocess.Popen([*command, *endless], **options) as run:
        while not (Path("a.xyz").exists() and Path("a.xyz").stat().st_size):
            assert run.poll() is None
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        _, error = run.communicate()
    assert error == "sikff: interrupted; what was written so far is kept\n"
    assert run.returncode == 130
    assert len(ase.io.read("a.xyz", index=":")) == len(read_log("md.csv")["step"])


@pytest.mark.filterwarnings("default")
def test_a_charge_of_another_name_is_said(
    start: ase.Atoms, capsys: pytest.CaptureFixture[str]
) -> None:
    start.info["net_charge"] = -1
    ase.io.write("ion.xyz", start)
    assert md(structure="ion.xyz") == 0
    assert "warning: net_charge in structure 0 is not read; a total" in capsys.readouterr().err
