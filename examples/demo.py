"""Methanol in an electric field: train on DFT data, compare symmetry groups, run MD, draw it all.

A uniform field breaks the symmetry O(3) of free molecules to C_inf_v: rotations about the field and
mirrors that contain it. Two force fields of the same size are trained for the same time on the same
frames (data/methanol_field.xyz): one for C_inf_v that reads the field, one for O(3) that cannot.
The first then drives molecular dynamics with and without the field.

Run it with ``make demo``; it takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import time
from pathlib import Path

import ase.io
import numpy as np
import yaml
from ase import Atoms, units
from tqdm import tqdm

from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.training.config import read_config
from sikff.training.data import Frames
from sikff.training.evaluate import Evaluation, evaluate
from sikff.training.fit import fit
from sikff.training.md import MDSettings, run_md
from sikff.training.plots import energy_drift, new_figure, parity, read_log, save_figure

HERE = Path(__file__).parent
DATA = HERE / "data" / "methanol_field.xyz"
TEST_FRAMES = 60
STRENGTH = 0.01 * units.Hartree / units.Bohr  # V/Å, the strongest field of the data
TEMPERATURE = 300.0  # K
REPLICAS = 12  # molecules too far apart to feel each other: one trajectory samples many
SIZE = {"max_frequency": 2, "channels": 32}
MODELS = {
    "C_inf_v, reads the field": {"group": "C_inf_v", "frame": {"field": True}, **SIZE},
    "O(3), blind to the field": {"group": "O(3)", **SIZE},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/demo"))
    parser.add_argument("--minutes", type=float, default=1.1, help="training time of each model")
    parser.add_argument("--steps", type=int, default=2000, help="MD steps of 1 fs in the field")
    options = parser.parse_args()
    began = time.monotonic()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    shutil.rmtree(options.output, ignore_errors=True)
    options.output.mkdir(parents=True)

    frames = ase.io.read(DATA, ":")
    train, test = frames[:-TEST_FRAMES], frames[-TEST_FRAMES:]
    ase.io.write(options.output / "train.xyz", train)
    print(f"\n1. {len(frames)} DFT frames of methanol in fields of 0 to {STRENGTH:.2f} V/Å along z")

    evaluations = {}
    for name, model in MODELS.items():
        print(f"\n2. training: {name}")
        path = train_model(options.output, name, model, options.minutes)
        evaluations[name] = evaluate(load(path), Frames(str(DATA), test, list(range(len(test)))))
    print_errors(evaluations)
    for name, evaluation in evaluations.items():
        figure = parity(evaluation, name)
        save_figure(figure, options.output / f"parity_{folder(name)}.png")

    print(f"\n3. NVT dynamics of {REPLICAS} molecules at {TEMPERATURE:.0f} K")
    calculator = SIKFFCalculator(options.output / folder(next(iter(MODELS))) / "model.sikff")
    charges = point_charges(train)
    cosines = {}
    for strength in (STRENGTH, 0.0):
        steps = options.steps if strength else options.steps // 2
        atoms = replicas(test, strength)
        atoms.calc = calculator
        cosines[strength] = orientations(atoms, charges, steps, options.output)
        print(f"   field {strength:.3f} V/Å: mean cosine {cosines[strength].mean():+.3f}")
    draw_orientations(cosines, charges, test, options.output / "orientation.png")

    print("\n4. NVE dynamics in the field")
    atoms = replicas(test, STRENGTH)
    atoms.calc = calculator
    settings = MDSettings(ensemble="nve", steps=options.steps, timestep=0.5, every=5)
    log = options.output / "nve.csv"
    with tqdm(total=settings.steps, unit="step") as bar:
        summary = run_md(atoms, settings, log, on_step=lambda: bar.update(1))
    print(f"   energy drift {summary['drift_mev_per_atom_per_ps']:+.4f} meV/atom/ps")
    save_figure(energy_drift(read_log(log), len(atoms)), options.output / "nve_drift.png")

    pictures = ", ".join(sorted(path.name for path in options.output.glob("*.png")))
    print(f"\npictures in {options.output}: {pictures}")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


def folder(name: str) -> str:
    """A model's name as a folder's."""
    return name.split(",")[0].replace("(", "").replace(")", "")


def train_model(output: Path, name: str, model: dict, minutes: float) -> Path:
    """Train one model; leaves its configuration, which ``sikff train`` would take as it is."""
    settings = {
        "data": {"train": str(output / "train.xyz"), "valid": 30},
        "model": model,
        "output": str(output / folder(name)),
        "max_minutes": minutes,
        "batch_size": 8,
        "lr": 0.01,
    }
    config = output / f"{folder(name)}.yaml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    return fit(read_config(config), progress=True, report=lambda line: print("  ", line))


def print_errors(evaluations: dict[str, Evaluation]) -> None:
    """Errors on frames that no model has seen."""
    print(f"\n   errors on {TEST_FRAMES} unseen frames    energy meV/atom   forces meV/Å (MAE)")
    for name, evaluation in evaluations.items():
        metrics = evaluation.metrics
        print(
            f"   {name:30s} {metrics['energy_mae_mev_per_atom']:15.1f} "
            f"{metrics['force_mae_mev_per_a']:14.1f}"
        )


def point_charges(frames: list[Atoms]) -> np.ndarray:
    """Charges [6] (e) of the atoms of methanol that best give the DFT dipoles of the data."""
    molecules = [atoms for atoms in frames if len(atoms) == 6]
    rows = np.concatenate([(a.positions - a.positions.mean(0)).T for a in molecules])
    dipoles = np.concatenate([a.info["REF_dipole"] for a in molecules])
    charges = np.linalg.lstsq(rows, dipoles, rcond=None)[0]
    return charges - charges.mean()


def replicas(frames: list[Atoms], strength: float) -> Atoms:
    """Molecules 40 Å apart, each with its own geometry and orientation."""
    atoms = Atoms()
    for k, frame in enumerate(frames[:REPLICAS]):
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


def orientations(atoms: Atoms, charges: np.ndarray, steps: int, output: Path) -> np.ndarray:
    """Cosines of the angle between dipole and field during NVT, the first quarter left out."""
    found: list[np.ndarray] = []
    settings = MDSettings(
        ensemble="nvt", steps=steps, timestep=1.0, temperature=TEMPERATURE, friction=0.02
    )
    with tqdm(total=steps, unit="step") as bar:

        def sample() -> None:
            bar.update(1)
            moment = dipoles(atoms, charges)
            found.append(moment[:, 2] / np.linalg.norm(moment, axis=1))

        run_md(atoms, settings, output / "nvt.csv", output / "nvt.traj", on_step=sample)
    return np.concatenate(found[steps // 4 :])


def draw_orientations(
    cosines: dict[float, np.ndarray], charges: np.ndarray, frames: list[Atoms], path: Path
) -> None:
    """Distribution of the cosine, and that of a rigid dipole in the field."""
    figure, (ax,) = new_figure(1, width=5.2)
    bins = np.linspace(-1, 1, 21)
    for strength, values in cosines.items():
        label = f"MD, field {strength:.2f} V/Å" if strength else "MD, no field"
        ax.hist(values, bins, density=True, alpha=0.5, label=label)
    moments = [np.linalg.norm(dipoles(Atoms(f.symbols, f.positions), charges)) for f in frames]
    x = np.linspace(-1, 1, 200)
    a = np.mean(moments) * STRENGTH / (units.kB * TEMPERATURE)
    ax.plot(x, a * np.exp(a * x) / (2 * np.sinh(a)), "k-", lw=1, label="rigid dipole (Langevin)")
    ax.set(xlabel="cosine of the angle between dipole and field", ylabel="probability density")
    ax.legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
