"""CO on Cu(111), learned from EMT: the error in dynamics of EMT itself, which the run never saw.

    python tests/benchmarks/learning_surface.py [--seed 0] [--labels 300] [--output co_copper]

Runs `sikff learn` with a relaxed slab of 27 atoms. Then Langevin dynamics of EMT at 300 and 600 K
from six starts each, a frame every 60 fs after 0.5 ps. In EMT the molecule dissociates: frames
whose atoms have left each other, as the run understands it, are left out and counted.
"""

from __future__ import annotations

import argparse
import resource
import warnings
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase import units
from ase.build import fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin
from ase.optimize import BFGS

from sikff import load
from sikff.training.evaluation.predict import predict
from sikff.training.learn.config import LearnConfig
from sikff.training.learn.geometry import Physical
from sikff.training.learn.learn import learn
from sikff.training.simulation.md import thermal_momenta

STARTS, FRAMES, BEFORE, BETWEEN = 6, 30, 500, 60  # steps of 1 fs


def relaxed(atoms: ase.Atoms) -> ase.Atoms:
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=0.001)
    return atoms.copy()


def frames(
    slab: ase.Atoms, free: ase.Atoms, kelvin: float, rng: np.random.Generator
) -> list[ase.Atoms]:
    """Of the molecule alone, with the energy of the slab subtracted."""
    slab.calc = EMT()
    bare, n = slab.get_potential_energy(), len(slab)
    length, found = free.get_distance(0, 1), []
    for _ in range(STARTS):
        axis = rng.standard_normal(3)
        axis *= length / np.linalg.norm(axis)
        place = np.append(rng.random(2) @ slab.cell.array[:2, :2], slab.positions[:, 2].max())
        place[2] += 2.2 + max(0.0, -axis[2])
        both = slab.copy() + ase.Atoms("CO", [place, place + axis])
        both.set_constraint(FixAtoms(range(n)))
        both.calc = EMT()
        BFGS(both, logfile=None).run(fmax=0.5, steps=10)
        both.set_momenta(thermal_momenta(both, kelvin, rng))
        dynamics = Langevin(
            both, units.fs, temperature_K=kelvin, friction=0.01 / units.fs, fixcm=False, rng=rng
        )
        dynamics.run(BEFORE)
        for _ in range(FRAMES):
            dynamics.run(BETWEEN)
            frame = ase.Atoms("CO", both.positions[n:], cell=slab.cell, pbc=(True, True, False))
            energy = both.get_potential_energy() - bare
            forces = both.get_forces(apply_constraint=False)[n:]
            frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
            found.append(frame)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path("co_copper"))
    options = parser.parse_args()
    options.output.mkdir(exist_ok=True)
    slab = fcc111("Cu", (3, 3, 3), a=3.61, vacuum=8.0, periodic=True)
    slab.info = {}
    slab = relaxed(slab)
    free = relaxed(molecule("CO"))
    ase.io.write(options.output / "cu111.xyz", slab)
    ase.io.write(options.output / "CO.xyz", free)
    config = LearnConfig.model_validate(
        {
            "structures": options.output / "CO.xyz",
            "surface": {"slab": options.output / "cu111.xyz"},
            "calculator": {"name": "ase.calculators.emt.EMT"},
            "target": 30.0,
            "max_labels": options.labels,
            "max_minutes": None,
            "seed": options.seed,
            "output": options.output / f"seed_{options.seed}",
        }
    )
    learned = learn(config, resume=True)
    print(learned.words)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_utime:.0f} s of the processor")
    warnings.simplefilter("ignore")  # of frames beyond the data
    rng, model, problem = np.random.default_rng(7), load(learned.model), Physical([free]).problem
    for kelvin in (300.0, 600.0):
        labels = frames(slab, free, kelvin, rng)
        sane = [atoms for atoms in labels if not problem(atoms)]
        pairs = list(zip(sane, predict(model, sane), strict=True))
        force = [np.abs(a.get_forces() - b.get_forces()).mean() for a, b in pairs]
        energy = [abs(a.get_potential_energy() - b.get_potential_energy()) for a, b in pairs]
        print(
            f"{kelvin:g} K, {len(sane)} of {len(labels)} frames: "
            f"{1000 * np.mean(force):.3g} meV/Å, {1000 * np.mean(energy):.3g} meV"
        )


if __name__ == "__main__":
    main()
