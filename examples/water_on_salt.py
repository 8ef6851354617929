"""Water on NaCl(001) without NaCl: the place above a crystal surface is a steerable attribute.

The surface is its lattice, its wallpaper group p4mm and a height. A force field of three atoms, of
the point group C4v, is trained on 333 frames of water on a slab of 36 ions (data/water_nacl.xyz,
GFN1-xTB); another, of C_inf_v, takes the surface for a flat one. The first is then asked what a
surface scientist asks: where does the molecule sit, how strongly, and how does it hop to the next
site? The second cannot know.

    python examples/water_on_salt.py

It takes about eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.constraints import FixCartesian
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation
from side_by_side import folder, fresh, report, train

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import BLUE, ORANGE, new_figure, save_figure

DATA = Path(__file__).parent / "data"
FRAMES, COPIES = DATA / "water_nacl.xyz", DATA / "water_nacl_copies.xyz"
REFERENCE = DATA / "water_nacl_hop.csv"
SIDE = 5.64 / np.sqrt(2)  # Å, of the primitive cell: sodium at its corners, chlorine in its centre
PLANE = {"plane_origin": [0.0, 0.0, 0.0], "plane_range": 12.0, "surfaces": ["nacl"]}
SALT = {**PLANE, "lattice": [[float(SIDE), 0.0], [0.0, float(SIDE)]], "wallpaper": "p4mm"}
SIZE = {"channels": 16, "vacuum_group": "O(3)"}
PLACES, FLAT = "C4v, sees places", "C_inf_v, sees the height"
MODELS = {
    PLACES: {"environment": SALT, **SIZE},
    FLAT: {"group": "C_inf_v", "environment": PLANE, **SIZE},
}
START = 2.8  # Å, height of the molecule before it is relaxed
FMAX = 0.01  # eV/Å


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/water_on_salt"))
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of each model")
    parser.add_argument("--grid", type=int, default=6, help="points along half a side of the cell")
    parser.add_argument("--starts", type=int, default=6, help="orientations tried at each point")
    parser.add_argument("--images", type=int, default=7, help="between the ends of the path")
    options = parser.parse_args()
    output: Path = options.output
    began = time.monotonic()
    fresh(output, "train.xyz")

    frames = ase.io.read(FRAMES, ":")
    test = [atoms for atoms in frames if atoms.info["config_type"] == "test"]
    ase.io.write(output / "train.xyz", [atoms for atoms in frames if atoms not in test])
    print(f"1. training {' and '.join(MODELS)}: {options.minutes:g} minutes each, side by side")
    common = {"data": {"train": str(output / "train.xyz"), "valid": 33}}
    train(output, {name: common | {"model": m} for name, m in MODELS.items()}, options.minutes)
    models = {name: load(output / folder(name) / "model.sikff") for name in MODELS}
    report(output, {name: evaluate(model, test) for name, model in models.items()}, len(test))
    print("   the same for copies of 30 molecules at twelve places each:")
    for name, model in models.items():
        metrics = evaluate(model, ase.io.read(COPIES, ":")).metrics
        energy = 3 * metrics["energy_mae_mev_per_atom"]
        print(f"   {name:30s} {metrics['force_mae_mev_per_a']:.1f} meV/Å, {energy:.1f} meV")

    print("2. where the molecule sits")
    free, sites = free_energy(models[PLACES]), site_map(models[PLACES], options)
    best = min(sites.values(), key=lambda found: found[0])
    print("3. how it hops to the next sodium ion")
    path = hop(best[1], options.images)
    with REFERENCE.open() as file:
        known = {row["quantity"]: float(row["meV"]) for row in csv.DictReader(file)}
    for name, energy in (("adsorption", path[0] - free), ("barrier", max(path) - path[0])):
        print(f"   {name} {1000 * energy:.0f} meV; the reference has {known[name]:.0f} meV")
    energies = {place: 1000 * (energy - free) for place, (energy, _) in sites.items()}
    figure = draw(energies, options.grid, 1000 * (np.array(path) - path[0]), known)
    save_figure(figure, output / "water_on_salt.png")
    print(f"pictures in {output}: {', '.join(sorted(p.name for p in output.glob('*.png')))}")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


def free_energy(model: ForceField) -> float:
    """Energy (eV) of a relaxed molecule in vacuum."""
    water = molecule("H2O", info={"surface": "vacuum"})
    water.calc = SIKFFCalculator(model)
    BFGS(water, logfile=None).run(fmax=FMAX)
    return water.get_potential_energy()


def site_map(
    model: ForceField, options: argparse.Namespace
) -> dict[tuple[int, int], tuple[float, Atoms]]:
    """The lowest energy (eV), and the molecule, with its oxygen above each point of a grid.

    Points (i, j), i <= j, are SIDE / 2 times (i, j) / (grid - 1): a mirror and a diagonal of the
    cell bound the triangle, whose images under p4mm fill it.
    """
    calculator, found = SIKFFCalculator(model), {}
    for i, j in itertools.combinations_with_replacement(range(options.grid), 2):
        relaxed = []
        for seed in range(options.starts):
            water = molecule("H2O", info={"surface": "nacl"})
            turn = Rotation.random(random_state=seed)
            water.positions = turn.apply(water.positions - water.positions[0])
            water.positions += np.array([i, j, 0]) * SIDE / 2 / max(options.grid - 1, 1)
            water.positions[:, 2] += START
            water.set_constraint(FixCartesian(0, (True, True, False)))
            water.calc = calculator
            BFGS(water, logfile=None).run(fmax=FMAX, steps=100)
            relaxed.append((water.get_potential_energy(), water))
        found[i, j] = min(relaxed, key=lambda each: each[0])
    return found


def hop(start: Atoms, n_images: int) -> list[float]:
    """Energies (eV) along the minimum-energy path from a site to its image above the next ion."""
    first = start.copy()
    first.set_constraint()
    first.calc = start.calc
    BFGS(first, logfile=None).run(fmax=FMAX / 2, steps=200)
    position = first.positions[0, :2]
    along = int(abs(position[1]) > abs(position[0]))  # the direction in which it leans
    last = first.copy()
    last.positions[:, along] = np.sign(position[along]) * SIDE - last.positions[:, along]
    swapped = last.positions[[0, 2, 1]]  # which hydrogen is which does not matter
    if abs(swapped - first.positions).sum() < abs(last.positions - first.positions).sum():
        last.positions = swapped
    images = [first, *(first.copy() for _ in range(n_images)), last]
    for image in images:
        image.calc = start.calc
    band = NEB(images, climb=True, k=0.5, method="improvedtangent", allow_shared_calculator=True)
    band.interpolate()
    FIRE(band, logfile=None).run(fmax=3 * FMAX, steps=300)
    return [image.get_potential_energy() for image in images]


def draw(
    energies: dict[tuple[int, int], float], grid: int, path: np.ndarray, known: dict[str, float]
) -> Figure:
    """The map of the cell, unfolded from its triangle, and the path."""
    figure, (left, right) = new_figure(2)
    steps = np.abs(np.arange(-grid + 1, grid))
    unfolded = np.array([[energies[min(a, b), max(a, b)] for a in steps] for b in steps])
    side = np.linspace(-SIDE / 2, SIDE / 2, len(steps))
    filled = left.contourf(side, side, unfolded, levels=24, cmap="viridis")
    figure.colorbar(filled, ax=left, label="lowest energy (meV)")
    left.plot(0, 0, "o", color="white", markersize=9)
    left.text(0.12, 0.12, "Na", color="white")
    corners = SIDE / 2 * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    left.plot(*corners.T, "o", color=ORANGE, markersize=9, clip_on=False)
    left.set(xlabel="x of the oxygen (Å)", ylabel="y (Å)", aspect="equal", title="water on NaCl")
    along = np.linspace(0, 1, len(path))
    right.plot(along, path, "o-", color=BLUE, label="force field of three atoms")
    right.axhline(known["barrier"], color=ORANGE, linestyle="--", label="barrier of the reference")
    right.set(xlabel="path to the next site", ylabel="energy (meV)", title="hop")
    right.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
