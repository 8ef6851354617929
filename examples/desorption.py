"""How long does water stay on implicit graphene? Residence times from MD, and from statistics.

Molecules start in the well of the surface at two temperatures. The share that has not yet been
beyond 7 Å falls with time; the line is what transition-state theory makes of the model's own
potential of mean force: the flux through 7 Å of molecules in equilibrium, which is an upper bound.

    python examples/desorption.py runs/water_on_graphene/C_inf_v/model.sikff

The model is the one that water_on_graphene.py trains. It takes about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms, units
from side_by_side import dynamics
from water_on_graphene import heights_of, potential_of_mean_force, relaxed, replicas

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.plots import BLUE, ORANGE, new_figure, save_figure
from sikff.training.simulation.md import MDSettings

TEMPERATURES = (300.0, 450.0)  # K
GONE = 7.0  # Å
TIMESTEP = 1.0  # fs
REPLICAS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/desorption"))
    parser.add_argument("--steps", type=int, default=5000, help="of 1 fs")
    parser.add_argument("--turns", type=int, default=256, help="orientations of rigid water")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    work = partial(residence, options.model, options.output, options.steps, options.turns)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = dict(zip(TEMPERATURES, pool.map(work, TEMPERATURES), strict=True))

    figure, (ax,) = new_figure(1, width=5.6)
    for (temperature, (share, rate)), colour in zip(results.items(), (BLUE, ORANGE), strict=True):
        time = TIMESTEP / 1000 * np.arange(len(share))
        ax.plot(time, share, color=colour, label=f"MD, {temperature:.0f} K")
        ax.plot(time, np.exp(-rate * time), "--", color=colour, label="transition-state theory")
        print(
            f"{temperature:.0f} K: {share[-1]:.0%} of {REPLICAS} molecules still there after "
            f"{time[-1]:.1f} ps; transition-state theory: residence time {1 / rate:.1f} ps"
        )
    ax.set(xlabel="time (ps)", ylabel="share not yet desorbed", ylim=(0, 1.02))
    ax.legend(frameon=False)
    save_figure(figure, options.output / "desorption.png")
    print(f"wrote {options.output / 'desorption.png'}")


def residence(
    path: Path, output: Path, steps: int, n_turns: int, temperature: float
) -> tuple[np.ndarray, float]:
    """Share of molecules that have not been beyond `GONE` by each step; rate in theory (1/ps)."""
    model = load(path)
    water = relaxed(model)
    atoms = replicas(water, REPLICAS)
    atoms.calc = SIKFFCalculator(model, device="cpu", surface="graphene")
    settings = MDSettings(
        ensemble="nvt", steps=steps, timestep=TIMESTEP, temperature=temperature, friction=0.002
    )
    gone, share = np.zeros(REPLICAS, dtype=bool), []

    def observe() -> None:
        np.logical_or(gone, heights_of(atoms) > GONE, out=gone)
        share.append(1 - gone.mean())

    log, place = output / f"{temperature:.0f}K.csv", TEMPERATURES.index(temperature)
    dynamics(atoms, settings, log, observe, place=place)
    mass = water.get_masses().sum()
    return np.array(share), rate_in_theory(model, water, temperature, mass, n_turns)


def rate_in_theory(
    model: ForceField, water: Atoms, temperature: float, mass: float, n_turns: int
) -> float:
    """Flux through `GONE` of molecules in equilibrium below it, 1/ps."""
    z = np.linspace(2.6, GONE, 60)
    kt = units.kB * temperature
    weights = np.exp(-potential_of_mean_force(model, water, z, temperature, n_turns) / kt)
    inside = np.trapezoid(weights, z)
    speed = np.sqrt(kt / (2 * np.pi * mass)) * 1000 * units.fs  # Å/ps
    return float(speed * weights[-1] / inside)


if __name__ == "__main__":
    main()
