"""What every test may ask for, and what no test may leave behind."""

from collections.abc import Iterator

import hypothesis
import pytest
import torch

from tolerances import DTYPES, TOLERANCES, Tolerance

hypothesis.settings.register_profile("sikff", deadline=None, derandomize=True, print_blob=True)


def pytest_configure() -> None:
    """Small tensors and repeatable sums: one thread, the same examples every time."""
    hypothesis.settings.load_profile("sikff")
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _global_state_is_left_alone() -> Iterator[None]:
    """Fail a test after which torch's global settings differ."""
    before = _global_state()
    yield
    assert _global_state() == before, "torch's global settings were changed and not restored"


def _global_state() -> dict[str, object]:
    return {
        "default dtype": torch.get_default_dtype(),
        "gradients enabled": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "float32 matmul precision": torch.get_float32_matmul_precision(),
    }


@pytest.fixture
def generator() -> torch.Generator:
    """A freshly seeded source of random numbers; pass it on instead of seeding globally."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Every floating-point type in the table: a test that asks for it runs once for each."""
    return request.param


@pytest.fixture
def tolerance(dtype: torch.dtype) -> Tolerance:
    """The limits that belong to `dtype`."""
    return TOLERANCES[dtype]
