"""The place above a surface: plane waves in the irreps of the point group."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from canonical_tables import digest
from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import PlaneWaves
from sikff.surface import Wallpaper
from symmetry_cases import randn
from tolerances import TOLERANCES
from wallpaper_cases import LARGER, NAMES, lattice_of, moved_wallpaper, wallpaper

EXACT = 1e-12
TABLES = {
    "p1": 0.524298652, "p2": -1.414064231, "pm": 3.67868492, "pg": -8.220492985,
    "cm": -5.379600582, "p2mm": 5.91667974, "p2mg": -1.25126583, "p2gg": -1.205181099,
    "c2mm": 2.080540274, "p4": -3.675585856, "p4mm": 9.762366158, "p4gm": -2.125467387,
    "p3": -1.007229184, "p3m1": -0.325103445, "p31m": -3.572444523, "p6": -0.66735803,
    "p6mm": 9.107360978,
}  # fmt: skip


def moved(w: Wallpaper, index: int, r: Tensor) -> Tensor:
    """R r + t."""
    return r @ torch.from_numpy(w.rotations[index]).T + torch.from_numpy(w.translations[index])


@pytest.mark.parametrize("make", [wallpaper, moved_wallpaper])
@pytest.mark.parametrize("name", NAMES)
def test_plane_waves_are_equivariant_under_the_wallpaper_group(
    name: str, make: Callable[[str], Wallpaper]
) -> None:
    w = make(name)
    layer = PlaneWaves(w, 6).double()
    r = 4 * randn(30, 3, seed=0)
    values = layer(r)
    assert values.shape == (30, layer.out_type.size)
    assert layer.out_type.is_canonical
    rho = layer.out_type.representation(w.rotations)
    for index in range(len(w.operations)):
        image = layer(moved(w, index, r))
        assert float((image - values @ rho[index].T).abs().max()) < EXACT
        if index:
            assert float((image - values).abs().max()) > 0.1
    for m, n in ((1, 0), (0, 1), (-3, 5)):
        shifted = r + torch.from_numpy(m * w.lattice[0] + n * w.lattice[1])
        assert float((layer(shifted) - values).abs().max()) < EXACT
    higher = r + 2.7 * torch.from_numpy(w.normal)
    assert float((layer(higher) - values).abs().max()) < EXACT


@pytest.mark.parametrize("name", LARGER)
def test_invariants_do_not_have_more_symmetry(name: str) -> None:
    """Control: an operation of a larger group on the same lattice changes them."""
    other = wallpaper(LARGER[name])
    w = Wallpaper(name, lattice_of(LARGER[name]))
    layer = PlaneWaves(w, 6).double()
    r = 4 * randn(30, 3, seed=0)
    n = layer.out_type.n_invariants
    changes = [
        float((layer(moved(other, k, r)) - layer(r))[:, :n].abs().max())
        for k in range(len(other.operations))
    ]
    assert max(changes) > 0.1
    assert sum(change < EXACT for change in changes) == len(w.operations)


def test_tables_are_the_same_on_every_machine() -> None:
    """What trained weights mean depends on these numbers: one digest of each basis."""
    digests = {name: digest(PlaneWaves(wallpaper(name), 6).constants["basis"]) for name in TABLES}
    assert digests == pytest.approx(TABLES, abs=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_invariants_span_the_symmetrised_fourier_series(name: str) -> None:
    """A Steele potential: random cosines of the same vectors, averaged over all operations."""
    w = wallpaper(name)
    layer = PlaneWaves(w, 6).double()
    r = 4 * randn(80, 3, seed=0)
    indices = np.concatenate([[[0, 0]], *(star.indices for star in layer.stars)])
    rng = np.random.default_rng(1)
    size, phase = rng.normal(size=(2, len(indices)))
    images = torch.stack([moved(w, k, r) for k in range(len(w.operations))]).numpy()
    series = (size * np.cos(2 * np.pi * images @ (indices @ w.dual).T + phase)).sum(-1).mean(0)
    invariants = layer(r)[:, : layer.out_type.n_invariants].numpy()
    fit, *_ = np.linalg.lstsq(invariants, series, rcond=None)
    assert np.abs(invariants @ fit - series).max() < 1e-11
    assert np.abs(series - series.mean()).max() > 0.1
    assert np.linalg.matrix_rank(invariants, tol=1e-8) == layer.out_type.n_invariants


def test_components_are_normalised_over_the_cell() -> None:
    w = wallpaper("p31m")
    layer = PlaneWaves(w, 5).double()
    steps = np.arange(24) / 24
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) @ w.lattice
    values = layer(torch.from_numpy(grid))
    identity = torch.eye(layer.out_type.size, dtype=torch.float64)
    assert float((values.T @ values / len(grid) - identity).abs().max()) < EXACT
    assert float((values[:, 0] - 1).abs().max()) < EXACT


@pytest.mark.parametrize("name", ["p1", "pg", "p4gm", "p6mm"])
def test_lengths_are_those_of_the_wave_vectors(name: str) -> None:
    """The Laplacian of a plane wave is -|G|^2 times the wave."""
    layer = PlaneWaves(wallpaper(name), 5).double()
    r = randn(3, 3, seed=0)
    values = layer(r)
    for k in range(layer.out_type.size):
        laplacian = [
            torch.autograd.functional.hessian(lambda x, k=k: layer(x)[k], point).trace()
            for point in r
        ]
        expected = -(layer.lengths[k] ** 2) * values[:, k]
        assert float((torch.stack(laplacian) - expected).abs().max()) < 1e-10
    assert layer.lengths[0] == 0.0
    assert set(layer.lengths.round(9)) == {0.0, *(round(s.length, 9) for s in layer.stars)}


def test_gradients_are_exact() -> None:
    layer = PlaneWaves(wallpaper("p3m1"), 3).double()
    r = (3 * randn(4, 3, seed=0)).requires_grad_()
    assert torch.autograd.gradcheck(layer, (r,))
    assert torch.autograd.gradgradcheck(layer, (r,))


@pytest.mark.parametrize("name", ["p4mm", "p6mm", "pg"])
def test_models_in_float32_are_exact_far_from_the_origin(name: str) -> None:
    """With float64 positions, 1e4 Å away: reduced before they are rounded."""
    w = wallpaper(name)
    single, double = PlaneWaves(w, 6), PlaneWaves(w, 6).double()
    assert single.basis.dtype == torch.float32
    r = 4 * randn(50, 3, seed=0)
    far = r + torch.from_numpy(2500.0 * w.lattice[0] - 1700.0 * w.lattice[1])
    assert float((single(far) - single(r)).abs().max()) < 1e-6
    assert float((single(far).double() - double(r)).abs().max()) < 2e-6
    assert float((double(far) - double(r)).abs().max()) < 1e-10
    exact = PlaneWaves(w, 6).float().double()
    assert float((exact(r) - double(r)).abs().max()) == 0.0
    small = 0.25 * r.float()  # whose own rounding is small
    assert single(small).dtype == torch.float32
    error = float((single(small).double() - double(small.double())).abs().max())
    assert error < TOLERANCES[torch.float32].equivariance
    assert not single.state_dict()


def test_a_subgroup_sees_the_same_functions() -> None:
    w = wallpaper("p4gm")
    whole = PlaneWaves(w, 4).double()
    half_turn = SymmetryGroup("C2", axis=w.normal)
    for group in (half_turn, SymmetryGroup("C1")):
        layer = PlaneWaves(w, 4, group).double()
        assert layer.out_type.group == group
        assert layer.out_type == whole.out_type.restrict(group)
        r = 4 * randn(40, 3, seed=0)
        index = w.operation_indices(group.generators[0])[0]
        image = layer(r) @ layer.out_type.representation(group.generators[0]).T
        assert float((layer(moved(w, index, r)) - image).abs().max()) < EXACT
        fit = torch.linalg.lstsq(whole(r), layer(r)).solution
        assert float((whole(r) @ fit - layer(r)).abs().max()) < 1e-10


def test_groups_that_the_surface_does_not_have_raise() -> None:
    w = Wallpaper("p3m1", [[3.0, 0], [-1.5, 1.5 * np.sqrt(3)]])
    with pytest.raises(ValueError, match=r"C6v is not a subgroup of C3v .* point group of p3m1"):
        PlaneWaves(w, 2, SymmetryGroup("C6v"))
    with pytest.raises(ValueError, match="C3v is not a subgroup"):
        PlaneWaves(w, 2, SymmetryGroup("C3v"))  # its mirrors are turned by 30 degrees
    assert PlaneWaves(w, 2, SymmetryGroup("C3")).out_type.group.name == "C3"


def test_functions_of_heights_multiply_the_copies() -> None:
    w = wallpaper("p31m")
    layer = PlaneWaves(w, 3).double()
    larger = FieldType(w.point_group, [(4 * n, irrep) for n, irrep in layer.out_type.fields])
    r, phi = 4 * randn(10, 3, seed=0), randn(10, 4, seed=1)

    def places(x: Tensor) -> Tensor:
        return (layer(x)[:, :, None] * phi[:, None, :]).flatten(1)

    for index, rho in enumerate(larger.representation(w.rotations)):
        assert float((places(moved(w, index, r)) - places(r) @ rho.T).abs().max()) < EXACT


def test_no_stars_leave_the_constant() -> None:
    layer = PlaneWaves(wallpaper("p4mm"), 0)
    assert layer(randn(3, 3, seed=0)).tolist() == [[1.0]] * 3
    assert layer.lengths.tolist() == [0.0]
