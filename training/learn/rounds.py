"""One round of learning: where walkers go, what is asked, and what the answers say of the model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np

from sikff.forcefield import ForceField

from ..evaluation.predict import predict
from ..simulation.md import thermal_momenta
from ..simulation.walkers import Walker
from . import sizes
from .config import LearnConfig
from .explore import Exploration, Settings, draw_from_each, explore
from .label_log import Label, LabelLog, Request, rms_force
from .pick import pick
from .state import State
from .surface import LEFT
from .system import System, choose_timestep

STOP = 0.65  # of the root mean square force component: error at which a walker stops
CANDIDATE = 4.0  # times the target: error from which a structure is uncertain
RAISED = 1.5  # factor of the first, where walkers stop too early
MANY = 1 / 3  # of the walkers
CALIBRATION = (0.5, 10.0)  # range of error over deviation
WILD = 5.0  # eV/Å, a force on an atom where no walker starts
GAIN, EXPONENT = 0.75, 0.8  # of a last training: a factor, and of the number of structures
BEFORE = 4.0  # times what is good enough, which the round before may have had


class Rounds:
    """The rounds of a run.

    Args:
        config: the run.
        system: what it learns.
        log: labels so far.
        state: where the run is; changed in place.
    """

    def __init__(self, config: LearnConfig, system: System, log: LabelLog, state: State) -> None:
        self.config, self.system, self.log, self.state = config, system, log, state
        self.timestep = choose_timestep(config, system.starts)
        self.pressure = config.pressure if config.ensemble == "npt" else None

    def explore(
        self, models: Sequence[ForceField], rng: np.random.Generator, seconds: float
    ) -> Exploration:
        """Moves the walkers, of which those that were stopped start again, by one of the models."""
        state = self.state
        self._place_walkers(rng)
        if not state.limit:
            state.limit = STOP * rms_force(self.log.labelled)
        turn = state.round % len(models)
        ordered = [models[turn], *models[:turn], *models[turn + 1 :]]
        steps = sizes.n_steps(state.round, seconds)
        limit = state.limit / state.calibration
        settings = Settings(self.timestep, steps, sizes.CHECK, limit, self.pressure)
        found = explore(ordered, state.walkers, settings, self.system.problem, rng)
        if found.early >= MANY * len(state.walkers):
            state.limit *= RAISED
        else:
            calm = STOP * rms_force(self.log.labelled)
            state.limit = max(calm, 0.001 * CANDIDATE * self.config.target)
        state.rounds.append(
            {
                "round": state.round,
                "steps": found.steps,
                "walkers": len(state.walkers),
                "alive": sum(w.moves for w in state.walkers) + found.reasons.count(LEFT),
                "reasons": found.reasons,
                "structures": len(self.log.labelled),
            }
        )
        return found

    def _place_walkers(self, rng: np.random.Generator) -> None:
        """Makes the walkers, or starts those again that were stopped, at labelled structures."""
        state = self.state
        if not state.walkers:
            temperatures = [*self.config.temperatures, self.config.hottest]
            largest = max(len(atoms) for atoms in self.system.starts)
            count = sizes.n_walkers(len(temperatures), largest)
            count = max(count, -(-len(self.system.starts) // len(temperatures)))
            state.walkers = [
                Walker(ase.Atoms(), temperature, moves=False)
                for _ in range(count)
                for temperature in temperatures
            ]
        places = self._places()
        order = rng.permutation(len(places))
        for number, walker in enumerate(state.walkers):
            if not walker.moves:
                atoms = places[order[number % len(places)]].copy()
                momenta = thermal_momenta(atoms, walker.temperature, rng)
                atoms.set_array("momenta", momenta)
                walker.atoms, walker.moves = atoms, True

    def _places(self) -> list[ase.Atoms]:
        """Labelled structures whose forces are not wild, or the starts."""
        places = [
            label.request.atoms
            for label in self.log.labelled
            if np.linalg.norm(label.forces, axis=1).max() < WILD
        ]
        return self.system.select_places(places) or self.system.starts

    def choose(
        self, found: Exploration, models: Sequence[ForceField], rng: np.random.Generator
    ) -> list[Request]:
        """Fresh structures, drawn evenly from the dynamics asked for, and uncertain ones."""
        state, config = self.state, self.config
        round_ = state.round
        measured = [f for f in found.frames if f.temperature <= max(config.temperatures)]
        breadth = self.system.breadth
        fresh = draw_from_each(_tracks(measured), sizes.n_fresh(round_, breadth))
        least = 0.001 * CANDIDATE * config.target / state.calibration
        uncertain = [f for f in (*found.frames, *found.ends) if f.deviation > least]
        known = [*(label.request.atoms for label in self.log.labelled), *(f.atoms for f in fresh)]
        whole = self.system.whole
        picked = pick(uncertain, known, sizes.n_picked(round_, breadth), whole)
        known += [frame.atoms for frame in picked]
        count = sizes.n_surveyed(round_, breadth)
        surveyed = self.system.survey(models, known, count, least, rng) if count else []
        requests: dict[str, Request] = {}
        for use, frames in (("fresh", fresh), ("picked", picked), ("survey", surveyed)):
            for frame in frames:
                atoms = _without_momenta(frame.atoms)
                request = Request(atoms, use, round_, frame.temperature or None, frame.deviation)
                if self.log.find(request) is None:
                    requests.setdefault(request.id, request)
        return list(requests.values())

    def measure(self, models: Sequence[ForceField], labels: Sequence[Label]) -> dict[str, Any]:
        """Compares the models that explored with the labels of what they found; sets the
        calibration, and returns the row of the round."""
        state, row = self.state, self.state.rounds[-1]
        turn = state.round % len(models)
        structures = [label.atoms for label in labels]
        of_models = [_errors(model, structures) for model in models]
        ratios = []
        for label, (force_error, _) in zip(labels, of_models[turn], strict=True):
            deviation = label.request.deviation
            if deviation:
                largest = float(np.linalg.norm(force_error, axis=1).max())
                ratios.append(largest / deviation)
                state.points.append((deviation, largest, label.request.use))
        if ratios:
            state.calibration = float(np.clip(np.median(ratios), *CALIBRATION))
        fresh = [index for index, label in enumerate(labels) if label.request.use == "fresh"]
        row["asked"] = len(self.log)
        row["calibration"] = state.calibration
        for name, which in (("force_mae", 0), ("energy_mae", 1)):
            values = [
                np.concatenate([np.abs(errors[index][which]).ravel() for index in fresh]).mean()
                for errors in of_models
                if fresh
            ]
            row[name] = 1000 * float(np.mean(values)) if values else None
        return row

    def words(self, row: dict[str, Any]) -> str:
        """A round in a line."""
        error = row["force_mae"]
        shown = "no fresh structure" if error is None else f"{error:.3g} meV/Å in fresh structures"
        return (
            f"round {row['round']}: {row['structures']} structures trained on, {shown}, "
            f"{row['alive']} of {row['walkers']} walkers went on, {row['asked']} labels asked for"
        )

    def is_good_enough(self) -> bool:
        """Whether a last training may reach the target.

        The error of a round is that before its labels were trained on. More structures lower it by
        a power of their number, and training from random weights at length by a factor.
        """
        rows = self.state.rounds
        errors = [row["force_mae"] for row in rows[-2:] if row.get("force_mae") is not None]
        if len(errors) < 2:
            return False
        enough = self.state.patience * self.config.target
        more = rows[-1]["structures"] / len(self.log.labelled)
        promised = GAIN * more**EXPONENT * errors[1]
        stopped = rows[-1]["walkers"] - rows[-1]["alive"]
        calm = stopped <= MANY * rows[-1]["walkers"]
        return promised <= enough and errors[0] <= BEFORE * enough and calm

    def fresh_of(
        self, model: ForceField, rng: np.random.Generator, seconds: float
    ) -> list[Request]:
        """Structures drawn evenly from the dynamics of a model, from where walkers are."""
        self._place_walkers(rng)
        hottest = max(self.config.temperatures)
        walkers = [
            Walker(walker.atoms.copy(), walker.temperature)
            for walker in self.state.walkers
            if walker.temperature <= hottest
        ]
        settings = Settings(
            self.timestep,
            sizes.n_steps(self.state.round, seconds),
            sizes.CHECK,
            np.inf,
            self.pressure,
        )
        found = explore([model], walkers, settings, self.system.problem, rng)
        # away from where other models were
        later = [track[len(track) // 2 :] for track in _tracks(found.frames)]
        frames = draw_from_each(later, sizes.FINAL)
        return [
            Request(_without_momenta(f.atoms), "final", self.state.round, f.temperature)
            for f in frames
        ]

    def measure_last(self, model: ForceField, labels: Sequence[Label]) -> dict[str, Any]:
        """Errors of the model of the last training, meV/Å and meV per atom, and by temperature."""
        if not labels:  # no structure of its dynamics makes sense
            nothing = dict.fromkeys(("force_mae", "force_rmse", "energy_mae"), float("inf"))
            return {**nothing, "by_temperature": {}, "structures": 0}
        errors = _errors(model, [label.atoms for label in labels])
        forces = np.concatenate([force.ravel() for force, _ in errors])
        by_temperature: dict[str, float] = {}
        for temperature in sorted({label.request.temperature or 0.0 for label in labels}):
            chosen = [
                np.abs(error).ravel()
                for label, (error, _) in zip(labels, errors, strict=True)
                if (label.request.temperature or 0.0) == temperature
            ]
            by_temperature[f"{temperature:g}"] = 1000 * float(np.concatenate(chosen).mean())
        return {
            "force_mae": 1000 * float(np.abs(forces).mean()),
            "force_rmse": 1000 * float(np.sqrt(np.mean(forces**2))),
            "energy_mae": 1000 * float(np.mean([abs(energy) for _, energy in errors])),
            "by_temperature": by_temperature,
            "structures": len(labels),
        }


def _tracks(frames: Sequence[Any]) -> list[list[Any]]:
    """The frames of each walker."""
    tracks: dict[int, list[Any]] = {}
    for frame in frames:
        tracks.setdefault(frame.walker, []).append(frame)
    return list(tracks.values())


def _errors(model: ForceField, structures: Sequence[ase.Atoms]) -> list[tuple[np.ndarray, float]]:
    """Errors of forces [N, 3] (eV/Å) and of the energy (eV per atom) of each structure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of structures beyond the data, which are to be measured
        found = predict(model, structures)
    return [
        (
            now.get_forces() - label.get_forces(),
            (now.get_potential_energy() - label.get_potential_energy()) / len(label),
        )
        for now, label in zip(found, structures, strict=True)
    ]


def _without_momenta(atoms: ase.Atoms) -> ase.Atoms:
    atoms = atoms.copy()
    atoms.set_array("momenta", None)
    return atoms
