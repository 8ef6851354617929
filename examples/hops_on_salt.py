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
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from side_by_side import adsorbed_water, dynamics, processes, separate_copies

from sikff.surface.sites import equivalent_points
from sikff.training.evaluation.adsorbate import Adsorbate
from sikff.training.evaluation.hops import Hop, find_hops
from sikff.training.evaluation.plots import BLUE, GREY, ORANGE, new_figure, read_log, save_figure
from sikff.training.evaluation.site_map import find_minima, map_sites
from sikff.training.evaluation.vibrations import harmonic_frequencies
from sikff.training.simulation.diffusion import Diffusion, diffusion_coefficient
from sikff.training.simulation.hop_rates import hop_rate
from sikff.training.simulation.jumps import Jumps, count_jumps, visited_sites
from sikff.training.simulation.md import MDSettings
from sikff.training.simulation.rates import Rate, counted_rate

REPLICAS = 32  # molecules too far apart to feel each other
FRICTION = 0.002  # 1/fs
EVERY = 5  # steps between looks at where molecules are
SAME = 0.1  # Å; a minimum that is nearer to a mirror line is on it
SODIUM = [[0.0, 0.0]]  # lattice coordinates


class Found(NamedTuple):
    """What dynamics shows.

    Attributes:
        rates: of turns to another place at the same ion, and of hops to another ion.
        jumps: all of them between places.
        diffusion: from displacements.
    """

    rates: dict[str, Rate]
    jumps: Jumps
    diffusion: Diffusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs/hops_on_salt"))
    parser.add_argument("--temperatures", type=float, nargs="+", default=[350.0, 450.0, 600.0])
    parser.add_argument(
        "--steps", type=int, default=6000, help="of 1 fs; a quarter of the time in NVE"
    )
    parser.add_argument("--grid", type=int, default=6, help="places of the map along a side")
    options = parser.parse_args()
    output, temperatures = options.output, sorted(options.temperatures)
    output.mkdir(parents=True, exist_ok=True)

    adsorbate = adsorbed_water(options.model)
    print("1. sites and the paths between them")
    sites = map_sites(adsorbate, options.grid, starts=4)
    minimum = find_minima(adsorbate, sites)[0]
    paths = find_hops(adsorbate, minimum.atoms, most=2)
    hops = sorted(filter(has_rate, paths), key=lambda hop: hop.distance)
    print(f"   {1000 * minimum.energy:.0f} meV at {minimum.place.round(3)} of the lattice vectors")
    for hop in hops:
        print(
            f"   {kind(adsorbate, hop)}: {hop.distance:.2f} Å, barrier {1000 * hop.barrier:.0f} meV"
        )
    if len(hops) < len(paths):
        print(f"   {len(paths) - len(hops)} paths have no saddle point: train the model for longer")

    print(f"2. dynamics of {REPLICAS} molecules with friction, and without")
    start = minimum.atoms.positions
    work = partial(simulate, options.model, output, options.steps, start)
    jobs = [(t, "nvt", place) for place, t in enumerate(temperatures)]
    jobs.append((temperatures[-1], "nve", len(jobs)))
    with processes() as pool:
        tracks = list(pool.map(work, jobs))
    places = equivalent_points(adsorbate.surface.corrugated, minimum.place, tolerance=SAME)
    found = [analyse(adsorbate, places, each) for each in tracks[:-1]]
    report(adsorbate, hops, temperatures, found)
    path = output / "hops_on_salt.png"
    log = read_log(output / f"{temperatures[-1]:.0f}K_nve.csv")
    draw(adsorbate, hops, temperatures, found, tracks[-1], log, path)
    print(f"wrote {path}")


def kind(adsorbate: Adsorbate, hop: Hop) -> str:
    """Whether a path leads to another place at the same ion, or to another ion."""
    return "turn" if hop.distance < np.linalg.norm(adsorbate.surface.lattice[0]) / 2 else "hop"


def has_rate(hop: Hop) -> bool:
    """Whether harmonic transition-state theory has a rate for a path."""
    minimum = harmonic_frequencies(hop.path[0]).wavenumbers
    return bool((minimum > 0).all() and (hop.vibrations.wavenumbers <= 0).sum() == 1)


def simulate(
    path: Path, output: Path, steps: int, start: np.ndarray, job: tuple[float, str, int]
) -> np.ndarray:
    """Centres of mass [frames, molecules, 3] (Å) in dynamics, ``EVERY`` fs apart, of warm
    molecules."""
    temperature, ensemble, place = job
    adsorbate = adsorbed_water(path)
    atoms = separate_copies(adsorbate, start, REPLICAS)
    common = {"temperature": temperature, "every": 20, "seed": place}
    warm = MDSettings(surface_friction=0.02, steps=max(steps // 20, 1), timestep=1.0, **common)
    dynamics(
        atoms, warm, output / f"{temperature:.0f}K_warm_{place}.csv", lambda: None, place=place
    )
    settings = MDSettings(surface_friction=FRICTION, steps=steps, timestep=1.0, **common)
    if ensemble == "nve":
        settings = MDSettings(steps=max(steps // 2, 1), timestep=0.5, **common)
    tracks: list[np.ndarray] = []

    def observe() -> None:
        tracks.append(adsorbate.anchor(atoms.positions.reshape(REPLICAS, 3, 3)))

    log = output / f"{temperature:.0f}K_{ensemble}.csv"
    dynamics(atoms, settings, log, observe, place=place)
    return np.array(tracks)[:: EVERY * round(1.0 / settings.timestep)]


def analyse(adsorbate: Adsorbate, places: np.ndarray, tracks: np.ndarray) -> Found:
    """Jumps between equivalent places and between ions, and diffusion."""
    surface, interval = adsorbate.surface, float(EVERY)
    found = {}
    for name, sites in (("turn", places), ("hop", SODIUM)):
        visited = visited_sites(tracks, surface.lattice, sites, origin=surface.origin)
        found[name] = count_jumps(visited, interval)
    jumps = found["turn"]
    stays = np.linalg.norm(jumps.steps, axis=1) < np.linalg.norm(surface.lattice[0]) / 2
    rates = {
        "turn": counted_rate(int(stays.sum()), jumps.rate.time),
        "hop": found["hop"].rate,
    }
    time = len(tracks) * interval / 1000
    lags = (time / 8, time / 2)  # molecules rattle in their wells for a few tenths of a ps
    return Found(rates, jumps, diffusion_coefficient(tracks, interval, lags))


def report(
    adsorbate: Adsorbate, hops: list[Hop], temperatures: list[float], found: list[Found]
) -> None:
    """Print rates and diffusion at each temperature."""
    for temperature, each in zip(temperatures, found, strict=True):
        print(f"   {temperature:.0f} K:", end="")
        for hop in hops:
            name, theory = kind(adsorbate, hop), hop_rate(adsorbate, hop, temperature)
            rate = each.rates[name]
            print(
                f" {name} {rate.value:.3f} ± {rate.error:.3f} 1/ps (theory {theory:.3f}),", end=""
            )
        d = each.diffusion
        print(
            f" D = {d.coefficient:.3f} ± {d.error:.3f} Å²/ps from displacements, "
            f"{each.jumps.diffusion:.3f} if jumps forgot each other"
        )


def draw(
    adsorbate: Adsorbate,
    hops: list[Hop],
    temperatures: list[float],
    warm: list[Found],
    nve: np.ndarray,
    log: dict[str, np.ndarray],
    path: Path,
) -> None:
    """Rates and diffusion against 1/T; the energy and a molecule's place in NVE."""
    figure, (left, middle, right) = new_figure(3)
    inverse = 1000 / np.array(temperatures)
    grid = np.linspace(inverse.min() * 0.95, inverse.max() * 1.05, 40)
    for hop, colour in zip(hops, (BLUE, ORANGE), strict=False):
        name = kind(adsorbate, hop)
        theory = [hop_rate(adsorbate, hop, 1000 / x) for x in grid]
        label = f"{name}, {1000 * hop.barrier:.0f} meV: theory"
        left.plot(grid, theory, color=colour, label=label)
        values, errors = np.array([each.rates[name][:2] for each in warm]).T
        left.errorbar(inverse, values, errors, fmt="o", color=colour, label=f"{name}: dynamics")
    left.set(xlabel="1000 K / T", ylabel="rate (1/ps)", yscale="log", title="jumps")
    left.legend(frameon=False, fontsize=8)
    values, errors = np.array([each.diffusion[:2] for each in warm]).T
    middle.errorbar(inverse, values, errors, fmt="o", color=BLUE, label="from displacements")
    forgetful = [each.jumps.diffusion for each in warm]
    middle.plot(inverse, forgetful, "s", color=GREY, label="if jumps forgot each other")
    middle.set(xlabel="1000 K / T", ylabel="diffusion (Å²/ps)", yscale="log", title="diffusion")
    middle.legend(frameon=False, fontsize=8)
    time = np.arange(len(nve)) * EVERY / 1000
    side = np.linalg.norm(adsorbate.surface.lattice[0])
    away = nve - nve[0]
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
