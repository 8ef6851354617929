"""Lattice and elastic constants of a learned crystal beside those of its reference.

    python tests/benchmarks/learning_crystal.py model.sikff Cu ase.calculators.emt.EMT --frames 20
    python tests/benchmarks/learning_crystal.py model.sikff Si \\
        sevenn.calculator.SevenNetCalculator model=7net-l3i5 device=cpu

Prints also how long a step of dynamics of 64 or more atoms takes, in time of the processor, and
with --frames the error of forces in so many frames of the reference's own dynamics (npt), 100 fs
apart after 1 ps, at 300 and 600 K each.
"""

import argparse
import time
import warnings

import ase
import numpy as np
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from sikff.calculators import SIKFFCalculator
from sikff.training.learn.config import CalculatorConfig
from sikff.training.learn.reference import make_calculator
from sikff.training.properties.check import check
from sikff.training.properties.settings import CheckSettings
from sikff.training.simulation.md import run_md
from sikff.training.simulation.settings import MDSettings

STEPS = 20
BEFORE, BETWEEN = 500, 50  # steps of 2 fs
SHOWN = ("bulk_modulus_GPa", "C11_GPa", "C12_GPa", "C44_GPa")


def seconds_of_step(crystal: ase.Atoms) -> float:
    dynamics = VelocityVerlet(crystal, 2 * units.fs)
    dynamics.run(3)
    began = time.process_time()
    dynamics.run(STEPS)
    return (time.process_time() - began) / STEPS


def error_in_dynamics(crystal: ase.Atoms, model: SIKFFCalculator, kelvin: float, n: int) -> float:
    """Mean absolute error of forces, meV/Å, in dynamics of the crystal's calculator without
    pressure."""
    found: list[ase.Atoms] = []
    steps = BEFORE + n * BETWEEN
    settings = MDSettings(
        ensemble="npt", temperature=kelvin, timestep=2.0, steps=steps, every=BETWEEN
    )
    run_md(crystal, settings, trajectory=found)
    errors = [
        np.abs(model.get_forces(atoms.copy()) - atoms.get_forces()).mean() for atoms in found[-n:]
    ]
    return 1000 * float(np.mean(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("element", help="in its cubic cell")
    parser.add_argument("calculator", help="class with its module")
    parser.add_argument("--frames", type=int, default=0)
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="of the class")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    arguments = dict(each.split("=") for each in options.arguments)
    reference = make_calculator(CalculatorConfig(name=options.calculator, arguments=arguments))
    cell = bulk(options.element, cubic=True)
    repeats = 2 if len(cell) > 4 else 3
    settings = CheckSettings(properties=("eos", "elastic"), size=1.0)
    model = SIKFFCalculator(options.model, device="cpu")
    for calculator in (reference, model):
        crystal, large = cell.copy(), cell * (repeats, repeats, repeats)
        crystal.calc = large.calc = calculator
        found = check(crystal, settings).table()
        lattice = (float(found["volume_A3_per_atom"]) * len(cell)) ** (1 / 3)
        shown = ", ".join(f"{name} {float(found[name]):.1f}" for name in SHOWN)
        print(f"{type(calculator).__name__}: a {lattice:.4f} Å, {shown}")
        print(f"  a step of {len(large)} atoms: {1000 * seconds_of_step(large):.1f} ms")

    for kelvin in (300.0, 600.0) if options.frames else ():
        crystal = cell * (2, 2, 2)
        crystal.calc = reference
        error = error_in_dynamics(crystal, model, kelvin, options.frames)
        print(f"forces in dynamics of the reference at {kelvin:g} K: {error:.3g} meV/Å")


if __name__ == "__main__":
    main()
