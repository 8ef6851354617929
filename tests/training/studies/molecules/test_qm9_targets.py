"""Energies of elements, and numbers of order one."""

import numpy as np
import pytest
import torch

from sikff.training.studies.molecules.property_study import Scaling
from sikff.training.studies.molecules.qm9_targets import TARGETS, element_energies, find_target
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
COUNTS = np.array(
    [[4, 1, 0, 0, 0], [2, 0, 0, 1, 0], [3, 0, 1, 0, 0], [6, 2, 0, 1, 0], [2, 0, 0, 0, 0]]
)
ENERGIES = np.array([-16.0, -1036.0, -1489.0, -2043.0, 0.0])


def test_energies_of_elements() -> None:
    """Exact where atoms are all there is; fluorine, which does not occur, has none."""
    assert element_energies(COUNTS, COUNTS @ ENERGIES) == pytest.approx(ENERGIES, abs=1e-8)


def test_only_thermochemistry_is_referenced() -> None:
    assert len(TARGETS) == 12
    assert {name for name, each in TARGETS.items() if each.referenced} == {"u0", "u", "h", "g"}
    assert {n for n, each in TARGETS.items() if not each.extensive} == {"mu", "homo", "lumo", "gap"}


@pytest.mark.parametrize("name", ["u0", "alpha"])
def test_restore_inverts_standardise(name: str) -> None:
    values = COUNTS @ ENERGIES + np.array([0.1, -0.2, 0.3, 0.5, -0.4])
    scaling = Scaling.of(find_target(name), COUNTS, values)
    standardised = scaling.standardise(COUNTS, values)
    assert standardised.mean() == pytest.approx(0, abs=LIMITS.parity)
    assert standardised.std() == pytest.approx(1)
    assert scaling.restore(COUNTS, standardised) == pytest.approx(values)
    assert (scaling.deviation < 1) == (name == "u0")


def test_constant_values_raise() -> None:
    with pytest.raises(ValueError, match="all 5 training molecules have the same homo"):
        Scaling.of(find_target("homo"), COUNTS, np.full(5, -0.25))
