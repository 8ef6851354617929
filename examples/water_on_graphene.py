"""Water on graphene without graphene: the surface is a symmetry group and a height.

A flat surface breaks the symmetry O(3) of free molecules to C_inf_v: rotations about its normal and
mirrors that contain it. A force field of three atoms is trained on energies and forces of water on
a graphene sheet of 50 atoms (data/water_graphene.xyz, GFN1-xTB), as an O(3) model of free water
plus what the height changes; another, O(3) and blind to the surface, on the same frames. The first
is then compared with the reference where a chemist looks: binding curves of four orientations,
adsorption energy, the potential of mean force along the normal; and drives molecular dynamics.

    python examples/water_on_graphene.py

It takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.optimize import BFGS
from data.floor import residuals
from scipy.spatial.transform import Rotation
from side_by_side import dynamics, folder, fresh, report, train

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.graph import AtomicGraph
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import (
    BLUE,
    GREY,
    ORANGE,
    energy_drift,
    new_figure,
    read_log,
    save_figure,
)
from sikff.training.simulation.md import MDSettings

DATA = Path(__file__).parent / "data"
FRAMES, COPIES = DATA / "water_graphene.xyz", DATA / "water_graphene_copies.xyz"
CURVE, PMF = DATA / "water_graphene_curve.csv", DATA / "water_graphene_pmf.csv"
TEMPERATURE = 300.0  # K
REPLICAS = 16  # molecules too far apart to feel each other: one trajectory samples many
RANGE = 12.0  # Å; the reference is exactly that of free water from here on
SIZE = {"max_frequency": 2, "channels": 32}
SURFACE = {"plane_origin": [0.0, 0.0, 0.0], "plane_range": RANGE, "surfaces": ["graphene"]}
AXIAL, BLIND = "C_inf_v, sees the height", "O(3), blind to the surface"
MODELS = {
    AXIAL: {"group": "C_inf_v", "vacuum_group": "O(3)", "environment": SURFACE, **SIZE},
    BLIND: {"group": "O(3)", **SIZE},
}
TURNS = {  # degrees, axis: from both hydrogens down in the yz plane, as in data/surface.py
    "both_H_down": (0, "x"),
    "one_H_down": (-52, "x"),
    "O_down": (180, "x"),
    "flat": (90, "y"),
}
BINS = ((0.0, 8.0), (0.0, 2.5), (2.5, 3.5), (3.5, 8.0))  # Å, height of the centre of mass
PARTS = ("IsolatedAtom", "train", "test")
COLOURS = dict(zip(TURNS, (BLUE, ORANGE, GREY, "#3a8f5c"), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/water_on_graphene"))
    parser.add_argument("--minutes", type=float, default=2.5, help="training time of each model")
    parser.add_argument("--steps", type=int, default=1500, help="in NVT; half of them in NVE")
    parser.add_argument("--turns", type=int, default=256, help="orientations of rigid water")
    options = parser.parse_args()
    output: Path = options.output
    began = time.monotonic()
    fresh(output, "test_surface.xyz")

    n_test = write_frames(output)
    print(f"1. training {' and '.join(MODELS)}: {options.minutes:g} minutes each, side by side")
    common = {"batch_size": 16, "lr": 0.01}
    configs = {
        name: {"model": model, "data": {"train": str(output / f"train_{kind}.xyz"), "valid": 60}}
        for (name, model), kind in zip(MODELS.items(), ("surface", "blind"), strict=True)
    }
    train(output, {name: config | common for name, config in configs.items()}, options.minutes)
    models = {name: load(output / folder(name) / "model.sikff") for name in MODELS}
    evaluations = {
        name: evaluate(models[name], read_structures(output / f"test_{kind}.xyz"))
        for name, kind in zip(MODELS, ("surface", "blind"), strict=True)
    }
    report(output, evaluations, n_test)
    corrugation(models)

    print("2. binding curves and the potential of mean force along the normal")
    model = models[AXIAL]
    water = relaxed(model)
    binding(model, water, output / "binding.png")
    print(f"3. dynamics of {REPLICAS} separate molecules: NVT at {TEMPERATURE:.0f} K, then NVE")
    heights = simulate(model, water, "nvt", options.steps, output)
    simulate(model, water, "nve", options.steps // 2, output)
    log = read_log(output / "nve.csv")
    save_figure(energy_drift(log, 3 * REPLICAS), output / "nve_drift.png")
    mean_force(model, water, heights, options.turns, output / "mean_force.png")

    pictures = ", ".join(sorted(path.name for path in output.glob("*.png")))
    print(f"pictures in {output}: {pictures}")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


def write_frames(output: Path) -> int:
    """Write the parts of the data, for the blind model without a word of the surface.

    Returns:
        The number of test frames.
    """
    frames = ase.io.read(FRAMES, ":")
    for kind in ("surface", "blind"):
        for atoms in frames if kind == "blind" else ():
            del atoms.info["surface"]
        parts = {part: [a for a in frames if a.info["config_type"] == part] for part in PARTS}
        ase.io.write(output / f"train_{kind}.xyz", parts["IsolatedAtom"] + parts["train"])
        ase.io.write(output / f"test_{kind}.xyz", parts["test"])
    return len(parts["test"])


def corrugation(models: dict[str, ForceField]) -> None:
    """Print what no model of a flat surface can know, and the models' errors on the same frames."""
    frames = ase.io.read(COPIES, ":")
    true = [atoms.arrays["REF_forces"] for atoms in frames]
    print(f"\n   {len(frames)} frames nearer than 8 Å, each molecule at several lateral positions:")
    bins = "".join(f"{low:g} to {high:g}".rjust(11) for low, high in BINS)
    print(f"   {'height of the molecule (Å)':42s}{bins}")
    found = residuals(frames)
    show("the corrugation of the sheet, the floor", found.height, found.forces)
    height = np.array([atoms.get_center_of_mass()[2] for atoms in frames])
    for name, model in models.items():
        show(name, height, forces(model, [without(atoms, model) for atoms in frames]) - true)


def show(name: str, height: np.ndarray, errors: np.ndarray) -> None:
    """Print the mean of absolute errors (eV/Å) in meV/Å, by height."""
    chosen = [(low <= height) & (height < high) for low, high in BINS]
    print(f"   {name:42s}{''.join(f'{1000 * np.abs(errors[c]).mean():11.1f}' for c in chosen)}")


def without(atoms: Atoms, model: ForceField) -> Atoms:
    """The atoms, less the name of the surface if the model knows none."""
    atoms = atoms.copy()
    if not model.surfaces:
        del atoms.info["surface"]
    return atoms


def graphs(model: ForceField, frames: list[Atoms]) -> AtomicGraph:
    return AtomicGraph.batch_of(
        [
            AtomicGraph.from_atoms(a, model.cutoff, model.elements, surfaces=model.surfaces)
            for a in frames
        ]
    )


def forces(model: ForceField, frames: list[Atoms]) -> np.ndarray:
    """Forces (eV/Å) on all atoms, [frames, atoms, 3]."""
    return model(graphs(model, frames)).forces.numpy().reshape(len(frames), -1, 3)


def binding_energies(model: ForceField, frames: list[Atoms]) -> np.ndarray:
    """Energies (eV) on the surface over those of the same molecules in vacuum."""
    free = [atoms.copy() for atoms in frames]
    for atoms in free:
        atoms.info["surface"] = "vacuum"
    on, off = (model(graphs(model, each), forces=False).energy for each in (frames, free))
    return (on - off).detach().numpy()


def on_surface(positions: np.ndarray, height: float) -> Atoms:
    """Water raised by a height (Å)."""
    return Atoms("OHH", positions + np.array([0, 0, height]), info={"surface": "graphene"})


def relaxed(model: ForceField) -> Atoms:
    """Free water relaxed by the model, as ASE builds it: both hydrogens down."""
    atoms = molecule("H2O")
    atoms.calc = SIKFFCalculator(model, surface="vacuum")
    BFGS(atoms, logfile=None).run(fmax=1e-3, steps=200)
    return Atoms(atoms.symbols, atoms.positions)


def binding(model: ForceField, water: Atoms, path: Path) -> None:
    """Draw E(z) of rigid water in four orientations with the reference, and print its minimum."""
    figure, (ax,) = new_figure(1, width=5.6)
    reference = np.genfromtxt(CURVE, delimiter=",", names=True, dtype=None, encoding="utf-8")
    z = np.linspace(2.4, RANGE, 200)
    lowest = []
    for name, (angle, axis) in TURNS.items():
        turned = Atoms(water.symbols, water.positions - water.positions[0])
        turned.rotate(angle, axis)
        energy = binding_energies(model, [on_surface(turned.positions, h) for h in z])
        rows = reference[reference["orientation"] == name]
        label, colour = name.replace("_", " "), COLOURS[name]
        ax.plot(z, 1000 * energy, color=colour, label=label)
        mean, spread = 1000 * rows["energy_mean"], 1000 * rows["energy_std"]
        ax.errorbar(rows["height"], mean, spread, fmt="o", ms=3, color=colour, lw=0.8)
        k, r = energy.argmin(), rows["energy_mean"].argmin()
        lowest.append((energy[k], z[k], rows["energy_mean"][r], rows["height"][r], label))
    energy, height, true, true_height, label = min(lowest, key=lambda row: row[2])
    print(f"   adsorption, {label}: {1000 * energy:.0f} meV at {height:.2f} Å; reference, mean")
    print(f"   over the sheet: {1000 * true:.0f} meV at {true_height:.2f} Å (grid of 0.2 Å)")
    beyond = np.abs(binding_energies(model, [on_surface(water.positions, 2 * RANGE)]))[0]
    print(f"   beyond the range of the surface: {beyond:.1e} eV")
    ax.set(xlim=(2.4, 8), ylim=(-180, 250))
    ax.set(xlabel="height of O (Å)", ylabel="energy over free water (meV)")
    ax.legend(frameon=False, title="line: model; points: GFN1-xTB,\nbars: over the sheet")
    save_figure(figure, path)


def replicas(water: Atoms, n: int) -> Atoms:
    """Copies of a molecule in the well, turned at random and too far apart to feel each other."""
    atoms, rng = Atoms(), np.random.default_rng(0)
    for k in range(n):
        one = water.copy()
        one.rotate(360 * rng.random(), rng.normal(size=3), center="COM")
        one.translate((40.0 * (k % 4), 40.0 * (k // 4), 3.6) - one.get_center_of_mass())
        atoms += one
    return atoms


def heights_of(atoms: Atoms) -> np.ndarray:
    """Heights (Å) of the centres of mass of molecules of three atoms."""
    masses = atoms.get_masses()[:3]
    return atoms.positions[:, 2].reshape(-1, 3) @ masses / masses.sum()


def simulate(
    model: ForceField, water: Atoms, ensemble: str, steps: int, output: Path
) -> np.ndarray:
    """Run MD from the well.

    Returns:
        Heights (Å) of the centres of mass, the first quarter of the run left out.
    """
    atoms = replicas(water, REPLICAS)
    atoms.calc = SIKFFCalculator(model, device="cpu", surface="graphene")
    settings = MDSettings(
        ensemble=ensemble, steps=steps, timestep=0.5, temperature=TEMPERATURE, friction=0.02
    )
    heights: list[np.ndarray] = []
    log, trajectory = output / f"{ensemble}.csv", output / f"{ensemble}.traj"
    summary = dynamics(atoms, settings, log, lambda: heights.append(heights_of(atoms)), trajectory)
    if ensemble == "nve":
        print(f"   NVE energy drift {summary['drift_mev_per_atom_per_ps']:+.4f} meV/atom/ps")
    return np.concatenate(heights[steps // 4 :])


def potential_of_mean_force(
    model: ForceField, water: Atoms, z: np.ndarray, temperature: float, n_turns: int
) -> np.ndarray:
    """That of rigid water (eV) at heights z of its centre of mass (Å): all orientations."""
    rng, kt = np.random.default_rng(0), units.kB * temperature
    turns = Rotation.from_quat(np.roll(rng.normal(size=(n_turns, 4)), -1, axis=1))  # normalised
    centred = water.positions - water.get_center_of_mass()
    turned = [turn.apply(centred) for turn in turns]
    energies = [binding_energies(model, [on_surface(p, h) for p in turned]) for h in z]
    return -kt * np.log(np.exp(-np.array(energies) / kt).mean(axis=1))


def mean_force(
    model: ForceField, water: Atoms, heights: np.ndarray, n_turns: int, path: Path
) -> None:
    """Draw the potential of mean force of rigid water with the reference, and that of the MD."""
    reference = np.genfromtxt(PMF, delimiter=",", names=True)
    z, kt = np.linspace(2.6, RANGE, 60), units.kB * TEMPERATURE
    curve = potential_of_mean_force(model, water, z, TEMPERATURE, n_turns)
    at_reference = np.interp(reference["height"], z, curve)
    inside = (reference["height"] >= 2.6) & (reference["height"] < 8)
    error = 1000 * np.abs(at_reference - reference["free_energy"])[inside].mean()
    print(f"   potential of mean force: mean error {error:.1f} meV between 2.6 and 8 Å, kT is")
    print(f"   {1000 * kt:.1f} meV; minimum {1000 * curve.min():.0f} meV, reference", end=" ")
    print(f"{1000 * reference['free_energy'].min():.0f} meV")
    counts, edges = np.histogram(heights, np.arange(2.5, 6.0, 0.15))
    seen = counts > 100
    middle = (edges[1:] + edges[:-1])[seen] / 2
    from_md = -kt * np.log(counts[seen] / counts.max()) + curve.min()
    figure, (ax,) = new_figure(1, width=5.6)
    ax.plot(z, 1000 * curve, color=BLUE, label="model, rigid water, by integration")
    ax.plot(middle, 1000 * from_md, ".", color=ORANGE, label="model, MD (shifted)")
    values, errors = 1000 * reference["free_energy"], 1000 * reference["error"]
    ax.errorbar(reference["height"], values, errors, fmt="ko", ms=3, lw=0.8, label="GFN1-xTB")
    ax.set(xlim=(2.6, 9), ylim=(-130, 200))
    ax.set(xlabel="height of the centre of mass (Å)", ylabel="potential of mean force (meV)")
    ax.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
