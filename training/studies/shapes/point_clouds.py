"""Clouds of points with normals, from procedural shapes or from a folder of OFF files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sikff.groups.matrices import rotation

from ..samples import Labelled, Samples
from .mesh import Array, Mesh, read_off, sample_surface
from .shape_classes import CLASSES, Z

NOISE = 0.02  # of the points of procedural shapes; all clouds have a radius of 1


@dataclass(frozen=True, eq=False)
class Clouds(Samples):
    """N clouds of n points, in random order, around the origin; the farthest at distance 1.

    Attributes:
        points: [N, n, 3].
        normals: [N, n, 3].
    """

    VECTORS = ("points", "normals")

    points: Tensor
    normals: Tensor


@dataclass(frozen=True, eq=False)
class Shapes:
    """Clouds of several classes.

    Attributes:
        clouds: N of them, labelled with the numbers of their classes.
        names: of the classes.
    """

    clouds: Labelled[Clouds]
    names: tuple[str, ...]


def stand_in(n_per_class: int, n_points: int, seed: int) -> Shapes:
    """Procedural shapes, each turned about z by a random angle; float64.

    Args:
        n_per_class: clouds of each class.
        n_points: of each cloud.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), n_per_class)
    pairs = [_cloud(CLASSES[label].mesh(rng), n_points, rng, NOISE) for label in labels]
    return _join(pairs, labels, [each.name for each in CLASSES])


def read_folder(
    folder: str, split: str, n_points: int, seed: int, most_per_class: int | None = None
) -> Shapes:
    """Shapes from FOLDER/CLASS/SPLIT/*.off, each turned about z by a random angle; float64.

    Args:
        folder: that of ModelNet-40, aligned, or one like it.
        split: "train" or "test".
        n_points: of each cloud.
        seed: of the points, the angles and, if there are more, the choice of files.
        most_per_class: files to take of each class; None: all.

    Raises:
        FileNotFoundError: there is no such folder, or a class without files.
        ValueError: a file that is no surface, named.
    """
    found = sorted(path.name for path in Path(folder).glob("*") if (path / split).is_dir())
    if not found:
        raise FileNotFoundError(
            f"{folder!r} holds no folders CLASS/{split} with OFF files; expected the layout of "
            "ModelNet-40, such as chair/train/chair_0001.off"
        )
    rng = np.random.default_rng(seed)
    pairs, labels = [], []
    for label, name in enumerate(found):
        paths = sorted((Path(folder) / name / split).glob("*.off"))
        if not paths:
            raise FileNotFoundError(f"{str(Path(folder) / name / split)!r} holds no OFF files")
        for k in sorted(rng.permutation(len(paths))[:most_per_class]):
            pairs.append(_cloud(read_off(paths[k]), n_points, rng))
            labels.append(label)
    return _join(pairs, labels, found)


def split_shapes(shapes: Shapes, n_per_class: int) -> tuple[Labelled[Clouds], Labelled[Clouds]]:
    """All but the last clouds of each class, and these.

    Raises:
        ValueError: a class has no more than these.
    """
    last = []
    for label, name in enumerate(shapes.names):
        here = (shapes.clouds.labels == label).nonzero().squeeze(1)
        if len(here) <= n_per_class:
            raise ValueError(
                f"class {name!r} has {len(here)} clouds; expected more than the {n_per_class} "
                "that are set apart for validation"
            )
        last.append(here[len(here) - n_per_class :])
    held = torch.zeros(len(shapes.clouds), dtype=torch.bool)
    held[torch.cat(last)] = True
    rest, last_ones = (chosen.nonzero().squeeze(1) for chosen in (~held, held))
    return shapes.clouds.select(rest), shapes.clouds.select(last_ones)


def _cloud(
    mesh: Mesh, n_points: int, rng: np.random.Generator, noise: float = 0.0
) -> tuple[Array, Array]:
    points, normals = sample_surface(mesh, n_points, rng)
    turn = rotation(Z, rng.uniform(0, 2 * np.pi)).T
    points = points - points.mean(axis=0)
    points /= np.linalg.norm(points, axis=1).max()
    points += noise * rng.normal(size=points.shape)
    return points @ turn, normals @ turn


def _join(pairs: list[tuple[Array, Array]], labels: Iterable[int], names: Iterable[str]) -> Shapes:
    points, normals = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    return Shapes(Labelled(Clouds(points, normals), torch.tensor(list(labels))), tuple(names))
