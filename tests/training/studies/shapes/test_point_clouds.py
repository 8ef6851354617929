"""Clouds from procedural shapes and from folders."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sikff.training.studies.shapes.mesh import write_off
from sikff.training.studies.shapes.point_clouds import read_folder, split_shapes, stand_in
from sikff.training.studies.shapes.shape_classes import CLASSES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for each in CLASSES[3:5]:
        for split, n in (("train", 4), ("test", 2)):
            for k in range(n):
                write_off(tmp_path / each.name / split / f"{k}.off", each.mesh(rng))
    (tmp_path / "README").write_text("not a class")
    return tmp_path


def test_stand_in() -> None:
    shapes = stand_in(3, 40, seed=0)
    clouds = shapes.clouds.inputs
    assert clouds.points.shape == clouds.normals.shape == (36, 40, 3)
    assert shapes.clouds.labels.tolist() == sorted(list(range(12)) * 3)
    assert shapes.names == tuple(each.name for each in CLASSES)
    assert torch.allclose(clouds.normals.norm(dim=-1), torch.ones(36, 40).double())
    radii = clouds.points.norm(dim=-1).amax(dim=1)
    assert float(radii.min()) > 0.9 and float(radii.max()) < 1.15  # one, but for the noise
    again, other = (stand_in(3, 40, seed=seed).clouds.inputs for seed in (0, 1))
    assert torch.equal(clouds.points, again.points)
    assert not torch.equal(clouds.points, other.points)


def test_shapes_are_rotated_about_the_vertical() -> None:
    """Lying posts point everywhere, and never up; what is turned back is the same."""
    names = [each.name for each in CLASSES]
    shapes = stand_in(20, 200, seed=0)
    clouds = shapes.clouds.inputs
    lying = clouds.points[shapes.clouds.labels == names.index("post, lying")]
    along = torch.linalg.svd(lying, full_matrices=False).Vh[:, 0]
    assert float(along[:, 2].abs().max()) < 0.3
    azimuth = torch.atan2(along[:, 1], along[:, 0]) % torch.pi
    assert float(azimuth.min()) < 0.6 and float(azimuth.max()) > torch.pi - 0.6
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).double()
    assert torch.equal(clouds.rotated(turn).rotated(turn.T).points, clouds.points)
    assert torch.equal(clouds.rotated(turn).normals[0, 0], turn @ clouds.normals[0, 0])


def test_a_folder_of_meshes(folder: Path) -> None:
    shapes = read_folder(str(folder), "train", 50, 0)
    clouds = shapes.clouds.inputs
    assert shapes.names == ("cone", "post, lying")
    assert shapes.clouds.labels.tolist() == [0] * 4 + [1] * 4
    assert clouds.points.shape == (8, 50, 3)
    assert torch.allclose(clouds.points.mean(dim=1), torch.zeros(8, 3).double())
    assert torch.allclose(clouds.points.norm(dim=-1).amax(dim=1), torch.ones(8).double())
    few = read_folder(str(folder), "train", 50, 0, 3)
    assert len(few.clouds) == 6
    other = read_folder(str(folder), "train", 50, 1).clouds.inputs
    assert not torch.equal(other.points, clouds.points)


def test_incomplete_folders_raise(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no folders CLASS/train"):
        read_folder(str(folder / "cone"), "train", 50, 0)
    broken = folder / "cone" / "test" / "1.off"
    broken.write_text("OFF\n3 1 0\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n")
    with pytest.raises(ValueError, match=r"1\.off' has 1 faces, but none of them has an area"):
        read_folder(str(folder), "test", 50, 0)
    for path in (folder / "cone" / "test").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="cone/test' holds no OFF files"):
        read_folder(str(folder), "test", 50, 0)


def test_split() -> None:
    shapes = stand_in(3, 8, seed=0)
    train, valid = split_shapes(shapes, 1)
    assert torch.equal(valid.inputs.points, shapes.clouds.inputs.points[2::3])
    assert train.labels.tolist() == sorted(list(range(12)) * 2)
    with pytest.raises(ValueError, match="class 'ring' has 3 clouds; expected more than the 3"):
        split_shapes(shapes, 3)
