"""Methanol in an electric field: train on DFT data, compare symmetry groups, run MD, draw it all.

A uniform field breaks the symmetry O(3) of free molecules to C_inf_v: rotations about the field and
mirrors that contain it. Two force fields are trained for the same time on the same frames
(data/methanol_field.xyz): one for C_inf_v, which is an O(3) model of the free molecule plus what
the field changes, and one for O(3), blind to the field. The first then drives molecular dynamics
with and without the field.

Run it with ``make demo``; it takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from side_by_side import dynamics, folder, fresh, processes, report
from side_by_side import train as train_all

from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import (
    BLUE,
    GREY,
    energy_drift,
    new_figure,
    read_log,
    save_figure,
)
from sikff.training.simulation.md import MDSettings

HERE = Path(__file__).parent
DATA = HERE / "data" / "methanol_field.xyz"
TEST_FRAMES = 60
STRENGTH = 0.01 * units.Hartree / units.Bohr  # V/Å, the strongest field of the data
TEMPERATURE = 300.0  # K
REPLICAS = 12  # molecules too far apart to feel each other: one trajectory samples many
SIZE = {"max_frequency": 2, "channels": 32}
IN_FIELD = {"group": "C_inf_v", "vacuum_group": "O(3)", "environment": {"field": True}}
MODELS = {
    "C_inf_v, reads the field": {**IN_FIELD, **SIZE},
    "O(3), blind to the field": {"group": "O(3)", **SIZE},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/demo"))
    parser.add_argument("--minutes", type=float, default=2.4, help="training time of each model")
    parser.add_argument("--steps", type=int, default=1000, help="steps of each simulation")
    options = parser.parse_args()
    output: Path = options.output
    began = time.monotonic()
    fresh(output, "test.xyz")

    frames = [atoms for atoms in ase.io.read(DATA, ":") if len(atoms) > 1]  # no free atoms
    train, test = frames[:-TEST_FRAMES], frames[-TEST_FRAMES:]
    ase.io.write(output / "train.xyz", train)
    ase.io.write(output / "test.xyz", test)
    print(f"1. {len(frames)} DFT frames of methanol in fields of 0 to {STRENGTH:.2f} V/Å along z")

    print(f"2. training {' and '.join(MODELS)}: {options.minutes:g} minutes each, side by side")
    data = {"train": str(output / "train.xyz"), "valid": 30}
    common = {"data": data, "batch_size": 8}
    train_all(output, {name: {"model": m, **common} for name, m in MODELS.items()}, options.minutes)
    unseen = read_structures(output / "test.xyz")
    evaluations = {
        name: evaluate(load(output / folder(name) / "model.sikff"), unseen) for name in MODELS
    }
    report(output, evaluations, TEST_FRAMES)

    print(f"3. dynamics of {REPLICAS} separate molecules at {TEMPERATURE:.0f} K: NVT with and")
    print("   without field, NVE in the field")
    charges = point_charges(train)
    runs = [("nvt", STRENGTH), ("nvt", 0.0), ("nve", STRENGTH)]
    with processes() as pool:
        jobs = [
            pool.submit(simulate, output, ensemble, strength, charges, options.steps, place)
            for place, (ensemble, strength) in enumerate(runs)
        ]
        (in_field, _), (free, _), (_, nve) = (job.result() for job in jobs)
    print(f"   mean cosine of dipole and field {in_field.mean():+.2f}, without {free.mean():+.2f}")
    print(f"   NVE energy drift {nve['drift_mev_per_atom_per_ps']:+.4f} meV/atom/ps")
    draw_orientations(in_field, free, dipole_moment(test, charges), output / "orientation.png")
    log = read_log(output / f"{name_of('nve', STRENGTH)}.csv")
    save_figure(energy_drift(log, 6 * REPLICAS), output / "nve_drift.png")

    pictures = ", ".join(sorted(path.name for path in output.glob("*.png")))
    print(f"pictures in {output}: {pictures}")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


def name_of(ensemble: str, strength: float) -> str:
    """Name of a simulation and its files."""
    return f"{ensemble}_{strength:.2f}"


def point_charges(frames: list[Atoms]) -> np.ndarray:
    """Charges [6] (e) of the atoms of methanol that best give the DFT dipoles of the data."""
    rows = np.concatenate([(a.positions - a.positions.mean(0)).T for a in frames])
    dipoles = np.concatenate([a.info["REF_dipole"] for a in frames])
    charges = np.linalg.lstsq(rows, dipoles, rcond=None)[0]
    return charges - charges.mean()


def replicas(frames: list[Atoms], strength: float) -> Atoms:
    """Molecules 40 Å apart, each with its own geometry and orientation."""
    atoms = Atoms()
    for k, frame in enumerate(frames):
        molecule = Atoms(frame.symbols, frame.positions)
        molecule.translate([40.0 * (k % 4), 40.0 * (k // 4), 0.0])
        atoms += molecule
    atoms.info["electric_field"] = [0.0, 0.0, strength]
    return atoms


def dipoles(atoms: Atoms, charges: np.ndarray) -> np.ndarray:
    """Dipole [n, 3] (e Å) of each molecule."""
    positions = atoms.positions.reshape(-1, len(charges), 3)
    positions = positions - positions.mean(1, keepdims=True)
    return np.einsum("a,nac->nc", charges, positions)


def dipole_moment(frames: list[Atoms], charges: np.ndarray) -> float:
    """Mean dipole moment (e Å) of the molecules."""
    moments = [np.linalg.norm(dipoles(Atoms(f.symbols, f.positions), charges)) for f in frames]
    return float(np.mean(moments))


def simulate(
    output: Path,
    ensemble: str,
    strength: float,
    charges: np.ndarray,
    steps: int,
    place: int,
    molecules: int = REPLICAS,
    friction: float = 0.02,
) -> tuple[np.ndarray, dict[str, float]]:
    """Run MD with the C_inf_v model; ``friction`` in 1/fs.

    Returns:
        The cosines [steps, molecules] of the angles between dipoles and field, the first quarter
        of the run left out, and the summary of the run.
    """
    atoms = replicas(ase.io.read(output / "test.xyz", f":{molecules}"), strength)
    atoms.calc = SIKFFCalculator(output / folder(next(iter(MODELS))) / "model.sikff", device="cpu")
    settings = MDSettings(
        ensemble=ensemble,
        steps=steps,
        timestep=1.0 if ensemble == "nvt" else 0.5,
        temperature=TEMPERATURE,
        friction=friction,
        every=5,
    )
    cosines: list[np.ndarray] = []
    name = name_of(ensemble, strength)

    def observe() -> None:
        moment = dipoles(atoms, charges)
        cosines.append(moment[:, 2] / np.linalg.norm(moment, axis=1))

    log, trajectory = output / f"{name}.csv", output / f"{name}.traj"
    summary = dynamics(atoms, settings, log, observe, trajectory, place)
    return np.array(cosines[steps // 4 :]), summary


def draw_orientations(in_field: np.ndarray, free: np.ndarray, moment: float, path: Path) -> None:
    """Distributions of the cosine, and that of a rigid dipole in the field."""
    figure, (ax,) = new_figure(1, width=5.2)
    bins = np.linspace(-1, 1, 17)
    ax.hist(free.ravel(), bins, density=True, alpha=0.5, color=GREY, label="MD, no field")
    ax.hist(
        in_field.ravel(), bins, density=True, alpha=0.5, color=BLUE, label=f"MD, {STRENGTH:.2f} V/Å"
    )
    x = np.linspace(-1, 1, 200)
    a = moment * STRENGTH / (units.kB * TEMPERATURE)
    ax.plot(x, a * np.exp(a * x) / (2 * np.sinh(a)), "k-", lw=1, label="rigid dipole (Langevin)")
    ax.set(xlabel="cosine of the angle between dipole and field", ylabel="probability density")
    ax.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
