"""What reading the charge is worth, and how far energies of ions add up.

CO and an artificial CO-, whose bond is 30 % softer and whose electron is bound by 3 eV, both from
ASE's EMT. Trains a model that reads the charge and one that does not, for a minute each; prints
their errors on unseen structures, and errors of sums of energies:

    python tests/benchmarks/charge.py --minutes 1
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import ase
import ase.io
import numpy as np
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

BINDING = 3.0  # eV, of the electron
SOFTER = 0.7


def ions(count: int, seed: int, name_charges: bool) -> list[ase.Atoms]:
    """CO and CO- in turn; without names for the charges a model has to be blind."""
    rng, frames = np.random.default_rng(seed), []
    for number in range(count):
        atoms, charge = molecule("CO"), -(number % 2)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        factor = SOFTER if charge else 1.0
        results = {
            "energy": factor * atoms.get_potential_energy() + BINDING * charge,
            "forces": factor * atoms.get_forces(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        if name_charges:
            atoms.info["charge"] = charge
        frames.append(atoms)
    return frames


def trained(folder: Path, reads: bool, minutes: float) -> ForceField:
    ase.io.write(folder / f"{reads}.xyz", ions(120, 0, reads))
    settings = {
        "data": {"train": folder / f"{reads}.xyz", "valid": 20},
        "model": {"environment": {"charge": reads}, "channels": 16},
        "output": folder / f"run-{reads}",
        "max_minutes": minutes,
    }
    return load(fit(TrainConfig.model_validate(settings)))


def total(model: ForceField, molecules: int, charge: int, apart: float) -> float:
    """Energy (eV) of molecules of CO, so far apart (Å)."""
    atoms = ase.Atoms()
    for number in range(molecules):
        there = molecule("CO")
        there.positions[:, 0] += apart * number
        atoms += there
    atoms.calc = SIKFFCalculator(model, device="cpu", dtype="float64", charge=charge)
    return float(atoms.get_potential_energy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    minutes = parser.parse_args().minutes
    with TemporaryDirectory() as folder:
        models = {reads: trained(Path(folder), reads, minutes) for reads in (True, False)}
    for reads, model in models.items():
        metrics = evaluate(model, ions(200, 1, reads)).metrics
        print(
            f"{'reads the charge' if reads else 'blind':18s}"
            f"energy MAE {metrics['energy_mae_mev_per_atom']:.3g} meV/atom, "
            f"force MAE {metrics['force_mae_mev_per_a']:.3g} meV/Å"
        )
    model = models[True]
    ion, neutral = (total(model, 1, charge, 0.0) for charge in (-1, 0))
    print(f"electron bound by {neutral - ion:.4g} eV in a molecule")
    for words, molecules, charge, expected in (
        ("2 CO", 2, 0, 2 * neutral),
        ("8 CO", 8, 0, 8 * neutral),
        ("2 CO-", 2, -2, 2 * ion),
        ("8 CO-", 8, -8, 8 * ion),
        ("CO- and CO", 2, -1, ion + neutral),
        ("CO- and 7 CO", 8, -1, ion + 7 * neutral),
    ):
        error = total(model, molecules, charge, 20.0) - expected
        print(f"{words:14s} 20 Å apart: {error:+.3g} eV from the sum")


if __name__ == "__main__":
    main()
