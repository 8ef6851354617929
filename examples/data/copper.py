"""Generate ``co_copper.xyz``: carbon monoxide on Cu(111), wallpaper group p3m1.

Surface
    Three layers of 3 x 3 cells of copper (27 atoms, a = 3.615 Å), frozen as in the crystal,
    periodic along the surface. A copper atom of the upper layer is at the origin, z = 0.

Frames
    The bond is 1.15 Å with a spread of 0.03 Å; half of the molecules stand on their carbon atom,
    tilted by some 20 degrees, half are turned at random; places are uniform. The height puts the
    closest pair of the molecule and copper at a distance drawn from GAPS. A tenth is ``vacuum``.

Labels
    SevenNet-0 (11 July 2024), a published potential whose weights come with ``pip install
    sevenn``: E(both) - E(surface), and forces on the molecule. It sees nothing beyond 5 Å, so that
    these are those of the free molecule there, and images of the molecule (7.7 Å) do not see each
    other but through the copper between them. It approximates PBE, which puts CO into the hollows
    of Cu(111) instead of on top of an atom. A stand-in for a metal's labels, not a reference for
    this surface.

Keys as in ``surface.py``; ``sample`` is ``upright``, ``random`` or ``vacuum``. Two minutes on one
core; a run that was interrupted continues. Then the sites of ``co_copper_sites.csv``: the molecule
relaxed upright, oxygen up, above each site::

    OMP_NUM_THREADS=1 python copper.py
    OMP_NUM_THREADS=1 python copper.py --sites
"""

from __future__ import annotations

import argparse
import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import fcc111
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixCartesian
from ase.optimize import BFGS
from labelling import generate
from scipy.spatial.transform import Rotation

POTENTIAL = "7net-0"
LATTICE_CONSTANT = 3.615  # Å
SIDE = LATTICE_CONSTANT / np.sqrt(2)
CELLS, LAYERS, GAP = 3, 3, 20.0  # Å of vacuum
BOND, SPREAD = 1.15, 0.03  # Å
TILT = 0.35  # rad
CLOSEST = {"C": 1.75, "O": 1.85}  # Å, to copper
GAPS = ((0.0, 0.6, 0.6), (0.6, 3.5, 0.4))  # Å, Å, share: beyond that
SHARES = {"upright": 0.45, "random": 0.45, "vacuum": 0.1}
TRAIN = 5 / 6
SITES = {  # lattice coordinates: vectors along x and at 60 degrees
    "top": (0.0, 0.0),
    "bridge": (0.5, 0.0),
    "fcc": (1 / 3, 1 / 3),
    "hcp": (2 / 3, 2 / 3),
}


@lru_cache
def slab() -> Atoms:
    """The frozen surface, an atom of the upper layer at the origin."""
    atoms = fcc111("Cu", (CELLS, CELLS, LAYERS), a=LATTICE_CONSTANT, vacuum=GAP / 2)
    atoms.positions -= atoms.positions[-(CELLS**2)]  # the first of the upper layer
    atoms.pbc = True
    return atoms


def lattice() -> np.ndarray:
    """The two in-plane vectors (Å, shape (2, 3)) that repeat the surface."""
    return slab().cell[:2] / CELLS


@lru_cache
def potential() -> Calculator:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(POTENTIAL, device="cpu")


@lru_cache
def slab_energy() -> float:
    """Energy of the surface alone (eV)."""
    return energy_and_forces(slab())[0]


def energy_and_forces(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Of the potential (eV, eV/Å)."""
    atoms = atoms.copy()
    atoms.calc = potential()
    return float(atoms.get_potential_energy()), atoms.get_forces()


def interacting(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy (eV) of a molecule on the surface without that of the surface, and its forces."""
    energy, forces = energy_and_forces(slab() + atoms)  # in the cell of the first
    return energy - slab_energy(), forces[-len(atoms) :]


def label(atoms: Atoms) -> Atoms:
    """A copy of ``atoms`` with REF_energy (eV) and REF_forces (eV/Å)."""
    labelled = atoms.copy()
    if atoms.info["surface"] == "vacuum":
        alone = atoms.copy()
        alone.set_cell([20.0] * 3)
        alone.pbc = True
        energy, forces = energy_and_forces(alone)
    else:
        energy, forces = interacting(atoms)
    labelled.info["REF_energy"] = round(energy, 6)
    labelled.arrays["REF_forces"] = np.round(forces, 5)
    return labelled


def height(positions: np.ndarray, symbols: str, distance: float) -> float:
    """The height (Å) of the origin of ``positions`` where the closest pair is beyond contact.

    ``distance`` (Å) is that of the pair over ``CLOSEST``.
    """
    copper = slab().repeat((3, 3, 1)).positions - slab().cell[0] - slab().cell[1]
    lateral = positions[:, None, :2] - copper[None, :, :2]
    reach = np.array([CLOSEST[s] for s in symbols])[:, None] + distance
    rest = reach**2 - (lateral**2).sum(-1)
    needed = copper[None, :, 2] + np.sqrt(np.maximum(rest, 0.0)) - positions[:, None, 2]
    return float(needed[rest > 0].max())


def sample(count: int, seed: int) -> list[Atoms]:
    """``count`` frames to label, after the isolated atoms, in their final order."""
    rng = np.random.default_rng(seed)
    frames = []
    lows, highs, shares = zip(*GAPS, strict=True)
    for kind, share in SHARES.items():
        n = round(share * count)
        for index in range(n):
            turn = Rotation.from_quat(rng.normal(size=4))
            if kind == "upright":
                turn = Rotation.from_rotvec([*rng.normal(scale=TILT, size=2), 0.0])
            bond = turn.apply([0.0, 0.0, rng.normal(BOND, SPREAD)])
            positions = np.array([[0.0, 0.0, 0.0], bond])
            positions += rng.uniform(size=2) @ lattice()
            gap = rng.choice(len(GAPS), p=shares)
            distance = rng.uniform(lows[gap], highs[gap])
            positions[:, 2] += height(positions, "CO", distance)
            if kind == "vacuum":
                positions[:, 2] += 20.0
            atoms = Atoms("CO", np.round(positions, 5))
            atoms.info["surface"] = "vacuum" if kind == "vacuum" else "copper"
            atoms.info["sample"] = kind
            atoms.info["config_type"] = "train" if index < round(TRAIN * n) else "test"
            frames.append(atoms)
    return [frames[i] for i in rng.permutation(len(frames))]


class Labels(Calculator):
    """Energies and forces as in the data set."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = interacting(atoms)
        self.results = {"energy": energy, "forces": forces}


def write_sites(path: Path) -> None:
    """Relax the molecule above each site, with its place held, and write what it takes."""
    free = Atoms("CO", [[0, 0, 0], [0, 0, BOND]], info={"surface": "vacuum"}, cell=[20.0] * 3)
    free.pbc = True
    free.calc = potential()
    BFGS(free, logfile=None).run(fmax=0.005)
    rows = []
    for name, place in SITES.items():
        atoms = Atoms("CO", [[0, 0, 0], [0, 0, BOND]])
        atoms.positions += np.array(place) @ lattice()
        atoms.positions[:, 2] += height(atoms.positions, "CO", 0.2)
        atoms.set_constraint(FixCartesian([0, 1], (True, True, False)))
        atoms.calc = Labels()
        BFGS(atoms, logfile=None).run(fmax=0.01, steps=50)
        energy = atoms.get_potential_energy() - free.get_potential_energy()
        rows.append((name, f"{1000 * energy:.1f}", f"{atoms.positions[0, 2]:.3f}"))
        print(*rows[-1], flush=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["site", "adsorption (meV)", "height of C (Å)"])
        writer.writerows(rows)
    print(f"wrote {path}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Carbon monoxide on Cu(111), SevenNet-0.")
    parser.add_argument("--output", type=Path, help="default: beside the script")
    parser.add_argument("--count", type=int, default=360)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="frames labelled at a time")
    parser.add_argument("--sites", action="store_true", help="write co_copper_sites.csv")
    options = parser.parse_args()
    if options.sites:
        write_sites(options.output or Path(__file__).with_name("co_copper_sites.csv"))
        return
    output = options.output or Path(__file__).with_name("co_copper.xyz")
    count, seed = options.count, options.seed
    generate(output, lambda: sample(count, seed), label, count, options.workers)


if __name__ == "__main__":
    main()
