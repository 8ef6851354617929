"""Write reference curves of water on a surface: binding, free energy and dynamics.

Energies are those of ``surface.py`` (GFN1-xTB, its zero and its switch), in eV over the free
molecule. Rigid water has the geometry relaxed in vacuum.

``curve``: interaction energy of rigid water against the height of its oxygen atom, for four
    orientations: above the origin (a ring centre of graphene), and the mean and standard deviation
    over 12 lateral positions.

``pmf``: potential of mean force of rigid water along the normal at 300 K against the height of the
    centre of mass, by the average of exp(-E/kT) over orientations and lateral positions (64 points
    of a Sobol sequence, the same at each height); and the mean energy.

``md``: height of the oxygen atom and cosine of the dipole and the normal in Langevin dynamics of
    flexible water on a smaller surface at 300 K. Without the switch, and it takes hours.

Needs ``pip install tblite ase scipy``::

    OMP_NUM_THREADS=1 python binding.py curve    # write water_graphene_curve.csv
    OMP_NUM_THREADS=1 python binding.py pmf      # write water_graphene_pmf.csv
"""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS
from ase.units import kB
from labelling import write_text
from scipy.spatial.transform import Rotation
from scipy.stats import qmc
from tblite.ase import TBLite

from surface import ORIENTATIONS, SURFACES, interaction, on_surface, place, sites

HEIGHTS = (*np.arange(2.0, 4.0, 0.2).round(1).tolist(), 4.0, 4.5, 5.0, 6.0, 8.0, 12.0)
LATERAL = 12  # positions
TEMPERATURE = 300  # K
MD_CELLS = {"graphene": 4, "nacl": 3}


def write_table(output: Path, header: tuple[str, ...], rows: list[tuple]) -> None:
    """Write a CSV file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(header)
    table.writerows(rows)
    write_text(output, text.getvalue())


def rigid_water() -> Atoms:
    """Water relaxed in vacuum."""
    atoms = molecule("H2O")
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=1e-3)
    return Atoms(atoms.symbols, atoms.positions)


def curve(output: Path, surface: str) -> None:
    """Write the interaction energy of rigid water against the height of its oxygen atom."""
    rigid = rigid_water()
    rows = []
    for name, (angle, axis) in ORIENTATIONS.items():
        atoms = Atoms(rigid.symbols, rigid.positions - rigid.positions[0])
        atoms.rotate(angle, axis)
        for height in HEIGHTS:
            energies = []
            for site in sites(LATERAL + 1):  # the first is the origin
                placed = place(atoms.positions, height, surface, 0.0, site)
                energies.append(interaction(placed, surface)[0])
            centre, others = energies[0], np.array(energies[1:])
            numbers = (centre, others.mean(), others.std())
            rows.append((name, height, *(f"{x:.6f}" for x in numbers)))
            print(*rows[-1], flush=True)
    write_table(
        output, ("orientation", "height", "energy_centre", "energy_mean", "energy_std"), rows
    )


def uniform_rotations(points: np.ndarray) -> Rotation:
    """Rotations, uniform in SO(3) where ``points`` (shape (n, 3)) are in the unit cube.

    Source: K. Shoemake, Uniform random rotations, Graphics Gems III (1992), 124-132.
    """
    share, first, second = points[:, 0], 2 * np.pi * points[:, 1], 2 * np.pi * points[:, 2]
    low, high = np.sqrt(1 - share), np.sqrt(share)
    parts = (low * np.sin(first), low * np.cos(first), high * np.sin(second), high * np.cos(second))
    return Rotation.from_quat(np.stack(parts, axis=1))


def free_energy(output: Path, surface: str, seed: int) -> None:
    """Write the potential of mean force (eV) against the height of the centre of mass (Å)."""
    rigid = rigid_water()
    rigid.positions -= rigid.get_center_of_mass()
    points = qmc.Sobol(5, seed=seed).random(64)
    turns = uniform_rotations(points[:, :3])
    rows = []
    for height in HEIGHTS:
        energies = []
        for turn, site in zip(turns, points[:, 3:], strict=True):
            placed = place(turn.apply(rigid.positions), height, surface, 0.0, site)
            energies.append(interaction(placed, surface)[0])
        weights = np.exp(-np.array(energies) / (TEMPERATURE * kB))
        value = -TEMPERATURE * kB * np.log(weights.mean())
        error = TEMPERATURE * kB * weights.std() / weights.mean() / np.sqrt(len(weights))
        rows.append((height, f"{value:.6f}", f"{error:.6f}", f"{np.mean(energies):.6f}"))
        print(*rows[-1], flush=True)
    write_table(output, ("height", "free_energy", "error", "energy_mean"), rows)


def dynamics(output: Path, surface: str, picoseconds: float, seed: int) -> None:
    """Write height of the oxygen (Å) and cosine of dipole and normal, every 10 fs, 300 K."""
    atoms, md = on_surface(surface, MD_CELLS[surface], np.random.default_rng([seed, 2]))
    md.run(2000)
    rows = []
    count = round(100 * picoseconds)
    for index in range(count):
        md.run(20)
        oxygen, *hydrogens = atoms.positions[:3]
        dipole = np.mean(hydrogens, axis=0) - oxygen
        cosine = dipole[2] / np.linalg.norm(dipole)
        rows.append((10 * (index + 1), f"{oxygen[2]:.4f}", f"{cosine:.4f}"))
        if len(rows) % 100 == 0 or len(rows) == count:
            write_table(output, ("time_fs", "height", "cosine"), rows)
            print(f"{len(rows)} of {count} rows", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Reference curves of water on a surface.")
    parser.add_argument("what", choices=("curve", "pmf", "md"))
    parser.add_argument("--surface", choices=SURFACES, default="graphene")
    parser.add_argument("--output", type=Path, help="default: water_<surface>_<what>.csv")
    parser.add_argument("--picoseconds", type=float, default=10.0, help="length of the dynamics")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    default = Path(__file__).with_name(f"water_{options.surface}_{options.what}.csv")
    output = options.output or default
    if options.what == "curve":
        curve(output, options.surface)
    elif options.what == "pmf":
        free_energy(output, options.surface, options.seed)
    else:
        dynamics(output, options.surface, options.picoseconds, options.seed)


if __name__ == "__main__":
    main()
