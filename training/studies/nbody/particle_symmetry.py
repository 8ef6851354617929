"""Moving particles: the symmetry of a motion that is fitted without any."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp

from sikff.groups import SymmetryGroup

from ...data.structures import Structures
from ...symmetry.candidates import (
    DATA_GROUPS,
    Report,
    Trainer,
    judge_candidates,
    sample_elements,
    sort_by_size,
)
from ...symmetry.findings import Findings
from ...symmetry.lie import Defect, LieMatrix, find_axis, write_axis_notes
from ...symmetry.settings import SearchSettings
from ...symmetry.trials import MOST_TESTED, TEST_FRACTION, VALIDATION_FRACTION
from ..runner import train_model
from ..samples import Labelled, predict
from .nbody_study import NBodySettings, NBodyStudy
from .particle_files import particles
from .particle_graphs import ParticleGraphs
from .particle_models import find_kind

Motion = Callable[[Tensor], Tensor]  # vectors [T, n, k, 3] -> displacements [T, n, 3]

FEWEST = 20  # systems
WEIGHTS = 20_000  # of a model
CHUNK = 250  # systems that are evaluated at once


def find_symmetry_of_particles(
    structures: Structures, search: SearchSettings, report: Report = lambda line: None
) -> Findings:
    """The symmetry of the motion in a file, see :func:`find_symmetry_of_motion`.

    Args:
        structures: moving particles, as :func:`.particle_files.write_particles` writes them.
    """
    return find_symmetry_of_motion(*particles(structures), search, report, structures.source)


def find_symmetry_of_motion(
    graphs: ParticleGraphs,
    displacements: Tensor,
    search: SearchSettings,
    report: Report = lambda line: None,
    source: str = "trajectories",
) -> Findings:
    """The symmetry of the motion of particles.

    Args:
        graphs: T systems of n particles; their axis is not read.
        displacements: [T, n, 3].
        search: settings.
        report: called with a line before each training.
        source: their name.

    Raises:
        ValueError: too few systems, or axes that cannot be told apart.
    """
    motion = FittedMotion(graphs, displacements)
    lie = motion.lie_matrix(search.threshold)
    axis = find_axis(lie, search.axis)
    names = sort_by_size(search.groups or DATA_GROUPS)
    defects = {n: motion.defect(SymmetryGroup(n, axis), search.threshold) for n in names}
    trainer = None
    if search.epochs:
        for name in names:
            find_kind("sik", name, axis.tolist())
        on_axis = replace(graphs, axis=graphs.axis.new_tensor(axis))
        trainer = make_particle_trainer(
            on_axis, displacements, epochs=search.epochs, seed=search.seed
        )
    chosen, candidates = judge_candidates(names, defects, trainer, report)
    return Findings(
        f"{source}: {len(graphs)} systems of {graphs.positions.shape[1]} moving particles",
        chosen,
        axis,
        candidates,
        lie,
        notes=write_axis_notes(lie, axis),
        quantity="mean squared error of displacements",
    )


def make_particle_trainer(
    graphs: ParticleGraphs, displacements: Tensor, *, epochs: int, seed: int
) -> Trainer:
    """A trainer of models of moving particles; its errors are mean squares on test systems.

    Args:
        graphs: T systems; their axis is that of the groups.
        displacements: [T, n, 3].
        epochs: passes over the training systems.
        seed: of the split, the weights and the order.
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(graphs)))
    n_test = min(MOST_TESTED, round(TEST_FRACTION * len(graphs)))
    n_valid = min(MOST_TESTED, round(VALIDATION_FRACTION * len(graphs)))
    parts = order.split([n_test, n_valid, len(graphs) - n_test - n_valid])
    labelled = Labelled(graphs, displacements)
    test, valid, train = (labelled.select(part) for part in parts)

    def errors(name: str) -> np.ndarray:
        axis = tuple(graphs.axis.tolist())
        settings = NBodySettings(group=name, axis=axis, weights=WEIGHTS, epochs=epochs, seed=seed)
        study = NBodyStudy(settings)
        model = study.build(train).float()
        on_train, on_valid, on_test = (x.to("cpu", torch.float32) for x in (train, valid, test))
        train_model(study, model, on_train, on_valid)
        error = predict(model, on_test.inputs, CHUNK) - on_test.labels
        return error.square().mean(dim=(1, 2)).double().numpy()

    return errors


class FittedMotion:
    """Linear motions fitted without any symmetry, one to each half of the data.

    Symmetry breaking by terms of higher order only is not seen.

    Args:
        graphs: T systems of n particles, float64; their axis is not used.
        displacements: [T, n, 3].

    Raises:
        ValueError: too few systems.
    """

    def __init__(self, graphs: ParticleGraphs, displacements: Tensor) -> None:
        if len(graphs) < FEWEST:
            raise ValueError(f"expected {FEWEST} systems of particles at least; got {len(graphs)}")
        self.vectors, scalars = _features(graphs)
        self.size = float(displacements.square().sum(dim=(1, 2)).mean())
        self.halves = tuple(
            _linear_motion(self.vectors[half], scalars[half], displacements[half], scalars)
            for half in (slice(0, None, 2), slice(1, None, 2))
        )

    def lie_matrix(self, threshold: float) -> LieMatrix:
        """M of the displacements as a function of positions and velocities.

        Raises:
            ValueError: nothing moves.
        """
        first, second = (derivatives(motion, self.vectors).numpy() for motion in self.halves)
        return LieMatrix.of_derivatives(first, self.size, threshold, second)

    def defect(self, group: SymmetryGroup, threshold: float) -> Defect:
        """Of g^-1 f(g x) - f(x), over elements g of a group."""
        squares, noise = [], []
        for g in sample_elements(group).to(self.vectors):
            first, second = (
                motion(self.vectors @ g.T) @ g - motion(self.vectors) for motion in self.halves
            )
            squares.append(float((first * second).sum(dim=(1, 2)).mean()))
            noise.append(float((first - second).square().sum(dim=(1, 2)).mean()) / 4)
        return Defect.of_squares(
            float(np.mean(squares)) / self.size, float(np.mean(noise)) / self.size, threshold
        )


def derivatives(motion: Motion, vectors: Tensor) -> Tensor:
    """L_w f for w along x, y and z, [3, T, n, 3]: d/dt of g_t^-1 f(g_t u) at t = 0."""
    changes = []
    for axis in torch.eye(3).to(vectors):
        value, derivative, *_ = jvp(motion, (vectors,), (_cross(axis, vectors),))
        changes.append(derivative - _cross(axis, value))
    return torch.stack(changes)


def _features(graphs: ParticleGraphs) -> tuple[Tensor, Tensor]:
    """Vectors [T, n, 4, 3]: position, velocity, both again by the Laplacian of the springs; scalars
    [T, n, 2]."""
    state = torch.cat([graphs.positions, graphs.velocities], dim=-1)
    pulled = graphs.springs.sum(dim=-1, keepdim=True) * state - graphs.springs @ state
    return torch.cat([state, pulled], dim=-1).unflatten(-1, (4, 3)), graphs.scalars


def _linear_motion(vectors: Tensor, scalars: Tensor, targets: Tensor, test: Tensor) -> Motion:
    """The least-squares linear function of vectors [T, n, k, 3] at scalars `test` [T, n, 2]."""

    def features(vectors: Tensor, scalars: Tensor) -> Tensor:
        return torch.cat([vectors.flatten(-2), scalars, torch.ones_like(scalars[..., :1])], dim=-1)

    matrix = features(vectors, scalars).flatten(0, 1)
    # least norm: columns may be zero, or depend on each other
    weights = torch.linalg.lstsq(matrix, targets.flatten(0, 1), driver="gelsd").solution
    return lambda vectors: features(vectors, test) @ weights


def _cross(axis: Tensor, vectors: Tensor) -> Tensor:
    return torch.linalg.cross(axis.expand_as(vectors), vectors)
