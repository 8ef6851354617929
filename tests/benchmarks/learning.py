"""The error of a learned force field in dynamics of its reference, which the run never saw.

    python tests/benchmarks/learning.py learned/model.sikff CH3OH

Langevin dynamics of GFN2-xTB (tblite) at 300 and 600 K from two starts each, a frame every 100 fs
after 1 ps: 120 frames, 32,000 calls. Several models may be given before the name of the molecule.
"""

import argparse
import warnings

import ase
import numpy as np
from ase import units
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin

from sikff import ForceField, load
from sikff.training.evaluation.predict import predict
from sikff.training.simulation.md import thermal_momenta

STEP, BEFORE, BETWEEN = 0.5, 2000, 200  # fs, steps
FRICTION = 0.01  # 1/fs


def frames(name: str, temperature: float, start: int, count: int) -> list[ase.Atoms]:
    from tblite.ase import TBLite

    atoms = molecule(name)
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    rng = np.random.default_rng((int(temperature), start))
    atoms.set_momenta(thermal_momenta(atoms, temperature, rng))
    dynamics = Langevin(
        atoms,
        STEP * units.fs,
        temperature_K=temperature,
        friction=FRICTION / units.fs,
        fixcm=False,  # True heats a molecule of six atoms to twice the temperature
        rng=rng,
    )
    dynamics.run(BEFORE)
    found = []
    for _ in range(count):
        dynamics.run(BETWEEN)
        copy = atoms.copy()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        copy.calc = SinglePointCalculator(copy, **results)
        found.append(copy)
    return found


def mean_error(model: ForceField, labels: list[ase.Atoms]) -> float:
    """Mean absolute error of forces, meV/Å."""
    pairs = zip(labels, predict(model, labels), strict=True)
    errors = [abs(found.get_forces() - label.get_forces()).mean() for label, found in pairs]
    return 1000 * float(np.mean(errors))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("name", help="of ase.build.molecule")
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--frames", type=int, default=30, help="of each start and temperature")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    labels = {
        temperature: [
            label
            for start in range(options.starts)
            for label in frames(options.name, temperature, start, options.frames)
        ]
        for temperature in (300.0, 600.0)
    }
    for path in options.models:
        model = load(path)
        errors = {temperature: mean_error(model, each) for temperature, each in labels.items()}
        shown = ", ".join(f"{error:.3g} at {kelvin:g} K" for kelvin, error in errors.items())
        told = model.provenance["learning"]["force_mae"]
        print(f"{path}: {np.mean(list(errors.values())):.3g} meV/Å ({shown}); {told:.3g} reported")


if __name__ == "__main__":
    main()
