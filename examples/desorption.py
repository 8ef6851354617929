"""How long does water stay on a surface? Residence times from MD, and from statistics.

Molecules start in the well of the surface at two temperatures. The share that has not yet been
beyond 7 Å falls with time; the line is what transition-state theory makes of the model's own
potential of mean force: the flux through 7 Å of molecules in equilibrium, which is an upper bound.

    python examples/desorption.py runs/water_on_graphene/C_inf_v/model.sikff

The model is the one that water_on_graphene.py trains. It takes about five minutes on two cores. A
surface with places holds its molecules longer:

    python examples/desorption.py runs/water_on_salt/C4v/model.sikff --temperatures 1200 1600
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np
from side_by_side import adsorbed_water, dynamics, processes, separate_copies

from sikff.training.evaluation.adsorbate import Adsorbate, orientations
from sikff.training.evaluation.mean_force import integrate
from sikff.training.evaluation.plots import BLUE, GREY, ORANGE, new_figure, save_figure
from sikff.training.evaluation.rigid_samples import energies_of
from sikff.training.simulation.desorption import desorption_rate, escape_rate, free_energy_at
from sikff.training.simulation.md import MDSettings

GONE = 7.0  # Å
TIMESTEP = 1.0  # fs
REPLICAS = 24
COLOURS = (BLUE, ORANGE, GREY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/desorption"))
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 450.0], help="K")
    parser.add_argument("--steps", type=int, default=5000, help="of 1 fs")
    parser.add_argument("--samples", type=int, default=4096, help="of rigid water at each place")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    work = partial(residence, options.model, options.output, options.steps, options.samples)
    jobs = list(enumerate(options.temperatures))
    with processes() as pool:
        results = dict(zip(options.temperatures, pool.map(work, jobs), strict=True))

    figure, (ax,) = new_figure(1, width=5.6)
    for k, (temperature, (heights, rate)) in enumerate(results.items()):
        gone = np.logical_or.accumulate(heights > GONE, axis=0)
        share, colour = 1 - gone.mean(axis=1), COLOURS[k % len(COLOURS)]
        time = TIMESTEP / 1000 * np.arange(len(share))
        ax.plot(time, share, color=colour, label=f"MD, {temperature:.0f} K")
        ax.plot(time, np.exp(-rate * time), "--", color=colour, label="transition-state theory")
        counted = escape_rate(heights, TIMESTEP, GONE)
        print(
            f"{temperature:.0f} K: {share[-1]:.0%} of {REPLICAS} molecules still there after "
            f"{time[-1]:.1f} ps, {counted.value:.3f} ± {counted.error:.3f} escapes per ps; "
            f"transition-state theory: {rate:.3g} per ps, residence time {1 / rate:.3g} ps"
        )
    ax.set(xlabel="time (ps)", ylabel="share not yet desorbed", ylim=(0, 1.02))
    ax.legend(frameon=False)
    save_figure(figure, options.output / "desorption.png")
    print(f"wrote {options.output / 'desorption.png'}")


def residence(
    path: Path, output: Path, steps: int, samples: int, job: tuple[int, float]
) -> tuple[np.ndarray, float]:
    """Heights [steps + 1, molecules] (Å) of molecules in dynamics; rate in theory (1/ps)."""
    place, temperature = job
    adsorbate = adsorbed_water(path)
    atoms = separate_copies(adsorbate, lowest(adsorbate), REPLICAS)
    settings = MDSettings(
        ensemble="nvt", steps=steps, timestep=TIMESTEP, temperature=temperature, friction=0.002
    )
    heights: list[np.ndarray] = []

    def observe() -> None:
        centres = adsorbate.anchor(atoms.positions.reshape(REPLICAS, -1, 3))
        heights.append(adsorbate.surface.heights(centres))

    dynamics(atoms, settings, output / f"{temperature:.0f}K.csv", observe, place=place)
    energies, mass = energies_of(adsorbate), adsorbate.free.get_masses().sum()
    well = integrate(adsorbate, energies, temperature, GONE, 6, samples)
    gone = well.vacuum + free_energy_at(adsorbate, energies, GONE, temperature)
    rate = desorption_rate(well.heights, well.profile, mass, temperature, gone)
    return np.array(heights), rate


def lowest(adsorbate: Adsorbate) -> np.ndarray:
    """Positions [atoms, 3] of a molecule in the well, relaxed from above the origin."""
    start = adsorbate.lowest(adsorbate.surface.origin, orientations(6, len(adsorbate)))
    return adsorbate.positions(adsorbate.relaxed(start, held=False))


if __name__ == "__main__":
    main()
