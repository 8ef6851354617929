"""Water on NaCl(001) without NaCl: the place above a crystal surface is a steerable attribute.

The surface is its lattice, its wallpaper group p4mm and a height. A force field of three atoms, of
the point group C4v, is trained on 333 frames of water on a slab of 36 ions (data/water_nacl.xyz,
GFN1-xTB); another, of C_inf_v, takes the surface for a flat one. The first is then asked what a
surface scientist asks, as ``sikff adsorption`` does: where does the molecule sit, how strongly, how
does it vibrate there, and how does it get to the next place? The second cannot know.

    python examples/water_on_salt.py

It takes about eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import ase.io
import numpy as np
from ase.build import molecule
from side_by_side import folder, fresh, report, train

from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.adsorbate import Adsorbate
from sikff.training.evaluation.adsorption import study
from sikff.training.evaluation.adsorption_figure import draw_adsorption
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import save_figure

DATA = Path(__file__).parent / "data"
FRAMES, COPIES = DATA / "water_nacl.xyz", DATA / "water_nacl_copies.xyz"
REFERENCE = DATA / "water_nacl_sites.json"
SIDE = 5.64 / np.sqrt(2)  # Å, of the primitive cell: sodium at its corners, chlorine in its centre
PLANE = {"plane_origin": [0.0, 0.0, 0.0], "plane_range": 12.0, "surfaces": ["nacl"]}
SALT = {**PLANE, "lattice": [[float(SIDE), 0.0], [0.0, float(SIDE)]], "wallpaper": "p4mm"}
SIZE = {"channels": 16, "vacuum_group": "O(3)"}
PLACES, FLAT = "C4v, sees places", "C_inf_v, sees the height"
MODELS = {
    PLACES: {"environment": SALT, **SIZE},
    FLAT: {"group": "C_inf_v", "environment": PLANE, **SIZE},
}
NAMES = ("turn", "hop")  # about a sodium ion, and to the next one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/water_on_salt"))
    parser.add_argument("--minutes", type=float, default=5.0, help="training time of each model")
    parser.add_argument("--grid", type=int, default=12, help="places along a side of the cell")
    parser.add_argument("--starts", type=int, default=4, help="orientations tried at each place")
    parser.add_argument("--images", type=int, default=7, help="between the ends of the path")
    options = parser.parse_args()
    output: Path = options.output
    began = time.monotonic()
    fresh(output, "train.xyz")

    frames = ase.io.read(FRAMES, ":")
    test = [atoms for atoms in frames if atoms.info["config_type"] == "test"]
    ase.io.write(output / "train.xyz", [atoms for atoms in frames if atoms not in test])
    print(f"1. training {' and '.join(MODELS)}: {options.minutes:g} minutes each, side by side")
    common = {"data": {"train": str(output / "train.xyz"), "valid": 33}}
    train(output, {name: common | {"model": m} for name, m in MODELS.items()}, options.minutes)
    models = {name: load(output / folder(name) / "model.sikff") for name in MODELS}
    report(output, {name: evaluate(model, test) for name, model in models.items()}, len(test))
    print("   the same for copies of 30 molecules at twelve places each:")
    for name, model in models.items():
        metrics = evaluate(model, ase.io.read(COPIES, ":")).metrics
        energy = 3 * metrics["energy_mae_mev_per_atom"]
        print(f"   {name:30s} {metrics['force_mae_mev_per_a']:.1f} meV/Å, {energy:.1f} meV")

    print("2. where the molecule sits, how it vibrates there, and how it hops to the next places")
    water = molecule("H2O", info={"surface": "nacl"})
    adsorbate = Adsorbate.of_model(water, SIKFFCalculator(models[PLACES]), anchor=0)
    found = study(adsorbate, options.grid, options.starts, images=options.images)
    print("\n".join(f"   {line}" for line in found.lines))
    known = json.loads(REFERENCE.read_text())
    print("3. the reference, GFN1-xTB with 36 ions")
    for name in ("minimum", *NAMES):
        place = known[name]
        print(f"   {name:8s} {place['energy_meV']:.0f} meV at {place['height_A']:.3f} Å")
    barriers = {name: known[name]["energy_meV"] - known["minimum"]["energy_meV"] for name in NAMES}
    for name, barrier in barriers.items():
        print(f"   barrier of the {name}: the reference has {barrier:.0f} meV")
    labels = {f"{name}, reference": barrier for name, barrier in barriers.items()}
    save_figure(draw_adsorption(found, labels), output / "water_on_salt.png")
    found.save(output / "adsorption")
    print(f"pictures in {output}: {', '.join(sorted(p.name for p in output.glob('*.png')))}")
    print(f"done in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
