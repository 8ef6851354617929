"""Exploration: walkers move by one model, and the committee tells where it knows no more."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ase
import numpy as np

from sikff.forcefield import ForceField

from ..evaluation.predict import deviations
from ..simulation.walkers import Walker, Walkers

FRICTION = 0.01  # 1/fs
USELESS = 3.0  # times the limit: deviations of structures that are not worth a label


@dataclass(frozen=True)
class Frame:
    """A structure on the way of a walker.

    Attributes:
        atoms: the structure.
        temperature: of its walker, K.
        deviation: largest of an atom, eV/Å.
        walker: its number.
    """

    atoms: ase.Atoms
    temperature: float
    deviation: float
    walker: int = 0


@dataclass
class Exploration:
    """What walkers have seen.

    Attributes:
        frames: all at which the committee agreed, in the order of walkers and times.
        ends: where walkers were stopped, as far as that is worth a label.
        reasons: why walkers were stopped.
        early: number of walkers that were stopped at the first check.
        steps: of all walkers together.
    """

    frames: list[Frame] = field(default_factory=list)
    ends: list[Frame] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    early: int = 0
    steps: int = 0


@dataclass(frozen=True)
class Settings:
    """How walkers move.

    Attributes:
        timestep: fs.
        steps: of each walker.
        every: steps between checks.
        limit: deviation of an atom, eV/Å, at which a walker is stopped.
        pressure: GPa; None: cells stay.
    """

    timestep: float
    steps: int
    every: int
    limit: float
    pressure: float | None = None


def explore(
    models: Sequence[ForceField],
    walkers: Sequence[Walker],
    settings: Settings,
    problem: Callable[[ase.Atoms], str],
    rng: np.random.Generator,
) -> Exploration:
    """Moves walkers by the first model until they end, or the committee disagrees.

    Args:
        models: one that moves, and others that are asked as well; one alone is never stopped.
        walkers: changed in place; those that are stopped do not move any more.
        settings: how they move.
        problem: tells what is wrong with a structure; "" if nothing is.
        rng: of the thermostat.
    """
    found = Exploration()
    tracks: list[list[Frame]] = [[] for _ in walkers]
    batch = Walkers(models[0], walkers, settings.timestep, FRICTION, rng, settings.pressure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of structures beyond the data: that is what it is for
        for check in range(settings.steps // settings.every):
            moving = [index for index, walker in enumerate(walkers) if walker.moves]
            if not moving:
                break
            energies = batch.run(settings.every)
            found.steps += len(moving) * settings.every
            sane = [i for i in moving if np.isfinite(energies[i])]
            problems = {i: problem(walkers[i].atoms) for i in sane}
            asked = [i for i in sane if not problems[i]]
            spread = _deviations(models, [walkers[i].atoms for i in asked])
            of_walker = dict(zip(asked, spread, strict=True))
            for index in moving:
                frame = None
                if index in of_walker:
                    atoms, temperature = walkers[index].atoms.copy(), walkers[index].temperature
                    frame = Frame(atoms, temperature, of_walker[index], index)
                reason = _judge(frame, settings.limit, found, tracks[index])
                if reason is None:
                    continue
                walkers[index].moves = False
                found.reasons.append(reason or problems.get(index) or "atoms overlap")
                found.early += check == 0
    found.frames = [frame for track in tracks for frame in track]
    return found


def _judge(frame: Frame | None, limit: float, found: Exploration, track: list[Frame]) -> str | None:
    """Records where a walker is. Why it is stopped, "" if that is known; None: it goes on."""
    if frame is None:
        return ""
    if frame.deviation <= limit:
        track.append(frame)
        return None
    if frame.deviation <= USELESS * limit:
        found.ends.append(frame)
    return "the committee disagrees"


def _deviations(models: Sequence[ForceField], structures: list[ase.Atoms]) -> list[float]:
    if len(models) < 2 or not structures:
        return [0.0] * len(structures)
    return [float(each.max()) for each in deviations(models, structures, len(structures))]


def draw_from_each(tracks: Sequence[Sequence[Any]], count: int) -> list[Any]:
    """So many frames, as many of each track as of any other as far as they have them, evenly.

    Walkers that were stopped soon were where the model is worst: they count as much as others.
    """
    left = sorted((track for track in tracks if track), key=len)
    found: list[Any] = []
    for number, track in enumerate(left):
        share = -(-(count - len(found)) // (len(left) - number))
        found += draw_evenly(track, share)
    return found[:count]


def draw_evenly(frames: Sequence[Any], count: int) -> list[Any]:
    """So many of the frames, at equal distances in their order."""
    if len(frames) <= count:
        return list(frames)
    places = (np.arange(count) + 0.5) * len(frames) / count
    return [frames[int(place)] for place in places]
