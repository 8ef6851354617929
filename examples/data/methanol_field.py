"""Generate ``methanol_field.xyz``: methanol in a uniform electric field, labelled by DFT.

Geometries
    Langevin molecular dynamics of one CH3OH molecule with GFN2-xTB (tblite) at 300, 450 and
    600 K without a field: 0.5 fs steps, friction 0.02/fs, 2 ps discarded, then one snapshot
    every 50 fs. Each snapshot is moved to its centre of mass and turned by its own rotation,
    drawn uniformly from SO(3). Consecutive snapshots take the field strengths in turn, so each
    strength sees the whole trajectory and each frame has exactly one strength.

Labels
    PBE/def2-SVP with PySCF: closed-shell Kohn-Sham, density fitting, integration grid level 3,
    SCF converged to 1e-10 Ha. The field is 0, 0.005 or 0.01 a.u. along +z. The energy contains
    the interaction of the electrons *and* the nuclei with the field: a charge q has the energy
    -q F.r, so the molecule gains -mu.F to first order. The forces are the analytic derivative of
    that energy, including the response of the fitting basis and of the integration grid and the
    field term (dipole-derivative integrals ``int1e_irp`` for the electrons, Z F for the nuclei).
    The isolated atoms H, C and O are spin-polarised (doublet, triplet, triplet), without a field.

Units and keys (extended XYZ; ASE's CODATA 2014 constants)
    positions Å, ``REF_energy`` eV (total energy), ``REF_forces`` eV/Å, ``REF_dipole`` e Å (from
    negative to positive charge), ``electric_field`` V/Å (1 a.u. = 51.42206707 V/Å),
    ``config_type`` such as ``field_0.010au_T450`` or ``IsolatedAtom``.

The three isolated atoms come first, then the molecules in a shuffled order fixed by the seed.
Frames are labelled in that order; an interrupted run continues (see ``labelling.py``).

Needs ``pip install pyscf tblite ase``::

    OMP_NUM_THREADS=1 python methanol_field.py --check        # test the labels, write nothing
    OMP_NUM_THREADS=1 python methanol_field.py --workers 4    # write methanol_field.xyz
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.md.langevin import Langevin
from ase.units import Bohr, Hartree, fs
from labelling import generate
from pyscf import dft, gto, lib
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite

FIELD_UNIT = Hartree / Bohr  # V/Å per atomic unit of field strength
FORCE_UNIT = Hartree / Bohr  # eV/Å per Hartree/Bohr
STRENGTHS = (0.0, 0.005, 0.01)  # atomic units, along +z
TEMPERATURES = (300, 450, 600)  # K
GRID = 3  # PySCF integration grid level, 0-9
UNPAIRED = {"H": 1, "C": 2, "N": 3, "O": 2}  # unpaired electrons of the isolated atoms


# --- geometries ---------------------------------------------------------------------------------


def md_snapshots(
    name: str, temperature: float, count: int, rng: np.random.Generator
) -> list[Atoms]:
    """``count`` snapshots (Å) from GFN2-xTB Langevin dynamics at ``temperature`` (K).

    ``name`` is that of the molecule in ``ase.build.molecule``.
    """
    atoms = molecule(name)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    dynamics = Langevin(
        atoms,
        timestep=0.5 * fs,
        temperature_K=temperature,
        friction=0.02 / fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(4000)  # from rest; the thermostat's memory is 50 fs
    snapshots = []
    for _ in range(count):
        dynamics.run(100)
        snapshots.append(Atoms(atoms.symbols, atoms.positions - atoms.get_center_of_mass()))
    return snapshots


def sample_geometries(
    names: tuple[str, ...],
    strengths: tuple[float, ...],
    count: int,
    seed: int,
    decimals: int = 8,
) -> list[Atoms]:
    """Frames to label, in their final order; ``count`` per molecule, strength and temperature.

    ``strengths`` are in atomic units; positions (Å) have as many ``decimals`` as the file stores.
    The field (V/Å) and the configuration type are in ``Atoms.info``.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for name in names:
        for temperature in TEMPERATURES:
            snapshots = md_snapshots(name, temperature, count * len(strengths), rng)
            for index, atoms in enumerate(snapshots):
                turn = Rotation.from_quat(rng.normal(size=4))  # normalised: uniform in SO(3)
                atoms.positions = np.round(turn.apply(atoms.positions), decimals)
                strength = strengths[index % len(strengths)]
                atoms.info["electric_field"] = np.array([0.0, 0.0, strength * FIELD_UNIT])
                atoms.info["config_type"] = f"field_{strength:.3f}au_T{temperature}"
                frames.append(atoms)
    isolated = []
    for symbol in elements(names):
        atom = Atoms(symbol, [(0.0, 0.0, 0.0)])
        atom.info.update(electric_field=np.zeros(3), config_type="IsolatedAtom")
        isolated.append(atom)
    return isolated + [frames[i] for i in rng.permutation(len(frames))]


def elements(names: tuple[str, ...]) -> list[str]:
    """Chemical symbols in the molecules ``names``."""
    present = {symbol for name in names for symbol in molecule(name).symbols}
    return [symbol for symbol in UNPAIRED if symbol in present]


# --- labels -------------------------------------------------------------------------------------


def build_molecule(atoms: Atoms, spin: int) -> gto.Mole:
    """The PySCF molecule of ``atoms`` in def2-SVP with ``spin`` unpaired electrons."""
    geometry = list(zip(atoms.get_chemical_symbols(), atoms.positions / Bohr, strict=True))
    return gto.M(atom=geometry, basis="def2-SVP", unit="Bohr", spin=spin, verbose=0)


def converge(field_free: dft.rks.KohnShamDFT, field: np.ndarray, grid: int) -> dft.rks.KohnShamDFT:
    """Solve the Kohn-Sham equations in a uniform ``field`` (a.u., shape (3,)).

    Raises RuntimeError where the self-consistent field does not converge.
    """
    mf, mol = field_free.density_fit(), field_free.mol
    # An electron (charge -1) has the energy +F.r, a nucleus (charge Z) the energy -Z F.R.
    hcore = mf.get_hcore() + np.einsum("x,xij->ij", field, mol.intor_symmetric("int1e_r"))
    nuclear = mol.energy_nuc() - mol.atom_charges() @ mol.atom_coords() @ field
    mf.get_hcore = lambda *_: hcore
    mf.energy_nuc = lambda *_: nuclear
    mf.xc = "PBE"
    mf.grids.level = grid
    mf.conv_tol = 1e-10
    mf.kernel()
    if not mf.converged:
        raise RuntimeError(f"the SCF of {mol.atom} in the field {field} a.u. did not converge")
    return mf


def gradient(mf: dft.rks.KohnShamDFT, field: np.ndarray) -> np.ndarray:
    """dE/dR in Hartree/Bohr, shape (n_atoms, 3), of a state from :func:`converge`."""
    mol, solver = mf.mol, mf.nuc_grad_method()
    solver.grid_response = True
    # int1e_irp is <i| r_a d_b |j>; PySCF wants minus the derivative of the bra function.
    n_basis = mol.nao
    ket = mol.intor("int1e_irp").reshape(3, 3, n_basis, n_basis)
    hcore = solver.get_hcore(mol) - np.einsum("a,abij->bji", field, ket)
    nuclear = solver.grad_nuc(mol) - mol.atom_charges()[:, None] * field
    solver.get_hcore = lambda *_: hcore
    solver.grad_nuc = lambda *_, **__: nuclear
    return solver.kernel()


def label(atoms: Atoms, grid: int = GRID) -> Atoms:
    """A copy of ``atoms`` with REF_energy (eV), REF_forces (eV/Å) and REF_dipole (e Å)."""
    lib.num_threads(1)
    labelled = atoms.copy()
    field = np.asarray(atoms.info["electric_field"], dtype=float) / FIELD_UNIT
    if len(atoms) == 1:
        mol = build_molecule(atoms, UNPAIRED[atoms.get_chemical_symbols()[0]])
        mf = converge(dft.UKS(mol), field, grid)
        forces, dipole = np.zeros((1, 3)), np.zeros(3)  # by symmetry
    else:
        mf = converge(dft.RKS(build_molecule(atoms, spin=0)), field, grid)
        forces = -gradient(mf, field) * FORCE_UNIT
        dipole = mf.dip_moment(unit="AU", verbose=0) * Bohr
    labelled.info["REF_energy"] = float(mf.e_tot * Hartree)
    labelled.info["REF_dipole"] = dipole
    labelled.arrays["REF_forces"] = forces
    return labelled


# --- test of the labels -------------------------------------------------------------------------


def in_field(atoms: Atoms, strength: float) -> Atoms:
    """A copy of ``atoms`` in a field of ``strength`` (a.u.) along +z."""
    copy = atoms.copy()
    copy.info["electric_field"] = np.array([0.0, 0.0, strength * FIELD_UNIT])
    return copy


def force_deviation(atoms: Atoms, label: Callable[[Atoms], Atoms], step: float = 5e-4) -> float:
    """Largest |analytic - central-difference| force component (eV/Å); ``step`` in Å."""
    analytic = label(atoms).arrays["REF_forces"]
    numeric = np.zeros_like(analytic)
    for index in np.ndindex(numeric.shape):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[index] += sign * step
            energies.append(label(moved).info["REF_energy"])
        numeric[index] = -(energies[0] - energies[1]) / (2 * step)
    return float(np.abs(analytic - numeric).max())


def check(name: str, strength: float, label: Callable[[Atoms], Atoms], seed: int) -> None:
    """Compare forces, dipole and sign of the field with differences of energies.

    ``label`` is tested on a distorted molecule ``name`` without and in a field (a.u.). Raises
    RuntimeError where they disagree.
    """
    rng = np.random.default_rng(seed)
    atoms = molecule(name)
    atoms.positions = Rotation.from_quat(rng.normal(size=4)).apply(atoms.positions)
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    failures = []
    for each in (0.0, strength):
        deviation = force_deviation(in_field(atoms, each), label)
        print(f"{name}: forces at {each:.3f} a.u. ", end="")
        print(f"differ from central differences by at most {deviation:.1e} eV/Å")
        if deviation > 1e-4:
            failures.append(f"forces at {each} a.u.")

    step = 1e-4
    up, down = (label(in_field(atoms, strength + s * step)) for s in (1, -1))
    slope = -(up.info["REF_energy"] - down.info["REF_energy"]) / (2 * step * FIELD_UNIT)
    dipole = label(in_field(atoms, strength)).info["REF_dipole"][2]
    print(f"dipole along the field: {dipole:.6f} e Å, -dE/dF {slope:.6f} e Å")
    if abs(slope - dipole) > 1e-5:
        failures.append("dipole")

    moment = label(in_field(atoms, 0.0)).info["REF_dipole"]
    atoms.rotate(moment, "z")
    free, along, against = (
        label(in_field(atoms, s)).info["REF_energy"] for s in (0.0, strength, -strength)
    )
    first_order = np.linalg.norm(moment) * strength * FIELD_UNIT
    print(f"energy change with the dipole along the field {along - free:+.6f} eV, ", end="")
    print(f"against it {against - free:+.6f} eV; mu F {first_order:.6f} eV")
    if not along < free < against:
        failures.append("sign of the field")
    if failures:
        raise RuntimeError("the labels are wrong: " + ", ".join(failures))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Methanol in an electric field, PBE/def2-SVP.")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".xyz"))
    parser.add_argument(
        "--count", type=int, default=50, help="frames per field strength and temperature"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="frames labelled at a time")
    parser.add_argument("--check", action="store_true", help="test the labels, write nothing")
    parser.add_argument("--check-grid", type=int, default=GRID, help="grid level (0-9) of the test")
    arguments = parser.parse_args()
    if arguments.check:
        labeller = partial(label, grid=arguments.check_grid)
        check("CH3OH", max(STRENGTHS), labeller, arguments.seed)
    else:
        sample = partial(sample_geometries, ("CH3OH",), STRENGTHS, arguments.count, arguments.seed)
        expected = 3 + arguments.count * len(STRENGTHS) * len(TEMPERATURES)
        generate(arguments.output, sample, label, expected, arguments.workers)


if __name__ == "__main__":
    main()
