"""Generate ``water_graphene*.xyz`` and ``water_nacl*.xyz``: one water molecule on a surface.

Surfaces
    A graphene sheet (5 x 5 cells, 50 atoms, 12.30 Å) and NaCl(001) (3 x 3 cells, two layers,
    36 atoms, 11.96 Å), frozen, in periodic cells of 60 Å height. The plane of the carbon atoms, or
    of the upper layer, is z = 0 and the molecule is above it; a ring centre, or a sodium ion, is at
    the origin.

Frames (``--what frames``)
    ``random``: the geometry of the molecule is from GFN1-xTB Langevin dynamics of free water (300,
    450, 600 K), its orientation uniform in SO(3), its lateral position uniform over the surface.
    Its height puts the first atom between the repulsive wall (about 1.5 eV) and 11 Å farther.
    ``sheet``: from dynamics at 300 K on the surface (a smaller cell); on graphene, which is flat at
    that height, with an azimuth and a lateral position drawn anew. ``vacuum``: 20 to 30 Å above
    the plane.

Labels
    Periodic GFN1-xTB (tblite) at the Gamma point for the molecule on the surface, the surface
    alone and the molecule alone in the same cell, and GFN1-xTB of the free molecule::

        REF_energy = E(free molecule) + s(z) [E(both) - E(surface) - E(molecule, periodic) - E0]

    The molecule alone in the cell takes away its interaction with its own images. E0 is the
    constant that remains at half the height of the cell, where the interaction does not depend on
    the orientation. Over an infinite surface GFN1-xTB has a spurious tail: its Klopman-Ohno kernel
    differs from Coulomb's by a term in 1/R^3, the shell charges of a neutral sheet do not cancel
    in it, and a dipole feels a field that falls as 1/z^2. The switch s takes it away: 1 below 8 Å,
    0 above 12 Å (a quintic polynomial of the height z of the centre of mass), so that the energy
    *is* that of the free molecule from 12 Å on. ``REF_forces`` is minus the gradient of
    ``REF_energy``.

More frames (``--what more``, NaCl)
    ``wall``: of the ``random`` kind, most of them within 1.5 Å of the wall, where the labels are
    large. ``hop``: between the site of the molecule and the saddle to the next one, displaced and
    turned at random. All are ``train``.

Copies (``--what copies``)
    Molecules of the ``random`` kind, below 8 Å, each at several lateral positions and azimuths. How
    much their labels differ is the error of the best model that knows only the normal of the
    surface: see ``floor.py``.

Units and keys (extended XYZ): positions Å, ``REF_energy`` eV, ``REF_forces`` eV/Å, ``surface``
(``graphene``, ``nacl``; ``vacuum`` for the frames that feel none), ``sample``, ``config_type``
(``IsolatedAtom``, ``train``, ``test``; ``copies``), and for copies ``copy_of`` and ``azimuth``
(rad). A frame has the molecule only, no cell.

The isolated atoms come first, then the molecules in a shuffled order fixed by the seed. A run that
was interrupted continues (see ``labelling.py``). Needs ``pip install tblite ase scipy``::

    OMP_NUM_THREADS=1 python surface.py --check                # test the labels, write nothing
    OMP_NUM_THREADS=1 python surface.py --workers 4            # write water_graphene.xyz
    OMP_NUM_THREADS=1 python surface.py --surface nacl --count 400
    OMP_NUM_THREADS=1 python surface.py --surface nacl --what more
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import graphene, molecule
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.units import Bohr, Hartree, fs
from labelling import generate
from scipy.spatial.transform import Rotation
from tblite.ase import TBLite
from tblite.interface import Calculator

CELL_HEIGHT = 60.0  # Å
SWITCH = (8.0, 12.0)  # Å, where the interaction begins to be switched off and where it is zero
ACCURACY = 0.1  # of tblite's convergence thresholds
TEMPERATURES = (300, 450, 600)  # K
WALL = {"H": 1.3, "O": 1.9}  # Å, heights of about 1.5 eV of repulsion
GAPS = ((0.0, 1.2, 0.45), (1.2, 3.5, 0.35), (3.5, 11.0, 0.2))  # Å, Å, share: beyond the wall
MORE_GAPS = ((0.0, 1.5, 0.8), (1.5, 4.0, 0.2))  # the same for the frames that are added
SHARES = {"random": 0.8, "sheet": 0.1, "vacuum": 0.1}
TRAIN = 5 / 6  # of the frames; the others are test
COPIES = 12
HOPS = 0.3  # share of the added frames
SITE = [[0.73, 0.0, 2.03], [1.15, 0.76, 1.60], [1.15, -0.76, 1.60]]  # Å, where water sits on NaCl
SADDLE = [[1.994, 0.0, 2.36], [1.994, 0.77, 1.77], [1.994, -0.77, 1.77]]  # Å, to the next site
SHIFTED, TURNED, BENT = 0.15, 0.25, 0.03  # Å, rad, Å: displacements from the path between them
ORIENTATIONS = {  # degrees, axis; ase.build.molecule has both hydrogens down, in the yz plane
    "both_H_down": (0, "x"),
    "one_H_down": (-52, "x"),
    "O_down": (180, "x"),
    "flat": (90, "y"),
}


# --- surfaces -----------------------------------------------------------------------------------


def graphene_sheet(n: int) -> Atoms:
    """``n`` x ``n`` cells of graphene in the plane z = 0, a ring centre at the origin."""
    sheet = graphene(a=2.46)
    sheet.cell[2] = (0, 0, CELL_HEIGHT)
    sheet.positions -= sheet.cell[0] / 3 + sheet.cell[1] * 2 / 3  # ring centre to the origin
    sheet.positions[:, 2] = 0.0
    return sheet.repeat((n, n, 1))


def nacl_slab(n: int) -> Atoms:
    """Two layers of ``n`` x ``n`` cells of NaCl(001) from z = 0 down, Na at the origin."""
    bond = 5.64 / 2
    side = bond * np.sqrt(2)
    upper = [(0, 0, 0), (side / 2, side / 2, 0)]
    lower = [(side / 2, side / 2, -bond), (0, 0, -bond)]
    cell = Atoms("NaClNaCl", upper + lower, cell=(side, side, CELL_HEIGHT))
    return cell.repeat((n, n, 1))


SURFACES: dict[str, Callable[[int], Atoms]] = {"graphene": graphene_sheet, "nacl": nacl_slab}
CELLS = {"graphene": 5, "nacl": 3}
CORRUGATED = ("nacl",)  # where water is bound; graphene is flat there
SMALL_CELLS = {"graphene": 3, "nacl": 2}  # for the geometries from dynamics on the surface


@lru_cache
def slab(surface: str) -> Atoms:
    """The frozen surface in its periodic cell."""
    return SURFACES[surface](CELLS[surface])


def primitive(surface: str) -> np.ndarray:
    """The two in-plane vectors (Å, shape (2, 3)) that repeat the surface."""
    return slab(surface).cell[:2] / CELLS[surface]


# --- labels -------------------------------------------------------------------------------------


def gfn1(atoms: Atoms, cell: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """GFN1-xTB energy (eV) and forces (eV/Å); periodic with a ``cell`` (Å, shape (3, 3))."""
    periodic = {}
    if cell is not None:
        periodic = {"lattice": np.array(cell) / Bohr, "periodic": np.ones(3, dtype=bool)}
    uhf = {"H": 1, "O": 2}[atoms.symbols[0]] if len(atoms) == 1 else 0
    calculator = Calculator("GFN1-xTB", atoms.numbers, atoms.positions / Bohr, uhf=uhf, **periodic)
    calculator.set("verbosity", 0)
    calculator.set("accuracy", ACCURACY)
    calculator.set("max-iter", 500)
    result = calculator.singlepoint()
    return result.get("energy") * Hartree, -result.get("gradient") * Hartree / Bohr


@lru_cache
def slab_energy(surface: str) -> float:
    """Energy of the surface alone (eV)."""
    return gfn1(slab(surface), slab(surface).cell)[0]


def raw_interaction(atoms: Atoms, surface: str) -> tuple[float, np.ndarray]:
    """E(both) - E(surface) - E(molecule, periodic) in eV, and the forces on the molecule."""
    cell = slab(surface).cell
    both, forces = gfn1(atoms + slab(surface), cell)
    alone, forces_alone = gfn1(atoms, cell)
    return both - slab_energy(surface) - alone, forces[: len(atoms)] - forces_alone


@lru_cache
def offset(surface: str) -> float:
    """The constant E0 (eV): the raw interaction at half the height of the cell."""
    atoms = molecule("H2O")
    atoms.positions += (0.0, 0.0, CELL_HEIGHT / 2)
    return raw_interaction(atoms, surface)[0]


def switch(height: float) -> tuple[float, float]:
    """The switch s at a height (Å) of the centre of mass, and ds/dz (1/Å)."""
    start, end = SWITCH
    x = min(max((height - start) / (end - start), 0.0), 1.0)
    value = 1 - x**3 * (10 - 15 * x + 6 * x**2)
    return value, -30 * x**2 * (1 - x) ** 2 / (end - start)


def interaction(atoms: Atoms, surface: str) -> tuple[float, np.ndarray]:
    """Energy (eV) of ``atoms`` on ``surface`` over that of the free molecule, and its forces."""
    value, slope = switch(atoms.get_center_of_mass()[2])
    if value == 0:
        return 0.0, np.zeros((len(atoms), 3))
    energy, forces = raw_interaction(atoms, surface)
    energy -= offset(surface)
    masses = atoms.get_masses()
    forces = value * forces
    forces[:, 2] -= slope * energy * masses / masses.sum()
    return value * energy, forces


def label(atoms: Atoms, surface: str) -> Atoms:
    """A copy of ``atoms`` with REF_energy (eV) and REF_forces (eV/Å)."""
    labelled = atoms.copy()
    energy, forces = gfn1(atoms)
    if len(atoms) > 1:
        more, pull = interaction(atoms, surface)
        energy, forces = energy + more, forces + pull
    labelled.info["REF_energy"] = round(energy, 6)
    labelled.arrays["REF_forces"] = np.round(forces, 5)
    return labelled


# --- geometries ---------------------------------------------------------------------------------


def langevin(atoms: Atoms, temperature: float, rng: np.random.Generator) -> Langevin:
    """GFN1-xTB dynamics of ``atoms`` at ``temperature`` (K), 0.5 fs steps."""
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    return Langevin(
        atoms, 0.5 * fs, temperature_K=temperature, friction=0.02 / fs, fixcm=False, rng=rng
    )


def free_molecules(count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions (Å, shape (3, 3)) of water about its centre of mass, uniform in SO(3)."""
    found = []
    for temperature in TEMPERATURES:
        atoms = molecule("H2O")
        dynamics = langevin(atoms, temperature, rng)
        dynamics.run(4000)  # from rest; the thermostat's memory is 50 fs
        for _ in range(-(-count // len(TEMPERATURES))):
            dynamics.run(30)
            turn = Rotation.from_quat(rng.normal(size=4))  # normalised: uniform in SO(3)
            found.append(turn.apply(atoms.positions - atoms.get_center_of_mass()))
    return [found[i] for i in rng.permutation(len(found))[:count]]


def on_surface(surface: str, cells: int, rng: np.random.Generator) -> tuple[Atoms, Langevin]:
    """Water (the first three atoms) on ``cells`` x ``cells`` of a surface, and its dynamics."""
    atoms = molecule("H2O")
    atoms.rotate(90, "y")
    atoms.positions += (1.0, 0.5, 3.2)
    frozen = SURFACES[surface](cells)
    atoms += frozen
    atoms.cell, atoms.pbc = frozen.cell, True
    atoms.set_constraint(FixAtoms(range(3, len(atoms))))
    return atoms, langevin(atoms, 300, rng)


def sheet_molecules(surface: str, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions (Å, shape (3, 3)) of water from dynamics on the surface.

    Above the origin, except on a corrugated surface, where the place belongs to the height.
    """
    if count == 0:
        return []
    atoms, dynamics = on_surface(surface, SMALL_CELLS[surface], rng)
    dynamics.run(600)
    found = []
    for _ in range(count):
        dynamics.run(20)
        water = atoms[:3]
        centre = 0.0 if surface in CORRUGATED else water.get_center_of_mass() * (1, 1, 0)
        found.append(water.positions - centre)
    return found


def wall_height(
    positions: np.ndarray,
    rng: np.random.Generator,
    gaps: tuple[tuple[float, float, float], ...] = GAPS,
) -> float:
    """A random height (Å) for the origin of ``positions``, see ``WALL`` and ``GAPS``."""
    lows, highs, shares = zip(*gaps, strict=True)
    index = rng.choice(len(gaps), p=shares)
    lowest = max(WALL[s] - z for s, z in zip("OHH", positions[:, 2], strict=True))
    return lowest + rng.uniform(lows[index], highs[index])


def place(
    positions: np.ndarray, height: float, surface: str, azimuth: float, site: np.ndarray
) -> Atoms:
    """Water raised by ``height`` (Å) and moved by ``site`` (shape (2,)) primitive vectors.

    ``positions`` (Å, shape (3, 3)) are first turned about z by ``azimuth`` (rad).
    """
    turned = Rotation.from_rotvec((0, 0, azimuth)).apply(positions)
    shift = site @ primitive(surface) + (0, 0, height)
    return Atoms("OHH", np.round(turned + shift, 5))


def isolated(config: str) -> list[Atoms]:
    """The atoms H and O."""
    info = {"surface": "vacuum", "sample": "atom", "config_type": config}
    return [Atoms(symbol, [(0.0, 0.0, 0.0)], info=info) for symbol in "HO"]


def sample_frames(surface: str, count: int, seed: int) -> list[Atoms]:
    """``count`` frames to label, after the isolated atoms, in their final order."""
    rng = np.random.default_rng(seed)
    frames = []
    for sample, share in SHARES.items():
        n = round(share * count)
        if sample == "sheet":
            geometries = sheet_molecules(surface, n, rng)
        else:
            geometries = free_molecules(n, rng)
        for index, positions in enumerate(geometries):
            height = 0.0
            if sample == "random":
                height = wall_height(positions, rng)
            elif sample == "vacuum":
                height = rng.uniform(20.0, 30.0)
            azimuth, site = rng.uniform(0, 2 * np.pi), rng.uniform(size=2)
            if sample == "sheet" and surface in CORRUGATED:
                azimuth, site = 0.0, np.zeros(2)
            atoms = place(positions, height, surface, azimuth, site)
            atoms.info["surface"] = "vacuum" if sample == "vacuum" else surface
            atoms.info["sample"] = sample
            atoms.info["config_type"] = "train" if index < round(TRAIN * n) else "test"
            frames.append(atoms)
    return isolated("IsolatedAtom") + [frames[i] for i in rng.permutation(len(frames))]


def sample_more(surface: str, count: int, seed: int) -> list[Atoms]:
    """``count`` frames near the wall of NaCl and along the hop, in their final order."""
    rng = np.random.default_rng([seed, 2])
    hops = round(HOPS * count)
    frames = []
    for positions in free_molecules(count - hops, rng):
        height = wall_height(positions, rng, MORE_GAPS)
        azimuth, site = rng.uniform(0, 2 * np.pi), rng.uniform(size=2)
        frames.append(place(positions, height, surface, azimuth, site))
        frames[-1].info["sample"] = "wall"
    for _ in range(hops):
        frames.append(near_the_path(rng))
        frames[-1].info["sample"] = "hop"
    for atoms in frames:
        atoms.info.update(surface=surface, config_type="train")
    return [frames[i] for i in rng.permutation(count)]


def near_the_path(rng: np.random.Generator) -> Atoms:
    """Water between ``SITE`` and ``SADDLE``, displaced, turned and bent at random."""
    along = rng.uniform()
    atoms = Atoms("OHH", (1 - along) * np.array(SITE) + along * np.array(SADDLE))
    centre = atoms.get_center_of_mass()
    turn = Rotation.from_rotvec(rng.normal(scale=TURNED, size=3))
    moved = turn.apply(atoms.positions - centre) + centre + rng.normal(scale=SHIFTED, size=3)
    atoms.positions = np.round(moved + rng.normal(scale=BENT, size=moved.shape), 5)
    return atoms


def sites(count: int) -> np.ndarray:
    """``count`` points that cover the unit square evenly (Kronecker sequence), shape (count, 2)."""
    ratio = 1.32471795724474602596  # the plastic number
    return np.outer(np.arange(count), (1 / ratio, 1 / ratio**2)) % 1.0


def sample_copies(surface: str, count: int, seed: int) -> list[Atoms]:
    """``count`` molecules below the switch, each in ``COPIES`` copies."""
    rng = np.random.default_rng([seed, 1])
    frames: list[Atoms] = []
    for index, positions in enumerate(free_molecules(count, rng)):
        height = SWITCH[0]
        while height >= SWITCH[0]:
            height = wall_height(positions, rng)
        start = rng.uniform(size=2)
        for site in sites(COPIES):
            azimuth = round(rng.uniform(0, 2 * np.pi), 6)
            atoms = place(positions, height, surface, azimuth, (start + site) % 1.0)
            atoms.info.update(surface=surface, sample="random", config_type="copies")
            atoms.info.update(copy_of=index, azimuth=azimuth)
            frames.append(atoms)
    return frames


# --- test of the labels -------------------------------------------------------------------------


def check(surface: str, seed: int) -> None:
    """Compare the forces with differences of the energy, and look at zero and symmetry.

    Raises RuntimeError where they disagree.
    """
    rng = np.random.default_rng(seed)
    failures = []
    shape = molecule("H2O").positions - molecule("H2O").get_center_of_mass()
    for height in (2.6, 4.0, 10.0):
        turn = Rotation.from_quat(rng.normal(size=4))
        positions = turn.apply(shape + rng.normal(scale=0.05, size=shape.shape))
        atoms = place(positions, height, surface, 0.0, rng.uniform(size=2))
        analytic = label(atoms, surface).arrays["REF_forces"]
        numeric = np.zeros_like(analytic)
        for index in np.ndindex(numeric.shape):
            energies = []
            for step in (1e-3, -1e-3):
                moved = atoms.copy()
                moved.positions[index] += step
                energies.append(gfn1(moved)[0] + interaction(moved, surface)[0])
            numeric[index] = -(energies[0] - energies[1]) / 2e-3
        deviation = np.abs(analytic - numeric).max()
        print(f"forces at {height} Å: max |analytic - difference| {deviation:.1e} eV/Å")
        if deviation > 2e-4:
            failures.append(f"forces at {height} Å")

    atoms = place(shape, 3.0, surface, 0.0, np.array([0.2, 0.3]))
    moved = atoms.copy()
    moved.positions += primitive(surface)[0] + primitive(surface)[1]
    change = interaction(moved, surface)[0] - interaction(atoms, surface)[0]
    print(f"moved by the primitive vectors: energy change {change:+.1e} eV")
    if abs(change) > 1e-6:
        failures.append("periodicity")

    zeros = []
    for angle, axis in ORIENTATIONS.values():
        atoms = Atoms("OHH", shape)
        atoms.rotate(angle, axis)
        atoms.positions += (0, 0, CELL_HEIGHT / 2)
        zeros.append(raw_interaction(atoms, surface)[0])
    spread = np.ptp(zeros)
    print(f"constant E0 {1000 * offset(surface):.2f} meV, ", end="")
    print(f"spread over orientations {1000 * spread:.2f} meV")
    if spread > 2e-3:
        failures.append("E0")
    if failures:
        raise RuntimeError("the labels are wrong: " + ", ".join(failures))


KINDS = {
    "frames": (sample_frames, 1200, ".xyz"),
    "more": (sample_more, 667, "_more.xyz"),
    "copies": (sample_copies, 60, "_copies.xyz"),
}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Water on a frozen surface, GFN1-xTB.")
    parser.add_argument("--surface", choices=SURFACES, default="graphene")
    parser.add_argument("--what", choices=("frames", "more", "copies"), default="frames")
    parser.add_argument("--output", type=Path, help="default: water_<surface>... beside the script")
    parser.add_argument("--count", type=int, help="frames (1200, more: 667) or molecules (60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="frames labelled at a time")
    parser.add_argument("--check", action="store_true", help="test the labels, write nothing")
    options = parser.parse_args()
    surface, seed = options.surface, options.seed
    if options.what == "more" and surface != "nacl":
        parser.error("--what more is for --surface nacl: its hop is known")
    sampler, count, ending = KINDS[options.what]
    count = options.count or count
    expected = {"frames": count + 2, "more": count, "copies": count * COPIES}[options.what]
    output = options.output or Path(__file__).with_name(f"water_{surface}{ending}")
    if options.check:
        check(surface, seed)
    else:
        sample = partial(sampler, surface, count, seed)
        generate(output, sample, partial(label, surface=surface), expected, options.workers)


if __name__ == "__main__":
    main()
