"""The molecules that come with the examples."""

from pathlib import Path

import pytest

from sikff.training.studies.molecules.qm9_dataset import Dataset, read_dataset

STAND_IN = Path(__file__).parents[4] / "examples" / "data" / "molecules.sdf.gz"


@pytest.fixture(scope="session")
def stand_in() -> Dataset:
    """All of them."""
    return read_dataset(STAND_IN)
