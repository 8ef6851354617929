"""The tables are the same on every machine, with any number of threads, however G was given."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import canonical_tables
from sikff.groups import SymmetryGroup
from symmetry_cases import turn_about
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra
STORED = json.loads(
    (Path(__file__).parents[1] / "data" / "canonical_tables.json").read_text(encoding="utf-8")
)


def assert_same(got: dict[str, list], expected: dict[str, list]) -> None:
    assert got.keys() == expected.keys()
    for key, values in expected.items():
        if key in ("names", "content"):
            assert got[key] == values
        else:
            np.testing.assert_allclose(got[key], values, atol=EXACT, err_msg=key)


def test_the_reference_covers_the_groups() -> None:
    assert tuple(STORED) == canonical_tables.NAMES


@pytest.mark.parametrize("name", canonical_tables.NAMES)
def test_tables_equal_the_stored_ones(name: str) -> None:
    assert_same(canonical_tables.tables(name), STORED[name])


def test_a_flipped_sign_changes_the_digest() -> None:
    table = np.array(SymmetryGroup("D3").irreps(1)[2].embedding)
    for k in np.flatnonzero(abs(table) > 0.1):
        changed = table.copy()
        changed.flat[k] *= -1
        assert abs(canonical_tables.digest(changed) - canonical_tables.digest(table)) > 1e-3


def test_tables_do_not_depend_on_the_number_of_threads() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, canonical_tables.__file__, "SO(3)", "C_inf_h", "C6v", "T", "Oh"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    computed = json.loads(run.stdout)
    assert len(computed) == 5
    for name, tables in computed.items():
        assert_same(tables, STORED[name])


@pytest.mark.parametrize("name", ["C4", "C6v", "D3", "D2d", "S4", "T", "Td", "Oh", "I"])
def test_irreps_do_not_depend_on_how_the_group_was_given(name: str) -> None:
    """Other generators, another order, and 1e-9 of noise: the same rho, not an equivalent one."""
    noise = 1e-9
    q = turn_about([1.0, 2.0, -0.7], 0.8)
    rng = np.random.default_rng(0)
    exact = SymmetryGroup.from_generators(q @ SymmetryGroup(name).generators @ q.T)
    others = exact.elements[rng.permutation(len(exact.elements))][:6]
    given = [turn_about(rng.normal(size=3), noise) @ g for g in [*others, *exact.generators[::-1]]]
    noisy = SymmetryGroup.from_generators(given)
    assert noisy == exact
    some = exact.sample(5, seed=0).numpy()
    for one, two in zip(exact.irreps(3), noisy.irreps(3), strict=True):
        assert one.name == two.name
        np.testing.assert_array_equal(one.embedding, two.embedding)
        assert one.representation(some) == pytest.approx(two.representation(some), abs=100 * noise)


@pytest.mark.parametrize("name", ["SO(2)", "C_inf_v", "D_inf_h"])
def test_continuous_irreps_do_not_depend_on_how_the_group_was_given(name: str) -> None:
    axis = np.array([1.0, 2.0, -0.7])
    exact = SymmetryGroup(name, axis=axis)
    given = np.array([turn_about(axis, 0.3), *exact.elements, *exact.elements[::-1]])
    other = SymmetryGroup.from_generators(given, lie_axes=[-2 * axis])
    assert other == exact
    some = exact.sample(5, seed=0).numpy()
    for one, two in zip(exact.irreps(3), other.irreps(3), strict=True):
        np.testing.assert_allclose(one.representation(some), two.representation(some), atol=EXACT)
