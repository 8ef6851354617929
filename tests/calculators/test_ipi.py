"""i-PI: its driver against ASE, batches of beads, the printed input, and the client."""

import gc
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed
from ase.calculators.socketio import SocketIOCalculator
from ase.constraints import FixAtoms

from force_fields import crystal, force_field, slab
from sikff.calculators import SIKFFCalculator
from sikff.calculators.ipi import ANGSTROM, DRIVER, ELECTRONVOLT, SIKFFDriver
from sikff.training.cli import main
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
FIELD = [0.0, 0.0, 0.2]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that reads a field, and methanol in one."""
    force_field("C_inf_v", environment={"field": True}).save(tmp_path / "m.sikff")
    atoms = molecule("CH3OH")
    atoms.info["electric_field"] = FIELD
    ase.io.write(tmp_path / "start.xyz", atoms, format="extxyz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def beads(atoms: ase.Atoms, n: int) -> list[ase.Atoms]:
    copies = [atoms.copy() for _ in range(n)]
    for seed, each in enumerate(copies):
        each.rattle(0.05, seed=seed)
    return copies


def to_ipi(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Cell and positions as i-PI has them."""
    return atoms.cell.array.T * ANGSTROM, atoms.positions * ANGSTROM


def printed_input(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["ipi", "m.sikff", "start.xyz", "--print-input", *words]) == 0
    return capsys.readouterr().out


def test_beads_in_a_batch_have_the_results_of_ase(files: Path) -> None:
    """Energy, forces and virial, in atomic units; the field is that of the template."""
    copies = beads(ase.io.read("start.xyz"), 4)
    for atoms in copies:
        atoms.set_cell([10.0, 11.0, 12.0])
    driver = SIKFFDriver("start.xyz", "m.sikff", verbosity=None)
    cells, positions = zip(*map(to_ipi, copies), strict=True)
    found = driver(list(cells), list(positions))
    assert len(found) == 4
    for atoms, (energy, forces, virial, extras) in zip(copies, found, strict=True):
        atoms.calc = SIKFFCalculator("m.sikff", device="cpu")
        expected = -atoms.get_stress(voigt=False) * atoms.get_volume()
        assert abs(energy / ELECTRONVOLT - atoms.get_potential_energy()) < 1e-8
        assert np.abs(forces / (ELECTRONVOLT / ANGSTROM) - atoms.get_forces()).max() < 1e-8
        assert np.abs(virial / ELECTRONVOLT - expected).max() < 1e-8
        assert np.abs(expected).max() > 0.1 and extras == ""
    one = driver(cells[2], positions[2])
    assert all(np.abs(a - b).max() < 1e-12 for a, b in zip(one[:3], found[2][:3], strict=True))


def test_units_are_atomic_ones() -> None:
    """Those of ASE, to the digits that i-PI has."""
    assert abs(ANGSTROM * units.Bohr - 1) < 1e-7
    assert abs(ELECTRONVOLT * units.Hartree - 1) < 1e-7


def test_units_are_those_of_ipi() -> None:
    units_of_ipi = pytest.importorskip("ipi.utils.units")
    assert units_of_ipi.unit_to_internal("length", "angstrom", 1.0) == ANGSTROM
    assert units_of_ipi.unit_to_internal("energy", "electronvolt", 1.0) == ELECTRONVOLT


def test_a_committee_gives_its_mean(files: Path) -> None:
    options = {"group": "C_inf_v", "environment": {"field": True}}
    force_field(seed=3, **options).save(files / "n.sikff")
    atoms = ase.io.read("start.xyz")
    atoms.set_cell([20.0] * 3)
    energies = [
        SIKFFDriver("start.xyz", model)(*to_ipi(atoms))[0]
        for model in ("m.sikff", "n.sikff", os.pathsep.join(["m.sikff", "n.sikff"]))
    ]
    assert energies[0] != energies[1]
    assert abs(energies[2] - np.mean(energies[:2])) < 1e-8


def test_periodic_directions_are_those_of_the_template(files: Path) -> None:
    """A plane hides components of the virial; positions may be anywhere."""
    force_field("C_inf_v", environment={"plane_origin": (0, 0, -5.0)}).save("plane.sikff")
    atoms = slab()
    atoms.info.clear()
    ase.io.write("slab.xyz", atoms, format="extxyz")
    energy, _, virial, _ = SIKFFDriver("slab.xyz", "plane.sikff")(*to_ipi(atoms))
    atoms.calc = SIKFFCalculator("plane.sikff", device="cpu")
    assert abs(energy / ELECTRONVOLT - atoms.get_potential_energy()) < 1e-8
    assert np.array_equal(np.isnan(virial), np.isnan(atoms.get_stress(voigt=False)))
    assert np.isfinite(virial[:2, :2]).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"electric_field": "0 0 0.3"}, "expected one of them, or the same in both"),
        ({"feild": "0 0 0.3"}, "no parameter feild"),
        ({"dtype": "float16"}, "float16"),
    ],
)
def test_wrong_parameters_raise(files: Path, parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SIKFFDriver("start.xyz", "m.sikff", **parameters)
    SIKFFDriver("start.xyz", "m.sikff", electric_field="0 0 0.2")


def test_another_number_of_atoms_raises(files: Path) -> None:
    driver = SIKFFDriver("start.xyz", "m.sikff")
    with pytest.raises(ValueError, match="i-PI has 3 atoms, the template 6"):
        driver(np.eye(3), np.zeros((3, 3)))


def test_nan_stops_the_driver(files: Path) -> None:
    driver = SIKFFDriver("start.xyz", "m.sikff")
    with torch.no_grad():
        driver._evaluator.models[0].network.embedding.fill_(torch.nan)
    driver._evaluator.models[0].thaw()
    with pytest.raises(CalculationFailed, match="NaN or infinity in energy"):
        driver(*to_ipi(ase.io.read("start.xyz")))


@pytest.fixture
def interactive(files: Path) -> Iterator[Any]:
    """Runs inputs of i-PI in this process."""
    scripting = pytest.importorskip("ipi.scripting")
    softexit = pytest.importorskip("ipi.utils.softexit").softexit
    yield scripting.InteractiveSimulation
    softexit.reset()
    gc.collect()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # i-PI leaves its files open
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_a_path_integral_run_conserves_energy_whatever_the_batch(
    interactive: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Batches of 4, of 2 and single beads give one trajectory, which keeps its energy."""
    text = printed_input(capsys, "--beads", "4", "--timestep", "0.1")
    text = re.sub("<output.*</output>", "<output/>", text, flags=re.S)  # whose files stay open
    text = text.replace("mode='nvt'", "mode='nve'")
    before, _, rest = text.partition("<thermostat")
    text = before + rest.partition("</thermostat>")[2]
    text = text.replace("<system>", "<prng><seed> 7 </seed></prng><system>")
    runs = []
    for size in (4, 2, 1):
        sized = text.replace("<batch_size> 4 <", f"<batch_size> {size} <")
        simulation = interactive(sized)
        totals = []
        for _ in range(5):
            simulation.run(4, write_outputs=False)
            totals.append(float(simulation.properties("conserved")))
        last = simulation.get_structures()
        runs.append((np.array(totals), np.array([each.positions for each in last])))
        model = SIKFFCalculator("m.sikff", device="cpu", electric_field=FIELD)
        for bead in last:
            energy, forces = bead.get_potential_energy(), bead.get_forces()
            bead.calc, bead.pbc, bead.cell = model, False, None
            assert abs(bead.get_potential_energy() - energy) < 1e-3  # constants of i-PI and ASE
            assert np.abs(bead.get_forces() - forces).max() < 1e-5
    kinetic = float(simulation.properties("kinetic_md"))
    assert kinetic > 0.5
    for totals, positions in runs:
        assert np.ptp(totals) < 0.01 * kinetic
        assert np.abs(positions - runs[0][1]).max() < 1e-9


@pytest.mark.slow
def test_an_error_ends_ipi(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also in a thread of its own, where it would leave i-PI waiting for ever."""
    pytest.importorskip("ipi")
    ase.io.write("other.xyz", ase.io.read("start.xyz")[:5], format="extxyz")
    text = printed_input(capsys, "--beads", "2").replace("threaded='False'", "threaded='True'")
    text = text.replace(f"template: {files / 'start.xyz'}", f"template: {files / 'other.xyz'}")
    Path("input.xml").write_text(text, encoding="utf-8")
    command = [str(Path(sys.executable).with_name("i-pi")), "input.xml"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "i-PI has 6 atoms, the template 5" in ended.stdout + ended.stderr
    rows = Path("ipi.out").read_text("utf-8").splitlines()
    assert max(len(row.split()) for row in rows if not row.startswith("#")) < 6  # no energies


def test_the_printed_input_names_what_the_driver_reads(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = crystal()
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    ase.io.write("start.xyz", atoms, format="extxyz")
    text = printed_input(capsys, "--beads", "3", "--field", "0.1", "--dtype", "float64")
    assert f"<pes_path> {DRIVER} </pes_path>" in text
    assert "electric_field: 0.0 0.0 0.1" in text and "dtype: float64" in text
    cell = text.partition("units='angstrom'> [")[2].partition("]")[0]
    assert np.abs(np.fromstring(cell, sep=",").reshape(3, 3).T - atoms.cell.array).max() < 1e-7
    assert "mode='pile_g'" in text and "mode='svr'" in printed_input(capsys, "--beads", "1")


@pytest.mark.parametrize(
    "fault", ["cell", "structures", "path", "field", "constraint", "compile", "address"]
)
def test_inputs_that_ipi_would_not_take_raise(
    files: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    atoms, words, name = ase.io.read("start.xyz"), ["--print-input"], "start.xyz"
    if fault == "cell":
        atoms = crystal()
    elif fault == "path":
        name = "a,b.xyz"
    elif fault == "field":
        words += ["--field", "0.7"]
    elif fault == "constraint":
        words += ["--constraints", "fix=0"]
    elif fault == "compile":
        words += ["--compile"]
    elif fault == "address":
        words = []
    ase.io.write(name, [atoms] * (2 if fault == "structures" else 1), format="extxyz")
    assert main(["ipi", "m.sikff", name, *words]) == 2
    expected = {
        "cell": "i-PI expects the first vector along x",
        "structures": "has 2 structures",
        "path": "cannot hold",
        "field": "expected one of them, or the same in both",
        "constraint": "give constraints in its input",
        "compile": "--compile is for sikff md",
        "address": "give the --address of an i-PI",
    }
    assert expected[fault] in capsys.readouterr().err


def test_constraints_of_the_start_are_left_to_ipi(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = ase.io.read("start.xyz")
    atoms.set_constraint(FixAtoms([0]))
    ase.io.write("start.traj", atoms)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["ipi", "m.sikff", "start.traj", "--print-input"]) == 0
    printed = capsys.readouterr()
    assert "are not in force: i-PI moves the atoms" in printed.err and "<ffdirect" in printed.out


@pytest.mark.parametrize("mode", ["unix", "inet"])
def test_a_client_computes_for_a_server(
    files: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    """That of ASE, which speaks the protocol of i-PI."""
    name, port = f"sikff_{os.getpid()}", 31000 + os.getpid() % 900
    where: dict[str, Any] = {"unixsocket": name} if mode == "unix" else {"port": port}
    words = ["--address", name] if mode == "unix" else ["--address", "localhost"]
    words += [] if mode == "unix" else ["--port", str(port)]
    atoms, errors = ase.io.read("start.xyz"), list[float]()
    atoms.set_cell([10.0, 11.0, 12.0])
    other = atoms.copy()
    other.calc = SIKFFCalculator("m.sikff", device="cpu")
    atoms.pbc = True  # else the server asks for no stress

    def simulate() -> None:
        with SocketIOCalculator(**where) as server:
            for step in range(3):
                atoms.positions[0, 0] += 0.02 * step
                other.positions = atoms.positions
                for name in ("energy", "forces", "stress"):
                    found = server.get_property(name, atoms)
                    expected = other.calc.get_property(name, other)
                    errors.append(np.abs(found - expected).max() / np.abs(expected).max())

    simulation = threading.Thread(target=simulate)
    simulation.start()
    assert main(["ipi", "m.sikff", "start.xyz", *words]) == 0
    simulation.join(timeout=60)
    assert len(errors) == 9 and max(errors) < 1e-6  # units have seven digits
    assert "i-PI has ended after 3 evaluations" in capsys.readouterr().out


def test_a_client_without_a_server_says_so(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ipi", "m.sikff", "start.xyz", "--address", "nobody_here", "--wait", "0"]
    assert main(words) == 2
    assert "no i-PI at unix socket /tmp/ipi_nobody_here" in capsys.readouterr().err
