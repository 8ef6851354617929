"""The classes have the symmetries that the bounds are computed from, and no others."""

import numpy as np
import pytest
import torch

from sikff.groups import SymmetryGroup
from sikff.training.studies.shapes.mesh import Mesh, sample_surface
from sikff.training.studies.shapes.shape_classes import CLASSES, ShapeClass, bound
from symmetry_cases import turn_about
from tolerances import TOLERANCES

SMALL = TOLERANCES[torch.float64].invariance
Z = np.array([0.0, 0.0, 1.0])
UPRIGHT = SymmetryGroup("D_inf_h").elements  # one of each kind that keeps the axis


def lies_on(mesh: Mesh, points: np.ndarray, normals: np.ndarray) -> bool:
    """Whether each of the points is in a triangle with its normal."""
    a, b, c = mesh.vertices[mesh.triangles].swapaxes(0, 1)
    vectors = mesh.area_vectors
    areas = np.linalg.norm(vectors, axis=1)
    own = vectors / areas[:, None]

    def signed(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Areas of the triangles p, q, point: [points, triangles]."""
        crossed = np.cross(p - points[:, None], q - points[:, None])
        return np.einsum("ptx,tx->pt", crossed, own) / 2

    inside = np.minimum.reduce([signed(a, b), signed(b, c), signed(c, a)]) > -SMALL
    in_plane = np.abs(np.einsum("ptx,tx->pt", points[:, None] - a, own)) < SMALL
    same_side = normals @ own.T > 1 - SMALL
    return bool((inside & in_plane & same_side).any(axis=1).all())


def looks_like(mesh: Mesh, other: Mesh) -> bool:
    """Whether two upright surfaces are the same but for a turn about z."""
    points, normals = sample_surface(other, 60, np.random.default_rng(1))
    first = other.vertices[0]
    rho = np.linalg.norm(mesh.vertices[:, :2], axis=1)
    alike = np.isclose(rho, np.linalg.norm(first[:2])) & np.isclose(mesh.vertices[:, 2], first[2])
    azimuths = np.arctan2(*mesh.vertices[alike][:, 1::-1].T) - np.arctan2(first[1], first[0])
    turns = (turn_about(Z, angle) for angle in azimuths)
    return any(lies_on(mesh, points @ turn.T, normals @ turn.T) for turn in turns)


@pytest.mark.parametrize("each", CLASSES[:9], ids=lambda each: each.name)
def test_symmetry_of_the_families(each: ShapeClass) -> None:
    rng = np.random.default_rng(3)
    mesh = each.family(rng)
    group = SymmetryGroup(each.symmetry)
    for g in UPRIGHT:
        assert looks_like(mesh, mesh.moved(g)) == group.contains(g)


def test_classes_of_a_family_differ_by_placement_only() -> None:
    shapes = {each.name: each.mesh(np.random.default_rng(0)) for each in CLASSES}
    flip, mirror, level = np.diag([1, -1, -1]), np.diag([1, -1, 1]), np.diag([1, 1, -1])
    for one, other, g in (
        ("cone", "cone, tip down", flip),
        ("cone", "cone, tip down", -np.eye(3)),
        ("screw, right", "screw, left", mirror),
        ("screw, right", "screw, left", level),
        ("horn, right", "horn, left", mirror),
        ("horn, right", "horn, right, tip down", flip),
        ("horn, right", "horn, left, tip down", level),
        ("horn, left", "horn, left, tip down", flip),
    ):
        assert looks_like(shapes[other], shapes[one].moved(g))
        assert not looks_like(shapes[other], shapes[one])
    assert np.ptp(shapes["post"].vertices[:, 2]) > 1.2 * np.ptp(shapes["post"].vertices[:, 0])
    assert np.ptp(shapes["post, lying"].vertices[:, 0]) == np.ptp(shapes["post"].vertices[:, 2])


def test_right_screws_are_right_handed() -> None:
    """A point of a right-handed screw that goes up turns anticlockwise, seen from above."""
    names = [each.name for each in CLASSES]
    for name in ("screw, right", "horn, right", "horn, right, tip down"):
        mesh = CLASSES[names.index(name)].mesh(np.random.default_rng(0))
        low, high = mesh.vertices[0], mesh.vertices[4]  # the same corner, one floor on
        assert np.cross(low, high)[2] * (high[2] - low[2]) > 0


# told apart, by hand: ring, box; post | lying; cone | down; screw R | L; horn R L, R L down
@pytest.mark.parametrize(
    ("group", "told_apart"),
    [
        ("C1", 12),
        ("SO(2)", 12),
        ("C4", 12),
        ("C_inf_v", 2 + 2 + 2 + 1 + 2),
        ("C1v", 2 + 2 + 2 + 1 + 2),
        ("D_inf", 2 + 2 + 1 + 2 + 2),
        ("D3", 2 + 2 + 1 + 2 + 2),
        ("C_inf_h", 2 + 2 + 1 + 1 + 2),
        ("Cs", 2 + 2 + 1 + 1 + 2),
        ("Ci", 2 + 2 + 1 + 1 + 2),
        ("D_inf_h", 2 + 2 + 1 + 1 + 1),
        ("Oh", 2 + 2 + 1 + 1 + 1),
        ("SO(3)", 2 + 1 + 1 + 2 + 2),
        ("O(3)", 2 + 1 + 1 + 1 + 1),
    ],
)
def test_bounds_count_the_classes_a_group_distinguishes(group: str, told_apart: int) -> None:
    assert bound(SymmetryGroup(group)) == pytest.approx(told_apart / 12)
