"""The equivariance error of a function of features, measured on random inputs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sikff.field_types import FieldType


def equivariance_error(
    function: Callable[..., Tensor],
    in_types: FieldType | Sequence[FieldType],
    out_type: FieldType,
    n_samples: int = 32,
    n_elements: int = 8,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> float:
    """max |f(rho_in(g) x) - rho_out(g) f(x)| / max |f(x)| over random x and g in G.

    Args:
        function: takes one tensor [n_samples, d] for each input type, returns [n_samples, d_out].
        in_types, out_type: field types of one group.
        n_samples: number of random inputs (standard normal).
        n_elements: number of random group elements.
        seed: of both.
        dtype: of the inputs; the function must take it.

    Raises:
        ValueError: the output is zero everywhere (nothing would be tested), or the types are of
            different groups.
    """
    types = [in_types] if isinstance(in_types, FieldType) else list(in_types)
    if any(t.group != out_type.group for t in types):
        raise ValueError("equivariance_error: all types must be of one group")
    generator = torch.Generator().manual_seed(seed)
    inputs = [
        torch.randn(n_samples, t.size, generator=generator, dtype=torch.float64).to(dtype)
        for t in types
    ]
    with torch.no_grad():
        reference = function(*inputs)
        largest = float(reference.abs().max()) if reference.numel() else 0.0
        if largest == 0.0:
            raise ValueError("equivariance_error: the output is zero, so nothing can be measured")
        worst = 0.0
        for g in out_type.group.sample(n_elements, seed=seed):
            transformed = [
                x @ t.representation(g).to(dtype).T for x, t in zip(inputs, types, strict=True)
            ]
            expected = reference @ out_type.representation(g).to(dtype).T
            worst = max(worst, float((function(*transformed) - expected).abs().max()))
    return worst / largest
