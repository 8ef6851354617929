"""From weak to strong fields: how far do dipoles turn? MD, integration and the Langevin function.

Separate molecules of methanol at 300 K in fields of different strengths, with the C_inf_v model
that demo.py trains. A rigid dipole mu has the mean cosine coth(a) - 1/a with a = mu F / kT, which
is a / 3 in a weak field. Two things are compared with it: dynamics, and the same model integrated
over all orientations of a rigid molecule, which has no statistical error.

    python examples/orientation.py runs/demo

It took 22 minutes on one core that other work shared. Its files go to the folder of the demo.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.optimize import BFGS
from demo import MODELS, TEMPERATURE, dipoles, point_charges, simulate
from scipy.spatial.transform import Rotation
from side_by_side import folder, processes
from stark_shift import along_z

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.plots import BLUE, ORANGE, new_figure, save_figure

KT = units.kB * TEMPERATURE
STRENGTHS = (0.025, 0.05, 0.1, 0.2)  # V/Å
MOLECULES = 32
FRICTION = 0.005  # 1/fs: little, so that molecules turn fast
N_POLAR, N_AZIMUTH = 20, 8  # orientations of the rigid molecule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="folder of a run of demo.py")
    parser.add_argument("--steps", type=int, default=4000, help="of 1 fs")
    options = parser.parse_args()

    charges = point_charges(ase.io.read(options.demo / "train.xyz", ":"))
    model = load(options.demo / folder(next(iter(MODELS))) / "model.sikff")
    calculator = SIKFFCalculator(model, device="cpu")
    test = ase.io.read(options.demo / "test.xyz", ":")
    compare_dipoles(model, test)
    rigid = relaxed(test[0], calculator)
    moment = float(np.linalg.norm(dipoles(rigid, charges)))

    work = partial(in_field, options.demo, charges, options.steps)
    with processes() as pool:
        sampled = list(pool.map(work, STRENGTHS))

    print(f"   dipole {moment:.3f} e Å; mean cosine of dipole and field at {TEMPERATURE:.0f} K")
    print("   V/Å     mu F / kT   MD              rigid, integrated   Langevin")
    integrated = []
    for strength, (mean, error) in zip(STRENGTHS, sampled, strict=True):
        integrated.append(mean_cosine(rigid, charges, calculator, strength))
        a = moment * strength / KT
        print(
            f"   {strength:.3f}{a:11.2f}{mean:12.3f} ± {error:.3f}"
            f"{integrated[-1]:14.3f}{langevin(a):18.3f}"
        )
    draw(moment, sampled, integrated, options.demo / "langevin.png")


def compare_dipoles(model: ForceField, frames: list[Atoms]) -> None:
    """Print how far -dE/dF, which the model was never shown, is from the dipoles of PBE.

    The energy that all orientations share may be any function of the field: a few strengths in the
    data do not tell its slope. It turns nothing, so it is told apart from the rest.
    """
    print("   dipoles along z (e Å) of unseen frames, -dE/dF of the model against PBE")
    print("   V/Å     spread    error of it    the same in all orientations")
    strengths = np.array([atoms.info["electric_field"][2] for atoms in frames])
    true = np.array([atoms.info["REF_dipole"][2] for atoms in frames])
    errors = np.array([along_z(model, atoms) for atoms in frames]) - true
    for strength in np.unique(strengths):
        chosen = strengths == strength
        print(
            f"   {strength:.3f}{true[chosen].std():9.3f}{errors[chosen].std():13.3f}"
            f"{errors[chosen].mean():+16.3f}"
        )


def relaxed(frame: Atoms, calculator: SIKFFCalculator) -> Atoms:
    """The molecule of a frame at its minimum without a field."""
    atoms = Atoms(frame.symbols, frame.positions, calculator=calculator)
    atoms.info["electric_field"] = [0.0, 0.0, 0.0]
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=100)
    return atoms


def in_field(output: Path, charges: np.ndarray, steps: int, strength: float) -> tuple[float, float]:
    """Mean cosine in MD and its standard error, from the spread over molecules."""
    place = STRENGTHS.index(strength)
    cosines, _ = simulate(output, "nvt", strength, charges, steps, place, MOLECULES, FRICTION)
    means = cosines.mean(0)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def mean_cosine(
    rigid: Atoms, charges: np.ndarray, calculator: SIKFFCalculator, strength: float
) -> float:
    """Boltzmann mean over all orientations of the rigid molecule in a field (V/Å) along z."""
    positions = rigid.positions - rigid.positions.mean(0)
    moment = dipoles(rigid, charges)[0]
    upright = Rotation.align_vectors([0.0, 0.0, 1.0], moment)[0].apply(positions)
    cosines, weights = np.polynomial.legendre.leggauss(N_POLAR)
    energies = np.zeros((N_POLAR, N_AZIMUTH))
    for i, j in np.ndindex(energies.shape):
        about_itself = Rotation.from_euler("z", 2 * np.pi * j / N_AZIMUTH)
        tilt = Rotation.from_euler("y", np.arccos(cosines[i]))
        atoms = Atoms(rigid.symbols, (tilt * about_itself).apply(upright), calculator=calculator)
        atoms.info["electric_field"] = [0.0, 0.0, strength]
        energies[i, j] = atoms.get_potential_energy()
    density = weights * np.exp(-(energies - energies.min()) / KT).mean(1)
    return float(cosines @ density / density.sum())


def langevin(a: np.ndarray | float) -> np.ndarray | float:
    """Mean cosine of a rigid dipole, a = mu F / kT > 0."""
    return 1 / np.tanh(a) - 1 / a


def draw(
    moment: float, sampled: list[tuple[float, float]], integrated: list[float], path: Path
) -> None:
    """Draw mean cosines against the strength of the field."""
    figure, (ax,) = new_figure(1, width=5.2)
    fields = np.linspace(1e-4, 1.1 * max(STRENGTHS), 200)
    a = moment * fields / KT
    ax.plot(fields, langevin(a), "k-", lw=1, label="rigid dipole (Langevin)")
    ax.plot(fields, a / 3, "k:", lw=1, label="weak field, $\\mu F / 3kT$")
    ax.plot(STRENGTHS, integrated, "s", mfc="none", color=ORANGE, label="rigid molecule, integral")
    means, errors = np.array(sampled).T
    ax.errorbar(STRENGTHS, means, errors, fmt="o", ms=4, color=BLUE, label="MD")
    ax.set(xlabel="field (V/Å)", ylabel="mean cosine of dipole and field", ylim=(0, 1))
    ax.legend(frameon=False)
    save_figure(figure, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
