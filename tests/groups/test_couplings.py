"""Tables of equivariant maps: equivariant, complete and normalised."""

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups.couplings import clebsch_gordan, endomorphisms, restriction
from sikff.groups.harmonic_polynomials import wigner_d
from symmetry_cases import NAMES, class_average, elements, group
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra


@pytest.mark.parametrize("name", NAMES)
def test_endomorphisms(name: str) -> None:
    g = group(name)
    some = elements(g).numpy()
    for irrep in g.irreps(2):
        basis = endomorphisms(irrep)
        assert len(basis) == {"real": 1, "complex": 2, "quaternionic": 4}[irrep.type]
        np.testing.assert_allclose(basis[0], np.eye(irrep.dim), atol=EXACT)
        gram = np.einsum("kab,lab->kl", basis, basis)
        np.testing.assert_allclose(gram, irrep.dim * np.eye(len(basis)), atol=EXACT)
        rho = irrep.representation(some)[:, None]
        np.testing.assert_allclose(rho @ basis, basis @ rho, atol=EXACT)
        for j in basis[1:]:  # an imaginary unit
            np.testing.assert_allclose(j @ j, -np.eye(irrep.dim), atol=EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_clebsch_gordan(name: str) -> None:
    g = group(name)
    some = elements(g, 2).numpy()
    irreps = g.irreps(2)
    rho = {i: i.representation(some) for i in irreps}
    rng = np.random.default_rng(0)
    triples = [tuple(irreps[k] for k in rng.integers(len(irreps), size=3)) for _ in range(25)]
    triples += [(irreps[-1], irreps[-1], irreps[0])]
    count = 0
    for a, b, c in triples:
        table = clebsch_gordan(a, b, c)
        assert table.shape[1:] == (c.dim, a.dim, b.dim)
        expected = class_average(g, [FieldType(g, [(1, i)]) for i in (a, b, c)])
        assert len(table) == round(expected), (a.name, b.name, c.name)
        assert abs(len(table) - expected) < EXACT
        left = np.einsum("ncd,kdab->nkcab", rho[c], table)
        right = np.einsum("kcde,nda,neb->nkcab", table, rho[a], rho[b])
        np.testing.assert_allclose(left, right, atol=EXACT)
        # unit-variance a and b give unit-variance c: the mean over c of sum_ab C^2 is 1
        gram = np.einsum("kcab,lcab->kl", table, table)
        np.testing.assert_allclose(gram, c.dim * np.eye(len(table)), atol=EXACT)
        count += len(table)
    assert count > 0


@pytest.mark.parametrize("name", NAMES)
def test_restriction_of_o3(name: str) -> None:
    g = group(name)
    some = elements(g).numpy()
    standard = g.orientation.T @ some @ g.orientation
    for l in range(4):
        for parity in (1, -1):
            if parity != (-1) ** l and not g.has_improper:
                continue  # proper groups do not see the parity
            parts = restriction(g, l, parity)
            d = wigner_d(l, parity, standard)
            basis = np.concatenate([t for _, t in parts], axis=1)
            np.testing.assert_allclose(basis.T @ basis, np.eye(2 * l + 1), atol=EXACT)
            for irrep, t in parts:
                np.testing.assert_allclose(d @ t, t @ irrep.representation(some), atol=EXACT)


def test_a_wrong_table_fails_the_checks() -> None:
    """The comparison of `test_clebsch_gordan` fails for a table of another group's."""
    larger, smaller = group("O(3)"), group("Oh")
    l2, l1 = larger.irreps(2)[4], larger.irreps(1)[2]
    eg = next(i for i in smaller.irreps(2) if i.name == "Eg")
    t1u = next(i for i in smaller.irreps(2) if i.name == "T1u")
    assert len(clebsch_gordan(l1, l1, l2)) == 1
    assert len(clebsch_gordan(t1u, t1u, eg)) == 1
    table = np.zeros((1, 2, 3, 3))
    table[0, 0, 0, 1] = 1.0
    rho_a, rho_c = (i.representation(smaller.elements) for i in (t1u, eg))
    left = np.einsum("ncd,kdab->nkcab", rho_c, table)
    right = np.einsum("kcde,nda,neb->nkcab", table, rho_a, rho_a)
    assert np.abs(left - right).max() > 0.1
