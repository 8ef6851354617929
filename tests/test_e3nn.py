"""e3nn as an oracle for O(3) and SO(3): any version from 0.4.4 on."""

from types import ModuleType

import numpy as np
import pytest
import torch

from sikff.e3nn import harmonic_basis, parse_irreps
from sikff.groups.couplings import clebsch_gordan
from sikff.groups.harmonic_polynomials import evaluate_harmonics, sphere_points, wigner_d
from sikff.nn import Harmonics
from symmetry_cases import group
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra
THEIRS = 1e-6  # e3nn computes some tables in float32, whatever is asked for


@pytest.fixture(scope="module")
def o3() -> ModuleType:
    with torch.serialization.safe_globals([slice]):  # e3nn 0.4.4 cannot be imported without
        from e3nn import o3
    return o3


@pytest.mark.parametrize("l", range(5))
def test_harmonics_agree_up_to_an_orthogonal_matrix(o3: ModuleType, l: int) -> None:
    basis = harmonic_basis(l)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2 * l + 1), atol=EXACT)
    x = torch.from_numpy(sphere_points(20))
    theirs = o3.spherical_harmonics(l, x, normalize=True, normalization="component").numpy()
    np.testing.assert_allclose(evaluate_harmonics(l, x.numpy()), theirs @ basis.T, atol=EXACT)


@pytest.mark.parametrize("l", range(5))
@pytest.mark.parametrize("parity", [1, -1])
def test_rotation_matrices_agree(o3: ModuleType, l: int, parity: int) -> None:
    basis = harmonic_basis(l)
    for g in group("O(3)").sample(4, seed=2):
        det = float(torch.linalg.det(g).sign())
        k = torch.tensor(0 if det > 0 else 1)
        angles = o3.matrix_to_angles(det * g)
        theirs = o3.Irrep(l, parity).D_from_angles(*angles, k).numpy()
        ours = wigner_d(l, parity, g.numpy())
        np.testing.assert_allclose(ours, basis @ theirs @ basis.T, atol=THEIRS)


@pytest.mark.parametrize("name", ["SO(3)", "O(3)"])
def test_clebsch_gordan_agree_up_to_a_factor(o3: ModuleType, name: str) -> None:
    g = group(name)
    irreps = [i for i in g.irreps(3) if i.parity == (-1) ** i.frequency]
    compared = 0
    for a in irreps:
        for b in irreps:
            for c in irreps:
                la, lb, lc = a.frequency, b.frequency, c.frequency
                ours = clebsch_gordan(a, b, c)
                allowed = abs(la - lb) <= lc <= la + lb
                if name == "O(3)":
                    allowed = allowed and (la + lb + lc) % 2 == 0
                assert len(ours) == allowed
                if not allowed:
                    continue
                theirs = o3.wigner_3j(la, lb, lc, dtype=torch.float64).numpy()
                bases = (harmonic_basis(l) for l in (la, lb, lc))
                theirs = np.einsum("abc,xa,yb,zc->zxy", theirs, *bases)
                u, v, w = (i.embedding for i in (a, b, c))  # our irreps' own bases
                theirs = np.einsum("zxy,zk,xi,yj->kij", theirs, w, u, v)
                cosine = (ours[0] * theirs).sum()
                cosine /= np.linalg.norm(ours[0]) * np.linalg.norm(theirs)
                assert abs(abs(cosine) - 1) < THEIRS, (la, lb, lc)
                compared += 1
    assert compared == {"SO(3)": 34, "O(3)": 23}[name]


def test_the_harmonics_layer_equals_that_of_e3nn(o3: ModuleType) -> None:
    layer = Harmonics(group("O(3)"), 3).double()
    x = torch.from_numpy(sphere_points(30))
    ours = layer(x).numpy()
    for block in layer.out_type.blocks:
        l = block.irrep.frequency
        theirs = o3.spherical_harmonics(l, x, normalize=True, normalization="component").numpy()
        mine = ours[:, block.start : block.stop]
        fit, *_ = np.linalg.lstsq(theirs, mine, rcond=None)
        np.testing.assert_allclose(theirs @ fit, mine, atol=EXACT)
        np.testing.assert_allclose(fit @ fit.T, np.eye(2 * l + 1), atol=EXACT)


def test_irreps_notation() -> None:
    assert parse_irreps("16x0e + 8x1o+2e") == [(16, 0, 1), (8, 1, -1), (1, 2, 1)]
    assert parse_irreps("") == []
    with pytest.raises(ValueError, match="4z"):
        parse_irreps("4z")
