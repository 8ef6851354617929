"""Generate ``silicon.xyz``: small structures of silicon, labelled with a published potential.

Structures
    ``volume``: primitive cells, 17 % smaller to 26 % larger. ``strained``: primitive and cubic
    cells under random strains of some 3 %, atoms displaced. ``rattled``: cells of 16 and 64 atoms,
    displaced by 0.02 to 0.2 Å. ``vacancy``: 63 atoms, on the way from the crystal's places to the
    relaxed ones and a little beyond. ``surface``: slabs of 16 atoms with (100), (110) and (111)
    faces, likewise. ``hot`` and ``liquid``: 32 atoms during dynamics at 1500 K, and at 2500 K
    after melting at 5000 K.

Labels
    SevenNet-0 (11 July 2024), a published potential whose weights come with ``pip install
    sevenn``: energy, forces and stress. It was fitted to PBE energies of relaxations of the
    Materials Project and approximates them; near defects and in melts it is off. These are no
    DFT labels: good to learn how a force field is trained and checked, not to study silicon.

Keys
    ``REF_energy`` (eV), ``REF_forces`` (eV/Å), ``REF_stress`` (eV/Å^3, Voigt order, positive under
    tension); ``sample`` as above; ``config_type`` is ``train`` or ``test``.

Two minutes on one core; a run that was interrupted continues. Then the properties of the crystal
with the same potential, two minutes (needs sikff and spglib)::

    OMP_NUM_THREADS=1 python silicon.py
    OMP_NUM_THREADS=1 python silicon.py --properties
"""

from __future__ import annotations

import argparse
import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk, make_supercell, surface
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS
from labelling import generate

POTENTIAL = "7net-0"
LATTICE_CONSTANT = 5.47  # Å
COMPACT = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]  # of cubic cells: 32 atoms, faces 7.7 Å apart
FACES = ((1, 0, 0), (1, 1, 0), (1, 1, 1))
COUNTS = {
    "volume": 12,
    "strained": 36,
    "rattled": 18,
    "vacancy": 12,
    "surface": 18,
    "hot": 10,
    "liquid": 12,
}
TEST_EVERY = 6  # structures of a kind


@lru_cache
def potential() -> Calculator:
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator(POTENTIAL, device="cpu")


def cubic(repeats: int = 1) -> Atoms:
    """The crystal in its cubic cell, eight atoms, repeated along each axis."""
    return bulk("Si", a=LATTICE_CONSTANT, cubic=True).repeat(repeats)


def strained(atoms: Atoms, rng: np.random.Generator, size: float) -> Atoms:
    """Under a random strain whose six components are of this size."""
    strain = rng.normal(scale=size, size=(3, 3))
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    return atoms


def displaced(atoms: Atoms, rng: np.random.Generator, size: float) -> Atoms:
    """Every coordinate displaced by a normal number of this size (Å)."""
    atoms = atoms.copy()
    atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
    return atoms


def on_way_to_relaxed(start: Atoms, rng: np.random.Generator, count: int) -> list[Atoms]:
    """Displaced structures between a start and where it relaxes, and a little beyond."""
    end = displaced(start, rng, 0.05)
    end.calc = potential()
    BFGS(end, logfile=None).run(fmax=0.02, steps=60)
    found = []
    for share in np.linspace(0.1, 1.1, count):
        atoms = start.copy()
        atoms.positions += share * (end.positions - start.positions)
        found.append(displaced(atoms, rng, rng.choice([0.02, 0.05, 0.1])))
    return found


def during_dynamics(
    atoms: Atoms, rng: np.random.Generator, temperature: float, count: int, every: int
) -> list[Atoms]:
    """Structures of a Langevin run (2 fs steps), which goes on in ``atoms``."""
    atoms.calc = potential()
    heat = {"temperature_K": temperature, "friction": 0.02 / units.fs}
    run = Langevin(atoms, 2 * units.fs, **heat, fixcm=False, rng=rng)
    found = []
    for _ in range(count):
        run.run(every)
        found.append(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))
    return found


def volumes(rng: np.random.Generator, count: int) -> list[Atoms]:
    primitive = bulk("Si", a=LATTICE_CONSTANT)
    found = []
    for factor in np.linspace(0.94, 1.08, count):
        atoms = primitive.copy()
        atoms.set_cell(factor * primitive.cell, scale_atoms=True)
        found.append(displaced(atoms, rng, 0.01))
    return found


def strains(rng: np.random.Generator, count: int) -> list[Atoms]:
    cells = (bulk("Si", a=LATTICE_CONSTANT), cubic())
    sizes = rng.choice([0.01, 0.03, 0.05], size=count)
    return [
        displaced(strained(cells[k % 2], rng, size), rng, rng.uniform(0.0, 0.15))
        for k, size in enumerate(sizes)
    ]


def rattles(rng: np.random.Generator, count: int) -> list[Atoms]:
    small, large = bulk("Si", a=LATTICE_CONSTANT).repeat(2), cubic(2)
    return [
        displaced(strained(large if k % 6 == 0 else small, rng, 0.01), rng, size)
        for k, size in enumerate(np.geomspace(0.02, 0.2, count))
    ]


def vacancies(rng: np.random.Generator, count: int) -> list[Atoms]:
    start = cubic(2)
    del start[0]
    return on_way_to_relaxed(start, rng, count)


def surfaces(rng: np.random.Generator, count: int) -> list[Atoms]:
    found = []
    for face in FACES:
        slab = surface(cubic(), face, 2, vacuum=6.0)
        slab.pbc = True
        found += on_way_to_relaxed(slab, rng, count // len(FACES))
    return found


def hot(rng: np.random.Generator, count: int) -> list[Atoms]:
    atoms = make_supercell(cubic(), COMPACT)
    thermalize_momenta(atoms, temperature_K=3000, rng=rng)  # half of it goes to bonds
    return during_dynamics(atoms, rng, 1500, count, 15)


def liquid(rng: np.random.Generator, count: int) -> list[Atoms]:
    atoms = make_supercell(cubic(), COMPACT)
    atoms.set_cell(0.98 * atoms.cell, scale_atoms=True)  # the melt is denser
    thermalize_momenta(atoms, temperature_K=10000, rng=rng)
    during_dynamics(atoms, rng, 5000, 1, 150)
    return during_dynamics(atoms, rng, 2500, count, 20)


SAMPLERS = {
    "volume": volumes,
    "strained": strains,
    "rattled": rattles,
    "vacancy": vacancies,
    "surface": surfaces,
    "hot": hot,
    "liquid": liquid,
}


def sample(seed: int) -> list[Atoms]:
    """The structures to label, in their final order."""
    rng = np.random.default_rng(seed)
    frames = []
    for kind, sampler in SAMPLERS.items():
        for index, atoms in enumerate(sampler(rng, COUNTS[kind])):
            found = Atoms(atoms.numbers, np.round(atoms.positions, 5), cell=atoms.cell, pbc=True)
            found.info["sample"] = kind
            test = index % TEST_EVERY == TEST_EVERY // 2
            found.info["config_type"] = "test" if test else "train"
            frames.append(found)
    return [frames[i] for i in rng.permutation(len(frames))]


def label(atoms: Atoms) -> Atoms:
    """A copy of ``atoms`` with REF_energy (eV), REF_forces (eV/Å) and REF_stress (eV/Å^3)."""
    asked, labelled = atoms.copy(), atoms.copy()
    asked.calc = potential()
    labelled.info["REF_energy"] = round(float(asked.get_potential_energy()), 5)
    labelled.info["REF_stress"] = np.round(asked.get_stress().astype(float), 7)
    labelled.arrays["REF_forces"] = np.round(asked.get_forces().astype(float), 5)
    return labelled


def write_properties(path: Path) -> None:
    """Compute what ``sikff check`` does, with the potential instead of a model."""
    from sikff.training.properties.check import check
    from sikff.training.properties.settings import CheckSettings

    crystal = cubic()
    crystal.calc = potential()
    wanted = ("eos", "elastic", "phonons", "vacancy", "surfaces")
    found = check(crystal, CheckSettings(properties=wanted), lambda name: print(name, flush=True))
    rows = [(k, v if isinstance(v, str) else f"{v:.4f}") for k, v in found.table().items()]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    print(*found.notes, f"wrote {path}", sep="\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Silicon, SevenNet-0.")
    parser.add_argument("--output", type=Path, help="default: beside the script")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="frames labelled at a time")
    parser.add_argument("--properties", action="store_true", help="write silicon_properties.csv")
    options = parser.parse_args()
    if options.properties:
        write_properties(options.output or Path(__file__).with_name("silicon_properties.csv"))
        return
    output = options.output or Path(__file__).with_name("silicon.xyz")
    seed = options.seed
    generate(output, lambda: sample(seed), label, sum(COUNTS.values()), options.workers)


if __name__ == "__main__":
    main()
