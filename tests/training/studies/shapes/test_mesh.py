"""OFF files, and points that are drawn from surfaces."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sikff.training.studies.shapes.mesh import Mesh, read_off, sample_surface, write_off
from sikff.training.studies.shapes.shape_classes import CLASSES, MIRROR, TILT, box, tower
from tolerances import TOLERANCES

SQUARE = "0 0 0\n2 0 0\n2 2 0\n0 2 0\n"
TOLERANCE = TOLERANCES[torch.float64]


def written(folder: Path, text: str) -> Path:
    path = folder / "shape.off"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "head",
    ["OFF\n4 1 0\n", "OFF4 1 0\n", "OFF 4 1 0\n", "# made by hand\noff\n\n4 1 4 # edges\n"],
)
def test_all_forms_of_the_header_are_read(head: str, tmp_path: Path) -> None:
    mesh = read_off(written(tmp_path, f"{head}{SQUARE}4 0 1 2 3 255 0 0\n"))
    assert mesh.vertices.tolist() == [[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.area_vectors.sum(axis=0).tolist() == [0, 0, 4]


def test_faces_without_area_get_no_points(tmp_path: Path) -> None:
    text = f"OFF\n4 5 0\n{SQUARE}3 0 1 2\n3 1 1 3\n2 0 3\n1 0\n3 0 1 1\n"
    mesh = read_off(written(tmp_path, text))
    points, normals = sample_surface(mesh, 200, np.random.default_rng(0))
    assert (normals == [0, 0, 1]).all()
    assert (points[:, 0] >= points[:, 1]).all() and (points >= 0).all() and (points <= 2).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its first line does not begin with OFF"),
        ("PLY\n4 1 0\n", "its first line does not begin with OFF"),
        ("OFF\n4\n", "line 2 of .*: expected the numbers of vertices and faces; got '4'"),
        ("OFF4 -1 0\n", "line 1 of .*: expected the numbers of vertices and faces; got '4 -1 0'"),
        ("OFF\n1 1 0\n\n0 zero 0\n", "line 4 of .*: expected a vertex; got '0 zero 0'"),
        ("OFF\n1 1 0\n0 0\n", "line 3 of .*: expected a vertex; got '0 0'"),
        ("OFF\n1 1 0\n0 0 nan\n3 0 0 0\n", "vertices that are not finite"),
        (f"OFF\n4 1 0\n{SQUARE}3 0 1 4\n", "line 7 of .*: expected a face: .* below 4; got '3 0"),
        (f"OFF\n4 1 0\n{SQUARE}3 0 1 -1\n", "line 7 of .*: expected a face"),
        (f"OFF\n4 1 0\n{SQUARE}4 0 1 2\n", "line 7 of .*: expected a face"),
        (f"OFF\n4 1 0\n{SQUARE}0\n", "line 7 of .*: expected a face"),
        (f"OFF\n4 1 0\n{SQUARE}x 0 1 2\n", "line 7 of .*: expected a face"),
        (f"OFF\n4 2 0\n{SQUARE}3 0 1 2\n", "ends where a face.* was expected; is it complete"),
        (f"OFF\n4 1 0\n{SQUARE}3 0 1 1\n", "has 1 faces, but none of them has an area"),
        (f"OFF\n4 0 0\n{SQUARE}", "has 0 faces, but none of them has an area"),
    ],
)
def test_malformed_files_raise_with_the_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_off(written(tmp_path, text))
    assert "shape.off" in str(caught.value)


def test_a_written_mesh_reads_back(tmp_path: Path) -> None:
    mesh = CLASSES[-1].mesh(np.random.default_rng(0))
    write_off(tmp_path / "horn.off", mesh)
    again = read_off(tmp_path / "horn.off")
    assert np.array_equal(again.triangles, mesh.triangles)
    np.testing.assert_allclose(again.vertices, mesh.vertices, atol=TOLERANCES[torch.float32].parity)


def test_points_are_uniformly_distributed() -> None:
    """On a box of 1 x 2 x 3: each face by its area, and in each half of a face as many."""
    side = tower([np.sqrt(0.5)] * 2, [-0.5, 0.5], [np.pi / 4] * 2, n_sides=4)
    mesh = side.moved(np.diag([1.0, 2.0, 3.0]))
    n = 20_000
    points, normals = sample_surface(mesh, n, np.random.default_rng(0))
    halves = np.array([0.5, 1.0, 1.5])
    for axis, area in enumerate((6, 3, 2)):
        for sign in (-1, 1):
            here = normals[:, axis] * sign > 0.5
            plane = points[here, axis] - sign * halves[axis]
            assert np.abs(plane).max() < TOLERANCE.algebra
            assert np.abs(normals[here] - sign * np.eye(3)[axis]).max() < TOLERANCE.algebra
            assert abs(here.sum() - n * area / 22) < 5 * np.sqrt(n * area / 22)
            for other in {0, 1, 2} - {axis}:
                upper = (points[here, other] > 0.2 * halves[other]).sum()
                assert abs(upper - 0.4 * here.sum()) < 5 * np.sqrt(0.24 * here.sum())


@pytest.mark.parametrize("each", CLASSES, ids=lambda each: each.name)
def test_shapes_are_closed_and_their_normals_point_outwards(each) -> None:
    mesh = each.mesh(np.random.default_rng(0))
    assert np.abs(mesh.area_vectors.sum(axis=0)).max() < TOLERANCE.algebra
    centres = mesh.vertices[mesh.triangles].mean(axis=1)
    assert (mesh.area_vectors * centres).sum() / 3 > 0.5  # the volume, by Gauss's theorem
    edges = mesh.triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    assert sorted(map(tuple, edges)) == sorted(map(tuple, edges[:, ::-1]))


def test_normals_of_a_reflected_mesh_point_outwards() -> None:
    mesh = box(np.random.default_rng(0))
    for matrix in (MIRROR, TILT):
        moved = mesh.moved(matrix)
        np.testing.assert_allclose(
            moved.area_vectors[:, 0], (mesh.area_vectors @ matrix.T)[:, 0], atol=TOLERANCE.algebra
        )
        assert isinstance(moved, Mesh)
