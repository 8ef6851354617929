"""What other packages expect of a calculator."""

import numpy as np
import pytest
import torch
from ase.build import molecule

from force_fields import force_field
from sikff.calculators import SIKFFCalculator


def test_default_dtype_is_another_name_of_dtype() -> None:
    """ml-peg gives the precision of a benchmark under this name."""
    for dtype in ("float32", torch.float64):
        calculator = SIKFFCalculator(force_field(), device="cpu", default_dtype=dtype)
        assert str(calculator.models[0].dtype) in (dtype, f"torch.{dtype}", str(dtype))
    SIKFFCalculator(force_field(), device="cpu", dtype="float32", default_dtype=torch.float32)
    with pytest.raises(ValueError, match="are float32 and float64; expected one of them"):
        SIKFFCalculator(force_field(), device="cpu", dtype="float32", default_dtype="float64")


def test_parameters_name_the_architecture() -> None:
    """janus-core writes results under this name, if there is one; they still make a calculator."""
    calculator = SIKFFCalculator(force_field(), device="cpu")
    assert calculator.parameters["arch"] == "sikff"
    other = SIKFFCalculator(force_field(), device="cpu", **calculator.parameters)
    atoms = molecule("CH3OH")
    assert np.array_equal(calculator.get_forces(atoms), other.get_forces(atoms))
    assert "arch" not in calculator.todict()
