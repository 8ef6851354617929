"""Lattice and elastic constants of a learned crystal beside those of its reference.

    python tests/benchmarks/learning_crystal.py learned/model.sikff Cu ase.calculators.emt.EMT
    python tests/benchmarks/learning_crystal.py learned/model.sikff Si \\
        sevenn.calculator.SevenNetCalculator model=7net-l3i5 device=cpu

Prints also how long a step of dynamics of 64 or more atoms takes, in time of the processor.
"""

import argparse
import time
import warnings

import ase
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet

from sikff.calculators import SIKFFCalculator
from sikff.training.learn.config import CalculatorConfig
from sikff.training.learn.reference import make_calculator
from sikff.training.properties.check import check
from sikff.training.properties.settings import CheckSettings

STEPS = 20
SHOWN = ("bulk_modulus_GPa", "C11_GPa", "C12_GPa", "C44_GPa")


def seconds_of_step(crystal: ase.Atoms) -> float:
    dynamics = VelocityVerlet(crystal, 2 * units.fs)
    dynamics.run(3)
    began = time.process_time()
    dynamics.run(STEPS)
    return (time.process_time() - began) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("element", help="in its cubic cell")
    parser.add_argument("calculator", help="class with its module")
    parser.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="of the class")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    arguments = dict(each.split("=") for each in options.arguments)
    reference = make_calculator(CalculatorConfig(name=options.calculator, arguments=arguments))
    cell = bulk(options.element, cubic=True)
    repeats = 2 if len(cell) > 4 else 3
    settings = CheckSettings(properties=("eos", "elastic"), size=1.0)
    for calculator in (reference, SIKFFCalculator(options.model, device="cpu")):
        crystal, large = cell.copy(), cell * (repeats, repeats, repeats)
        crystal.calc = large.calc = calculator
        found = check(crystal, settings).table()
        lattice = (float(found["volume_A3_per_atom"]) * len(cell)) ** (1 / 3)
        shown = ", ".join(f"{name} {float(found[name]):.1f}" for name in SHOWN)
        print(f"{type(calculator).__name__}: a {lattice:.4f} Å, {shown}")
        print(f"  a step of {len(large)} atoms: {1000 * seconds_of_step(large):.1f} ms")


if __name__ == "__main__":
    main()
