"""How water moves on NaCl(001): jumps between its sites, diffusion, and the energy while it hops.

A molecule sits beside a sodium ion, in one of four places. It hops over the bridge to the next ion,
and it turns to the next place at the same ion; diffusion needs both. Molecules that feel a surface
of the model alone, and a bath that stands for its heat, are moved at three temperatures. Their
jumps are counted and compared with harmonic transition-state theory on the same model: paths and
frequencies. The theory forgets that some turn back, and takes wells and saddles for parabolas.

    python examples/hops_on_salt.py runs/water_on_salt/C4v/model.sikff

The model is the one that water_on_salt.py trains. It takes about four minutes on two cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.build import molecule
from side_by_side import dynamics

from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.surface.sites import equivalent_points
from sikff.training.evaluation.adsorbate import Adsorbate
from sikff.training.evaluation.hops import Hop, find_hops
from sikff.training.evaluation.plots import BLUE, GREY, ORANGE, new_figure, read_log, save_figure
from sikff.training.evaluation.site_map import find_minima, map_sites
from sikff.training.simulation.diffusion import Diffusion, diffusion_coefficient
from sikff.training.simulation.hop_rates import hop_rate
from sikff.training.simulation.jumps import Jumps, count_jumps, visited_sites
from sikff.training.simulation.md import MDSettings
from sikff.training.simulation.rates import Rate, counted_rate

REPLICAS = 24  # molecules too far apart to feel each other
APART = 10  # lattice vectors
FRICTION = 0.002  # 1/fs
EVERY = 5  # steps between looks at where molecules are
NAMES = ("turn", "hop")


class Found(NamedTuple):
    """What dynamics shows.

    Attributes:
        rates: of each path.
        jumps: all of them.
        diffusion: from displacements.
        tracks: centres of mass [frames, molecules, 3] (Å), ``interval`` fs apart.
    """

    rates: list[Rate]
    jumps: Jumps
    diffusion: Diffusion
    tracks: np.ndarray
    interval: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/hops_on_salt"))
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 400.0, 550.0])
    parser.add_argument(
        "--steps", type=int, default=12000, help="of 1 fs; a quarter of them in NVE"
    )
    parser.add_argument("--grid", type=int, default=6, help="places of the map along a side")
    options = parser.parse_args()
    output, temperatures = options.output, sorted(options.temperatures)
    output.mkdir(parents=True, exist_ok=True)

    adsorbate = on_surface(options.model)
    print("1. sites and the paths between them")
    sites = map_sites(adsorbate, options.grid, starts=4)
    minimum = find_minima(adsorbate, sites)[0]
    hops = sorted(find_hops(adsorbate, minimum.atoms, most=2), key=lambda hop: hop.distance)
    print(f"   {1000 * minimum.energy:.0f} meV at {minimum.place.round(3)} of the lattice vectors")
    for name, hop in zip(NAMES, hops, strict=False):
        print(f"   {name}: {hop.distance:.2f} Å, barrier {1000 * hop.barrier:.0f} meV")

    print(f"2. dynamics of {REPLICAS} molecules with friction, and without")
    start = minimum.atoms.positions
    work = partial(simulate, options.model, output, options.steps, start)
    jobs = [(t, "nvt", place) for place, t in enumerate(temperatures)]
    jobs.append((temperatures[-1], "nve", len(jobs)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        tracks = list(pool.map(work, jobs))
    places = equivalent_points(adsorbate.surface.corrugated, minimum.place)
    found = [
        analyse(adsorbate, places, hops, each, t)
        for each, t in zip(tracks, [*temperatures, temperatures[-1]], strict=True)
    ]
    report(adsorbate, hops, temperatures, found[:-1])
    path = output / "hops_on_salt.png"
    log = read_log(output / f"{temperatures[-1]:.0f}K_nve.csv")
    draw(adsorbate, hops, temperatures, found, log, path)
    print(f"wrote {path}")


def on_surface(path: Path) -> Adsorbate:
    """Water on the surface of a model."""
    model = load(path)
    water = molecule("H2O", info={"surface": model.surfaces[0]})
    return Adsorbate.of_model(water, SIKFFCalculator(model, device="cpu"))


def simulate(
    path: Path, output: Path, steps: int, start: np.ndarray, job: tuple[float, str, int]
) -> np.ndarray:
    """Centres of mass [frames, molecules, 3] (Å) in dynamics, ``EVERY`` fs apart, after a
    fifth of the run. NVE starts as the run with friction does, with half of its time step."""
    temperature, ensemble, place = job
    adsorbate = on_surface(path)
    lattice, atoms = APART * adsorbate.surface.lattice, Atoms()
    for k in range(REPLICAS):
        atoms += Atoms("OHH", start + k % 4 * lattice[0] + k // 4 * lattice[1])
    atoms.info, atoms.calc = dict(adsorbate.info), adsorbate.calculator
    common = {"temperature": temperature, "every": 20, "seed": place}
    if ensemble == "nvt":
        settings = MDSettings(surface_friction=FRICTION, timestep=1.0, steps=steps, **common)
    else:
        warm = MDSettings(surface_friction=0.05, timestep=1.0, steps=max(steps // 20, 1), **common)
        dynamics(atoms, warm, output / "warm.csv", lambda: None, place=place)
        settings = MDSettings(timestep=0.5, steps=max(steps // 4, 1), **common)
    tracks: list[np.ndarray] = []

    def observe() -> None:
        tracks.append(adsorbate.anchor(atoms.positions.reshape(REPLICAS, 3, 3)))

    log = output / f"{temperature:.0f}K_{ensemble}.csv"
    dynamics(atoms, settings, log, observe, place=place)
    looks = np.array(tracks)[:: EVERY * round(1.0 / settings.timestep)]
    return looks[len(looks) // 5 if ensemble == "nvt" else 0 :]


def analyse(
    adsorbate: Adsorbate, places: np.ndarray, hops: list[Hop], tracks: np.ndarray, t: float
) -> Found:
    """Jumps between equivalent places, by the path they took, and diffusion."""
    surface, interval = adsorbate.surface, float(EVERY)
    visited = visited_sites(tracks, surface.lattice, places, origin=surface.origin)
    jumps = count_jumps(visited, interval)
    lengths = np.linalg.norm(jumps.steps, axis=1)
    rates = []
    for hop in hops:
        along_path = np.isclose(lengths, hop.distance, atol=0.02)
        rates.append(counted_rate(int(along_path.sum()), jumps.rate.time))
    return Found(rates, jumps, diffusion_coefficient(tracks, interval), tracks, interval)


def report(
    adsorbate: Adsorbate, hops: list[Hop], temperatures: list[float], found: list[Found]
) -> None:
    """Print rates and diffusion at each temperature."""
    for temperature, each in zip(temperatures, found, strict=True):
        print(f"   {temperature:.0f} K:", end="")
        for name, hop, rate in zip(NAMES, hops, each.rates, strict=False):
            theory = hop_rate(adsorbate, hop, temperature)
            print(
                f" {name} {rate.value:.3f} ± {rate.error:.3f} 1/ps (theory {theory:.3f}),", end=""
            )
        d = each.diffusion
        print(
            f" other jumps {each.jumps.rate.events - sum(r.events for r in each.rates)};"
            f" D = {d.coefficient:.3f} ± {d.error:.3f} Å²/ps from displacements, "
            f"{each.jumps.diffusion:.3f} if jumps forgot each other"
        )


def draw(
    adsorbate: Adsorbate,
    hops: list[Hop],
    temperatures: list[float],
    found: list[Found],
    log: dict[str, np.ndarray],
    path: Path,
) -> None:
    """Rates and diffusion against 1/T; the energy and a molecule's place in NVE."""
    figure, (left, middle, right) = new_figure(3)
    *warm, nve = found
    inverse = 1000 / np.array(temperatures)
    grid = np.linspace(inverse.min() * 0.95, inverse.max() * 1.05, 40)
    for k, (name, hop, colour) in enumerate(zip(NAMES, hops, (BLUE, ORANGE), strict=False)):
        theory = [hop_rate(adsorbate, hop, 1000 / x) for x in grid]
        label = f"{name}, {1000 * hop.barrier:.0f} meV: theory"
        left.plot(grid, theory, color=colour, label=label)
        values, errors = np.array([each.rates[k][:2] for each in warm]).T
        left.errorbar(inverse, values, errors, fmt="o", color=colour, label=f"{name}: dynamics")
    left.set(xlabel="1000 K / T", ylabel="rate (1/ps)", yscale="log", title="jumps")
    left.legend(frameon=False, fontsize=8)
    values, errors = np.array([each.diffusion[:2] for each in warm]).T
    middle.errorbar(inverse, values, errors, fmt="o", color=BLUE, label="from displacements")
    forgetful = [each.jumps.diffusion for each in warm]
    middle.plot(inverse, forgetful, "s", color=GREY, label="if jumps forgot each other")
    middle.set(xlabel="1000 K / T", ylabel="diffusion (Å²/ps)", yscale="log", title="diffusion")
    middle.legend(frameon=False, fontsize=8)
    time = np.arange(len(nve.tracks)) * nve.interval / 1000
    side = np.linalg.norm(adsorbate.surface.lattice[0])
    away = nve.tracks - nve.tracks[0]
    farthest = np.linalg.norm(away[..., :2], axis=-1).max(axis=0).argmax()
    right.plot(time, away[:, farthest, 0] / side, color=BLUE, label="x / lattice vector")
    right.plot(time, away[:, farthest, 1] / side, color=GREY, label="y / lattice vector")
    change = 1000 * (log["etot_eV"] - log["etot_eV"][0]) / REPLICAS
    right.plot(log["time_fs"] / 1000, change, color=ORANGE, label="energy of a molecule, meV")
    right.set(xlabel="time (ps)", title="one molecule in NVE")
    right.legend(frameon=False, fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
