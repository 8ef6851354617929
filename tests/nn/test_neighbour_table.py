"""The padded tables of neighbours hold every edge once."""

import pytest
import torch

from sikff.nn import neighbour_layout
from sikff.nn.neighbour_table import sum_outer_products
from symmetry_cases import randn, relative_error
from tolerances import TOLERANCES

GRAPHS = {
    "even": [0, 0, 1, 1, 2, 2],
    "unsorted": [2, 0, 2, 1, 0, 0],
    "some without": [3, 3, 1],
    "star": [1] * 200 + [0, 2],
    "full": [n for n in range(5) for _ in range(3)],
    "none": [],
}


@pytest.mark.parametrize("name", GRAPHS)
def test_every_edge_has_one_slot(name: str) -> None:
    receivers = GRAPHS[name]
    n = 30 if len(receivers) > 100 else 5
    receiver = torch.tensor(receivers, dtype=torch.long)
    edge_index = torch.stack([receiver, torch.arange(len(receivers)) % n])
    layout = neighbour_layout(edge_index, n, torch.float64)
    filled = layout.filled.bool()
    edges = layout.in_slots(torch.arange(len(receivers)))[filled]
    assert sorted(edges.tolist()) == list(range(len(receivers)))
    assert torch.equal(layout.senders[filled], edge_index[1][edges])
    assert sum(rows * width for rows, width in layout.shapes) == layout.n_slots
    assert (layout.edges is None) == (name in ("full", "none"))
    assert sum(rows for rows, _ in layout.shapes) == n
    assert layout.n_slots <= 2 * len(receivers) + 16 * n  # padding is bounded

    h, f = randn(len(receivers), 3, seed=0), randn(n, 2, seed=1)
    in_slots = layout.filled.unsqueeze(1) * layout.in_slots(h)
    (got,) = sum_outer_products(in_slots, [f], layout)
    outer = h[:, :, None] * f[edge_index[1], None, :]
    expected = torch.zeros(n, 3, 2, dtype=torch.float64).index_add(0, receiver, outer)
    if receivers:
        assert relative_error(got, expected) < TOLERANCES[torch.float64].parity
    else:
        assert torch.equal(got, expected)


def test_a_star_is_not_padded_to_its_centre() -> None:
    edge_index = torch.stack([torch.tensor(GRAPHS["star"]), torch.zeros(202, dtype=torch.long)])
    layout = neighbour_layout(edge_index, 1000)
    assert layout.order is not None
    assert layout.n_slots < 1500  # one table would take 200,000 places
    assert layout.filled.dtype == torch.get_default_dtype()


def test_it_is_what_torch_scatter_adds_up() -> None:
    """An oracle that knows nothing of the layout (extra ``scatter``)."""
    scatter = pytest.importorskip("torch_scatter").scatter
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(9, (2, 40), generator=generator)
    h, f = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (40, 9))
    layout = neighbour_layout(edge_index, 9, torch.float64)
    edges = layout.in_slots(h) * layout.filled[:, None]
    outer = torch.einsum("ea,eb->eab", h, f[edge_index[1]])
    expected = scatter(outer, edge_index[0], dim=0, dim_size=9)
    (got,) = sum_outer_products(edges, [f], layout)
    torch.testing.assert_close(got, expected)
