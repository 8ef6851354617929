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
    """Clouds labelled with the indices of their classes, and the names of the classes."""

    clouds: Labelled[Clouds]
    names: tuple[str, ...]


def stand_in(n_per_class: int, n_points: int, seed: int) -> Shapes:
    """Procedural shapes, each rotated about z by a random angle; float64."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(CLASSES)), n_per_class)
    pairs = [_cloud(CLASSES[label].mesh(rng), n_points, rng, NOISE) for label in labels]
    return _join(pairs, labels, [shape.name for shape in CLASSES])


def read_folder(
    folder: str, split: str, n_points: int, seed: int, most_per_class: int | None = None
) -> Shapes:
    """Shapes from FOLDER/CLASS/SPLIT/*.off, each rotated about z by a random angle; float64.

    Args:
        folder: that of ModelNet-40, aligned, or one like it.
        split: "train" or "test".
        n_points: of each cloud.
        seed: of the points, the angles and the choice of files.
        most_per_class: files to take of each class; None: all.

    Raises:
        FileNotFoundError: there is no such folder, or a class without files.
        ValueError: a malformed file.
    """
    names = sorted(path.name for path in Path(folder).glob("*") if (path / split).is_dir())
    if not names:
        raise FileNotFoundError(
            f"{folder!r} holds no folders CLASS/{split} with OFF files; expected the layout of "
            "ModelNet-40, such as chair/train/chair_0001.off"
        )
    rng = np.random.default_rng(seed)
    pairs, labels = [], []
    for label, name in enumerate(names):
        paths = sorted((Path(folder) / name / split).glob("*.off"))
        if not paths:
            raise FileNotFoundError(f"{str(Path(folder) / name / split)!r} holds no OFF files")
        for k in sorted(rng.permutation(len(paths))[:most_per_class]):
            pairs.append(_cloud(read_off(paths[k]), n_points, rng))
            labels.append(label)
    return _join(pairs, labels, names)


def split_shapes(shapes: Shapes, n_per_class: int) -> tuple[Labelled[Clouds], Labelled[Clouds]]:
    """All but the last clouds of each class for training, and these for validation.

    Raises:
        ValueError: a class has too few clouds.
    """
    held_out = torch.zeros(len(shapes.clouds), dtype=torch.bool)
    for label, name in enumerate(shapes.names):
        members = (shapes.clouds.labels == label).nonzero().squeeze(1)
        if len(members) <= n_per_class:
            raise ValueError(
                f"class {name!r} has {len(members)} clouds; expected more than the {n_per_class} "
                "that are set apart for validation"
            )
        held_out[members[len(members) - n_per_class :]] = True
    train, valid = (mask.nonzero().squeeze(1) for mask in (~held_out, held_out))
    return shapes.clouds.select(train), shapes.clouds.select(valid)


def _cloud(
    mesh: Mesh, n_points: int, rng: np.random.Generator, noise: float = 0.0
) -> tuple[Array, Array]:
    points, normals = sample_surface(mesh, n_points, rng)
    matrix = rotation(Z, rng.uniform(0, 2 * np.pi)).T
    points = points - points.mean(axis=0)
    points /= np.linalg.norm(points, axis=1).max()
    points += noise * rng.normal(size=points.shape)
    return points @ matrix, normals @ matrix


def _join(pairs: list[tuple[Array, Array]], labels: Iterable[int], names: Iterable[str]) -> Shapes:
    points, normals = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    return Shapes(Labelled(Clouds(points, normals), torch.tensor(list(labels))), tuple(names))
