"""What the examples share: trainings side by side, dynamics, which show how far they are, and water
on the surface of a model."""

from __future__ import annotations

import multiprocessing
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.build import molecule

from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.training.console import progress_bar
from sikff.training.evaluation.adsorbate import Adsorbate
from sikff.training.evaluation.evaluate import Evaluation
from sikff.training.evaluation.plots import learning_curves, parity, read_log, save_figure
from sikff.training.simulation.md import MDSettings, run_md

APART = 40.0  # Å, at least, between molecules that are not to feel each other
BAR = "{desc} {percentage:3.0f}% |{bar:30}| {n}/{total} {unit} [{elapsed}<{remaining}{postfix}]"


def fresh(output: Path, own: str) -> None:
    """Make an empty folder; an earlier run's, known by its file ``own``, is removed.

    Raises:
        SystemExit: if the folder is of something else.
    """
    if output.exists() and not (output / own).exists():
        raise SystemExit(f"{str(output)!r} is no earlier run of this; choose another --output")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)


def folder(name: str) -> str:
    """A model's name as a folder's."""
    return re.sub(r"[^\w+]+", "_", re.sub(r"[()]", "", name.split(", ")[0]))


def train(output: Path, configs: Mapping[str, dict[str, Any]], minutes: float) -> None:
    """Run ``sikff train`` for every configuration, by the name of its model, side by side.

    Raises:
        RuntimeError: if a training fails.
    """
    runs = {}
    for name, settings in configs.items():
        run = {"output": str(output / folder(name)), "max_minutes": minutes, "threads": 1}
        config = output / f"{folder(name)}.yaml"
        config.write_text(yaml.safe_dump(settings | run, sort_keys=False))
        command = [sys.executable, "-m", "sikff.training", "train", str(config), "--quiet"]
        runs[name] = subprocess.Popen(command)
    with progress_bar(total=round(60 * minutes), unit="s", bar_format=BAR) as bar:
        while any(run.poll() is None for run in runs.values()):
            time.sleep(1)
            bar.update(min(1, bar.total - bar.n))
            logs = {name: output / folder(name) / "log.csv" for name in runs}
            errors = {
                folder(name): f"{read_log(log)['force_mae_mev_per_a'][-1]:.0f} meV/Å"
                for name, log in logs.items()
                if log.exists()
            }
            bar.set_postfix(errors)
    for name, run in runs.items():
        if run.returncode:
            raise RuntimeError(f"training of {name} ended with exit code {run.returncode}")


def report(output: Path, evaluations: Mapping[str, Evaluation], n_frames: int) -> None:
    """Print errors on frames that no model has seen, and draw them."""
    print(f"\n   errors on {n_frames} unseen frames    energy meV/atom   forces meV/Å (MAE)")
    for name, evaluation in evaluations.items():
        metrics = evaluation.metrics
        print(
            f"   {name:30s} {metrics['energy_mae_mev_per_atom']:15.1f} "
            f"{metrics['force_mae_mev_per_a']:14.1f}"
        )
        save_figure(parity(evaluation, name), output / f"parity_{folder(name)}.png")
        log = read_log(output / folder(name) / "log.csv")
        save_figure(learning_curves(log), output / f"learning_{folder(name)}.png")


def processes(count: int = 2) -> ProcessPoolExecutor:
    """Processes that start afresh, of one thread each: for work side by side."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=torch.set_num_threads, initargs=(1,))


def dynamics(
    atoms: Atoms,
    settings: MDSettings,
    log: Path,
    observe: Callable[[], object],
    trajectory: Path | None = None,
    place: int = 0,
) -> dict[str, float]:
    """Run MD on one thread with a bar in line ``place``; ``observe`` is called after every step.

    Returns:
        As ``run_md``.
    """
    torch.set_num_threads(1)  # small tensors: more threads only get in each other's way
    shown = {"desc": f"   {log.stem}", "unit": "step", "position": place, "bar_format": BAR}
    with progress_bar(total=settings.steps, **shown) as bar:

        def on_step(step: int) -> None:
            bar.update(step - bar.n)
            observe()

        return run_md(atoms, settings, log, trajectory, on_step)


def adsorbed_water(path: Path) -> Adsorbate:
    """Water on the first surface of a model."""
    model = load(path)
    water = molecule("H2O", info={"surface": model.surfaces[0]} if model.surfaces else {})
    return Adsorbate.of_model(water, SIKFFCalculator(model, device="cpu"))


def separate_copies(adsorbate: Adsorbate, positions: np.ndarray, count: int) -> Atoms:
    """Molecules at equivalent places of a surface, too far apart to feel each other."""
    surface, atoms = adsorbate.surface, Atoms()
    vectors = APART * np.eye(3)[:2]  # the normal is z
    if surface.wallpaper is not None:
        shortest = np.linalg.norm(surface.lattice, axis=1)
        vectors = np.ceil(APART / shortest)[:, None] * surface.lattice
    for k in range(count):
        atoms += Atoms(adsorbate.free.numbers, positions + k % 8 * vectors[0] + k // 8 * vectors[1])
    atoms.info, atoms.calc = dict(adsorbate.info), adsorbate.calculator
    return atoms
