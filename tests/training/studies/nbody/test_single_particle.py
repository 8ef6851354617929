"""The motion of a single particle: odd, as all systems are, equivariant, bounded far away."""

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.training.studies.nbody.particle_systems import Attributes, Charged, Springs, integrate
from sikff.training.studies.nbody.single_particle import SingleParticleMotion
from symmetry_cases import elements, outside, randn, relative_error
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]


def made(name: str) -> SingleParticleMotion:
    group = SymmetryGroup(name, axis=(1, 2, 2))
    vector, scalar = FieldType.vector(group), FieldType.scalar(group)
    return SingleParticleMotion(vector + scalar, vector + vector + scalar, vector).double()


@pytest.mark.parametrize("system", [Springs(0.0), Springs(1000.0), Charged(2.0)])
def test_motions_are_odd(system: Springs | Charged) -> None:
    """Also where forces are clipped."""
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, 20, 5, 3))
    attributes = system.draw(rng, (20, 5))
    reversed_ = Attributes(attributes.springs, -attributes.lengths, -attributes.charges)
    first, second = integrate(system, attributes, x, v, time=0.2)
    opposite = integrate(system, reversed_, -x, -v, time=0.2)
    assert np.allclose(opposite[0], -first, atol=TOLERANCE.algebra)
    assert np.allclose(opposite[1], -second, atol=TOLERANCE.algebra)
    other = integrate(system, attributes, -x, -v, time=0.2)
    assert np.allclose(other[0], -first, atol=1e-3) == (system == Springs(0.0))


@pytest.mark.parametrize("name", ["SO(2)", "C_inf_v", "O(3)", "C1"])
def test_odd_and_equivariant(name: str) -> None:
    model = made(name).requires_grad_(False)
    single, known = randn(20, 4, seed=0), randn(20, 7, seed=1)
    expected = model(single, known)
    assert float(expected.abs().max()) > 0.1
    assert relative_error(model(-single, -known), -expected) < TOLERANCE.invariance
    assert relative_error(model(-single, known), expected) < TOLERANCE.invariance
    assert relative_error(model(single + 0.1, known), expected) > 1e-3
    group = model.output.out_type.group

    def turned(g: torch.Tensor) -> torch.Tensor:
        x, u, s = known.split([3, 3, 1], dim=1)
        itself = torch.cat([single[:, :3] @ g.T, single[:, 3:]], dim=1)
        return model(itself, torch.cat([x @ g.T, u @ g.T, s], dim=1))

    for g in elements(group):
        assert relative_error(turned(g), expected @ g.T) < TOLERANCE.equivariance
    if name != "O(3)":
        for g in outside(SymmetryGroup("O(3)"), group):
            assert relative_error(turned(g), expected @ g.T) > 1e-3


def test_far_away_it_grows_like_a_square() -> None:
    """Factors like the inputs, times the inputs: not faster, whatever the training did."""
    model = made("SO(2)").requires_grad_(False)
    single, known = randn(20, 4, seed=0), randn(20, 7, seed=1)
    near, far = (model(s * single, s * known).abs().max() for s in (1e3, 1e4))
    assert float(far / near) == pytest.approx(100, rel=0.05)
