"""Silicon in fifteen minutes: train on small cells, then check what the crystal is used for.

A force field is trained on 98 structures of 2 to 64 atoms (data/silicon.xyz), which a published
potential labelled (SevenNet-0; not DFT). Lattice, stiffness, phonons, a vacancy and surfaces are
computed as ``sikff check`` does, and stand beside those of that potential and published ones of
DFT. Then 64 atoms are heated to 2000 K.

    python examples/silicon.py

It takes about twelve minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import ase.io
from ase.build import bulk
from side_by_side import fresh, train

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import save_figure
from sikff.training.properties.check import check, draw_findings
from sikff.training.properties.crystal import supercell
from sikff.training.properties.dynamics import run_dynamics
from sikff.training.properties.settings import CheckSettings

DATA = Path(__file__).parent / "data"
FRAMES, REFERENCE = DATA / "silicon.xyz", DATA / "silicon_properties.csv"
STATIC = ("eos", "elastic", "phonons", "vacancy", "surfaces")
DFT = {  # Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021), Table 1
    "bulk_modulus_GPa": 82,
    "C11_GPa": 147,
    "C12_GPa": 50,
    "C44_GPa": 73,
    "vacancy_of_Si0_eV": 3.67,
    "surface_100_J_per_m2": 2.17,
    "surface_110_J_per_m2": 1.52,
    "surface_111_J_per_m2": 1.56,
}
UNSTABLE = 1.6  # Å: no two atoms of silicon come as near, not even in a melt


def read_reference() -> dict[str, str]:
    """The properties of the potential that labelled the data."""
    with REFERENCE.open(encoding="utf-8") as file:
        return dict(csv.reader(file))


def look_at_crystal(
    model: ForceField, static: CheckSettings, picoseconds: float, picture: Path
) -> None:
    """Print properties beside those of the reference, heat the crystal, draw what was found."""
    print("2. properties of the crystal")
    crystal = bulk("Si", a=5.5, cubic=True)
    crystal.calc = SIKFFCalculator(model, dtype="float64")
    findings = check(crystal, static)
    reference = read_reference()
    print(f"   {'':26s} {'model':>24s} {'its reference':>24s} {'DFT':>6s}")
    for name, value in findings.table().items():
        found = value if isinstance(value, str) else f"{value:.4f}"
        print(f"   {name:26s} {found:>24s} {reference.get(name, ''):>24s} {DFT.get(name, ''):>6}")
    for note in findings.notes:
        print(f"   {note}")

    print(f"3. 64 atoms at 2000 K, {picoseconds:g} ps")
    dynamics = run_dynamics(supercell(findings.crystal, 10.0), 2000.0, picoseconds)
    verdict = "holds" if dynamics.nearest > UNSTABLE else "does not hold"
    print(f"   {verdict}: no atoms nearer than {dynamics.nearest:.2f} Å;")
    print(f"   they have moved by {dynamics.displacement:.2f} Å (0.4: a crystal, more: it melts)")
    figure = draw_findings(findings.model_copy(update={"dynamics": dynamics}))
    save_figure(figure, picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/silicon"))
    parser.add_argument("--minutes", type=float, default=10.0, help="training time")
    parser.add_argument("--properties", nargs="+", choices=STATIC, default=STATIC)
    parser.add_argument("--size", type=float, default=12.0, help="of supercells, Å")
    parser.add_argument("--picoseconds", type=float, default=5.0, help="of dynamics at 2000 K")
    options = parser.parse_args()
    output: Path = options.output
    began = time.monotonic()
    fresh(output, "train.xyz")

    frames = ase.io.read(FRAMES, ":")
    test = [atoms for atoms in frames if atoms.info["config_type"] == "test"]
    ase.io.write(output / "train.xyz", [atoms for atoms in frames if atoms not in test])
    print(f"1. training on {len(frames) - len(test)} structures, {options.minutes:g} minutes")
    train(output, {"Si": {"data": {"train": str(output / "train.xyz")}}}, options.minutes)
    model = load(output / "Si" / "model.sikff")
    print(f"\n   errors on {len(test)} others")
    for line in evaluate(model, test).lines:
        print(f"   {line}")

    static = CheckSettings(properties=options.properties, size=options.size)
    look_at_crystal(model, static, options.picoseconds, output / "silicon.png")
    print(f"wrote {output / 'Si' / 'model.sikff'}, {output / 'silicon.png'}")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
