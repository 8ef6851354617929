"""What a field does to a molecule: vibrational Stark shift, dipole and polarizability.

Two force fields are trained on water, methanol and acetonitrile in fields along z (energies and
forces of data/molecules_field.xyz, GFN2-xTB): one of C_inf_v, one of O(3) that is given the field
as a vector. The derivatives of their energies by the field are dipole and polarizability, which no
model was trained on. In fields along its axis the C-N stretch of acetonitrile shifts; the reference
is that of data/stark.py.

    python examples/stark_shift.py

It takes about six minutes on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from data.vibration import relaxed_stretch
from side_by_side import folder, report, train

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import BLUE, ORANGE, new_figure, save_figure

DATA = Path(__file__).parent / "data"
FRAMES, STARK = DATA / "molecules_field.xyz", DATA / "acetonitrile_stark.csv"
N_TEST = 90
BOND = (1, 2)  # C and N in ase.build.molecule("CH3CN")
SIZE = {"max_frequency": 2, "channels": 32, "environment": {"field": True}}
MODELS = {
    "C_inf_v, reads the field": {"group": "C_inf_v", "vacuum_group": "O(3)", **SIZE},
    "O(3), given the field": {"group": "O(3)", **SIZE},
}
COLOURS = dict(zip(MODELS, (BLUE, ORANGE), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/stark_shift"))
    parser.add_argument("--minutes", type=float, default=4.0, help="training time of each model")
    parser.add_argument("--frames", type=int, help="to train on (all but the test frames)")
    parser.add_argument("--test", type=int, default=N_TEST, help="frames to test on")
    parser.add_argument("--fields", type=int, help="fields of the shifts, from 0 V/Å on (all)")
    options = parser.parse_args()
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)

    frames = [atoms for atoms in ase.io.read(FRAMES, ":") if len(atoms) > 1]
    ase.io.write(output / "train.xyz", frames[:-N_TEST][: options.frames])
    ase.io.write(output / "test.xyz", frames[-options.test :])
    data = {"train": str(output / "train.xyz"), "valid": 40}
    configs = {name: {"model": m, "data": data, "batch_size": 8} for name, m in MODELS.items()}
    train(output, configs, options.minutes)
    models = {name: load(output / folder(name) / "model.sikff").double() for name in MODELS}
    unseen = read_structures(output / "test.xyz")
    report(output, {name: evaluate(model, unseen) for name, model in models.items()}, options.test)
    draw(models, frames[-options.test :], options.fields, output / "stark.png")


def draw(
    models: dict[str, ForceField], test: list[Atoms], n_fields: int | None, path: Path
) -> None:
    """Draw and print shifts of the stretch and dipoles, with their references."""
    figure, (left, right) = new_figure(2, width=4.6)
    reference = np.genfromtxt(STARK, delimiter=",", names=True)
    reference = reference[np.argsort(abs(reference["field"]), kind="stable")[:n_fields]]
    reference = np.sort(reference, order="field")
    at_zero = reference["frequency"][reference["field"] == 0]
    shifts = reference["frequency"] - at_zero
    left.plot(reference["field"], shifts, "ko", ms=4, label="GFN2-xTB")
    print("\n   C-N stretch of acetonitrile, dipoles along z of unseen frames")
    for name, model in models.items():
        found = np.array([stretch(model, field) for field in reference["field"]])
        own = found[reference["field"] == 0]
        left.plot(reference["field"], found - own, color=COLOURS[name], label=name)
        error = np.abs(found - own - shifts).mean()
        dipoles = np.array([along_z(model, atoms) for atoms in test])
        true = np.array([atoms.info["REF_dipole"][2] for atoms in test])
        right.plot(true, dipoles, ".", color=COLOURS[name], label=name)
        print(
            f"   {name:26s} {own[0]:7.0f}/cm without field (reference {at_zero[0]:.0f}), "
            f"shifts off by {error:.1f}/cm; dipoles off by {np.abs(dipoles - true).mean():.3f} e Å"
        )
    right.axline((0, 0), slope=1, color="k", lw=0.8)
    left.set(xlabel="field along the molecule (V/Å)", ylabel="shift of the C-N stretch (1/cm)")
    right.set(xlabel="dipole along z, GFN2-xTB (e Å)", ylabel="-dE/dF of the model (e Å)")
    for ax in (left, right):
        ax.legend(frameon=False)
    save_figure(figure, path)
    print(f"   wrote {path}")


def stretch(model: ForceField, field: float) -> float:
    """Frequency (1/cm) of the C-N stretch in a field (V/Å) along the molecule, from C to N.

    The data have fields along +z only, so for the other sign the molecule is turned.
    """
    atoms = molecule("CH3CN")
    if field < 0:
        atoms.rotate(180, "x")
    atoms.calc = SIKFFCalculator(model, device="cpu", electric_field=(0.0, 0.0, abs(field)))
    return relaxed_stretch(atoms, BOND)


def along_z(model: ForceField, atoms: Atoms) -> float:
    """-dE/dF along z (e Å), in the field of the frame."""
    response = SIKFFCalculator(model, device="cpu").get_field_response(atoms)
    return float(response.dipole @ response.directions[:, 2])


if __name__ == "__main__":
    main()
