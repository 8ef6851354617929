"""A single atom above a crystal surface: what the attribute alone tells apart, by default."""

import itertools

import ase
import numpy as np
import pytest
import torch

from force_fields import graph_of
from sikff import ForceField, ForceFieldConfig
from sikff.surface import fewest_stars, first_stars
from sikff.surface.wallpaper import Wallpaper
from wallpaper_cases import NAMES

PLACE = np.array([0.137, 0.291])  # lattice coordinates, on no symmetry element
QUARTERS = [np.array(t) / 4 for t in itertools.product(range(4), repeat=2)]


def lattice(name: str, b: float = 6.3) -> tuple[tuple[float, float], ...]:
    """The most general lattice (Å) of the group, in the plane z = 0."""
    a, angle = 5.1, 81.0 if name in ("p1", "p2") else 90.0
    if name[1] in "346":
        b, angle = a, 90.0 if name[1] == "4" else 120.0
    radians = np.radians(angle)
    return ((a, 0.0), (b * np.cos(radians), b * np.sin(radians)))


def candidates(wallpaper: Wallpaper) -> list[tuple[np.ndarray, np.ndarray]]:
    """All operations of the lattice, with shifts of quarters: those of every larger group."""
    metric = wallpaper.lattice @ wallpaper.lattice.T
    matrices = [np.array(m).reshape(2, 2) for m in itertools.product((-1, 0, 1), repeat=4)]
    of_lattice = [m for m in matrices if np.allclose(m.T @ metric @ m, metric)]
    return [(m, t) for m in of_lattice for t in QUARTERS]


def has(wallpaper: Wallpaper, matrix: np.ndarray, shift: np.ndarray) -> bool:
    """True if {matrix|shift} is an operation of the group."""
    apart = [shift - o.shift for o in wallpaper.operations if np.array_equal(o.matrix, matrix)]
    return any(np.allclose(each, np.round(each)) for each in apart)


@pytest.mark.parametrize("name", NAMES)
def test_the_energy_of_an_atom_has_the_wallpaper_group_and_no_larger_one(name: str) -> None:
    environment = {
        "plane_origin": (0.0, 0.0, 0.0),
        "plane_range": 8.0,
        "lattice": lattice(name),
        "wallpaper": name,
    }
    sizes = {"channels": 3, "max_frequency": 2, "kernel_fields": 2, "kernel_width": 8, "layers": 1}
    torch.manual_seed(0)
    config = ForceFieldConfig(elements=("O",), cutoff=4.0, environment=environment, **sizes)
    model = ForceField(config).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    (wallpaper,) = model.config.environment.wallpapers
    operations = candidates(wallpaper)
    places = [PLACE, *(m @ PLACE + t for m, t in operations)]
    cells = [2 * np.array(divmod(k, 16)) for k in range(len(places))]  # no atom sees another
    positions = (np.array(places) + cells) @ wallpaper.lattice + [0, 0, 1.7]
    atoms = ase.Atoms("O" * len(places), positions)
    first, *others = model.atomic_energies(graph_of(model, atoms)).detach().numpy()
    for (matrix, shift), energy in zip(operations, others, strict=True):
        change = abs(energy - first)
        assert (change < 1e-12) == has(wallpaper, matrix, shift), (matrix, shift, change)


@pytest.mark.parametrize(
    ("name", "b", "shortest"),
    [("p2gg", 6.3, 3), ("p2gg", 16.0, 5), ("p4", 5.1, 2), ("p2mm", 16.0, 4)],
)
def test_default_stars_of_groups_without_mirrors_have_a_second_direction(
    name: str, b: float, shortest: int
) -> None:
    wallpaper = Wallpaper(name, lattice(name, b))
    assert fewest_stars(wallpaper) == shortest
    indices = np.concatenate([star.indices for star in first_stars(wallpaper, shortest)])
    assert ((abs(indices) == 1).all(axis=1)).any() == (name != "p2mm")
