"""Static evaluators against their models, and what makes them prepare themselves anew."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import ase
import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from force_fields import MODELS, crystal, ethanol, force_field, graph_of, slab
from sikff.engines import Capacity, Static, differentiate, neighbour_table
from sikff.engines import static as static_module
from sikff.engines.inductor import inductor
from sikff.engines.padding import padded
from sikff.engines.static import STEP
from sikff.graph import AtomicGraph
from sikff.nn import neighbour_layout
from sikff.nn.neighbour_table import NeighbourTable
from tolerances import TOLERANCES, Tolerance

LIMITS = TOLERANCES[torch.float64]
CONDITIONS: dict[str, dict[str, Any]] = {
    "C_inf_v": {"field": (0, 0, 0.3)},
    "SO(3)": {"charge": -1, "spin": 2},
}


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize(
    ("group", "structure"),
    [
        ("O(3)", crystal),
        ("C_inf_v", ethanol),
        ("SO(2)", slab),
        ("C6v", ethanol),
        ("SO(3)", crystal),
    ],
)
def test_a_static_evaluator_predicts_what_the_model_predicts(
    group: str, structure: Callable[[], ase.Atoms], dtype: torch.dtype, tolerance: Tolerance
) -> None:
    model = force_field(group, **MODELS[group]).to(dtype)
    static, atoms = Static(model), structure()
    stress = bool(atoms.cell.volume)
    for step in range(3):
        atoms.rattle(0.02, seed=step)
        graph = graph_of(model, atoms, **CONDITIONS.get(group, {}))
        found, expected = static(graph, stress=stress), model(graph, stress=stress)
        assert expected.forces.abs().max() > 1e-2
        assert largest(found.energies, expected.energies) < tolerance.parity
        assert largest(found.energy, expected.energy) < tolerance.parity
        assert largest(found.forces, expected.forces) < tolerance.gradient
        if stress:
            assert expected.stress.abs().max() > 1e-5
            assert largest(found.stress, expected.stress) < tolerance.gradient
    assert static.compilations == 1


def test_it_follows_the_field_and_the_origin_of_the_surface() -> None:
    model = force_field("C_inf_v", environment={"field": True, "plane_origin": (0, 0, -2.0)})
    static, forces = Static(model), []
    for conditions in ({}, {"field": (0, 0, 0.5)}, {"origin": (0.0, 0.0, -2.5)}):
        graph = graph_of(model, ethanol(), **conditions)
        forces.append(static(graph).forces)
        assert largest(forces[-1], model(graph).forces) < LIMITS.gradient
    assert largest(forces[1], forces[0]) > 1e-3 and largest(forces[2], forces[0]) > 1e-3
    assert static.compilations == 1


def test_it_follows_the_charge_and_the_spin() -> None:
    model = force_field("O(3)", environment={"charge": True, "spin": True})
    static, forces = Static(model), []
    for conditions in ({}, {"charge": -1}, {"charge": 2, "spin": 2}, {"spin": 3}, {}):
        graph = graph_of(model, ethanol(), **conditions)
        forces.append(static(graph).forces)
        assert largest(forces[-1], model(graph).forces) < LIMITS.gradient
    assert all(largest(each, forces[0]) > 1e-3 for each in forces[1:4])
    assert torch.equal(forces[4], forces[0])
    assert static.compilations == 1


def test_ghosts_take_no_part_of_a_charge() -> None:
    """Also if there are as many structures as fit, and atoms are missing."""
    model = force_field("O(3)", environment={"charge": True})
    static = Static(model, Capacity(2, 30, 9))
    for charges in ((-1, 2), (3,), (0, 1)):
        graphs = [graph_of(model, ethanol(seed), charge=q) for seed, q in enumerate(charges)]
        graph = AtomicGraph.batch_of(graphs)
        found, expected = static(graph), model(graph)
        assert largest(found.energy, expected.energy) < LIMITS.parity
        assert largest(found.forces, expected.forces) < LIMITS.gradient


def test_another_surface_is_another_function() -> None:
    environment = {"plane_origin": (0, 0, -2.0), "surfaces": ("gold", "silver")}
    model = force_field("C_inf_v", environment=environment)
    static, forces = Static(model), []
    for number, surface in enumerate(("gold", "silver", "vacuum"), start=1):
        graph = graph_of(model, ethanol(), surface=surface)
        forces.append(static(graph).forces)
        assert largest(forces[-1], model(graph).forces) < LIMITS.gradient
        assert static.compilations == number
    assert largest(forces[1], forces[0]) > 1e-3 and largest(forces[2], forces[0]) > 1e-3


def test_it_prepares_anew_for_other_atoms_and_when_neighbours_do_not_fit() -> None:
    model = force_field()
    static, atoms = Static(model), ethanol()
    static(graph_of(model, atoms))
    other = atoms.copy()
    other.numbers = other.numbers[::-1]
    static(graph_of(model, other))
    assert static.compilations == 2
    dense = crystal()
    static(graph_of(model, dense))
    dense.set_cell(dense.cell * 0.8, scale_atoms=True)
    graph = graph_of(model, dense)
    assert largest(static(graph).forces, model(graph).forces) < LIMITS.gradient
    assert static.compilations == 4


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("more", [0, 1, 5])
@pytest.mark.parametrize("group", MODELS)
def test_the_table_form_equals_the_graph_form(group: str, more: int, copies: int) -> None:
    """Energies and forces to the last bit in a table as wide as that of the model, else up to
    rounding; empty rows change nothing."""
    model, conditions = force_field(group, **MODELS[group]), CONDITIONS.get(group, {})
    graphs = [graph_of(model, atoms, **conditions) for atoms in (ethanol(), slab())]
    graph = AtomicGraph.batch_of(graphs[:copies])
    width = neighbour_layout(graph.edge_index, graph.n_atoms).shapes[0][1]
    table = neighbour_table(graph, model.cutoff, width + more)
    assert table.filled.sum() == graph.n_edges
    assert table.senders.shape == table.filled.shape == table.offsets.shape[:2]
    expected = differentiate(model.atomic_energies, graph, stress=True)
    found = differentiate(model.atomic_energies, graph, stress=True, table=table)
    assert expected.positions.abs().max() > 1e-2
    if more == 0:
        assert torch.equal(found.energies, expected.energies)
    assert largest(found.energies.detach(), expected.energies.detach()) < LIMITS.parity
    assert largest(found.positions, expected.positions) < LIMITS.gradient
    assert largest(found.strain, expected.strain) < LIMITS.gradient


def test_ghosts_have_empty_rows_and_feel_nothing() -> None:
    model, atoms = force_field(), ethanol()
    one = graph_of(model, atoms)
    graph, capacity = AtomicGraph.batch_of([one, one]), Capacity(4, 2 * len(atoms) + 5, 8)
    table = neighbour_table(graph, model.cutoff, capacity.neighbours, capacity.atoms)
    tensors = padded(graph, capacity, ("positions", "batch", "field"))
    assert table.senders.shape == (capacity.atoms, capacity.neighbours)
    assert not table.filled[graph.n_atoms :].any()
    assert table.filled.sum() == graph.n_edges
    assert tensors["batch"].tolist() == [0] * len(atoms) + [1] * len(atoms) + [3] * 5
    assert len(tensors["field"]) == 4
    static = Static(model, capacity)
    for step in range(2):
        graph = AtomicGraph.batch_of([graph_of(model, ethanol(seed=step)), one])
        found, expected = static(graph), model(graph)
        assert largest(found.forces, expected.forces) < LIMITS.gradient
        assert largest(found.energy, expected.energy) < LIMITS.parity
        assert found.energies.shape == expected.energies.shape
    graph = AtomicGraph.batch_of([one, one])
    lengths = table.vectors(tensors["positions"]).norm(dim=-1)
    filled = table.filled.flatten().bool()
    assert torch.equal(table.edge_index[:, filled], graph.edge_index)
    assert torch.equal(lengths[filled], graph.vectors().norm(dim=-1))
    assert lengths[~filled].min() >= 2 * model.cutoff
    own_senders = table.edge_index[:, ~filled]
    assert torch.equal(own_senders[0], own_senders[1])


def test_what_does_not_fit_raises() -> None:
    model = force_field()
    graph = graph_of(model, ethanol())
    for neighbours, atoms in ((7, 9), (8, 8)):
        with pytest.raises(ValueError, match="too small for 9 atoms with up to 8 neighbours"):
            neighbour_table(graph, model.cutoff, neighbours, atoms)
    with pytest.raises(ValueError, match=r"atoms=9, .* is beyond the capacity"):
        Static(model, Capacity(1, 8, 8))(graph)
    with pytest.raises(ValueError, match="backend is 'cuda'; expected one of replay, inductor"):
        Static(model, backend="cuda")


class Counted(TorchDispatchMode):
    """Counts dispatched operations; those that read a value or a size back from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.reads = 0, []

    def __torch_dispatch__(
        self, target: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.operations += 1
        inputs = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        masks = target is torch.ops.aten.index.Tensor and any(x.dtype == torch.bool for x in inputs)
        dynamic = torch.Tag.dynamic_output_shape in target.tags
        if target in READS or masks or (dynamic and target is not torch.ops.aten.index.Tensor):
            self.reads.append(str(target))
        result = target(*args, **(kwargs or {}))
        results = [x for x in pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
        if len({x.device for x in (*inputs, *results) if x.ndim}) > 1:
            self.reads.append(f"{target} between devices")
        return result


aten = torch.ops.aten
READS = (
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.bincount.default,
    aten.lift_fresh_copy.default,  # a tensor of Python numbers
    aten.lift_fresh.default,
)


@pytest.mark.parametrize("group", MODELS)
def test_no_value_is_read_back_in_the_table_form(group: str) -> None:
    """Of the graph form, some are. The meta device has no values that could be read."""
    model, conditions = force_field(group, **MODELS[group]), CONDITIONS.get(group, {})
    graph = graph_of(model, ethanol(), **conditions)
    table = neighbour_table(graph, model.cutoff, 8)
    with Counted() as of_graph:
        differentiate(model.atomic_energies, graph, stress=True)
    with Counted() as of_table:
        found = differentiate(model.atomic_energies, graph, stress=True, table=table)
    assert found.positions.abs().max() > 1e-2
    assert of_graph.reads
    assert not of_table.reads
    table = NeighbourTable(*(tensor.to("meta") for tensor in table))
    model, graph = model.to("meta"), graph.to("meta")
    with Counted() as on_meta:
        found = differentiate(model.atomic_energies, graph, table=table)
    assert found.positions.device.type == "meta"
    assert not on_meta.reads


@pytest.mark.parametrize(
    ("group", "eager", "replayed"),
    [("O(3)", 640, 300), ("C_inf_v", 620, 300), ("SO(2)", 1420, 700)],
)
def test_numbers_of_operations(group: str, eager: int, replayed: int) -> None:
    """Of a call: what launches cost on a GPU. They may fall; who raises them says why."""
    model, conditions = force_field(group, **MODELS[group]).freeze(), CONDITIONS.get(group, {})
    graph = graph_of(model, ethanol(), **conditions)
    model(graph)  # fills the cache of weight-only expressions
    with Counted() as counted:
        model(graph)
    static = Static(model)
    static(graph)
    assert counted.operations <= eager
    assert static._functions[False, torch.float64].n_calls <= replayed


def test_replaying_on_another_device_is_declined_without_reading_from_it() -> None:
    model = force_field()
    graph = graph_of(model, ethanol())
    assert Static(model).is_faster(graph)
    assert not Static(model).is_faster(graph.to("meta"))


def test_a_dipole_comes_from_the_model() -> None:
    model = force_field("O(3)", environment={"field": True})
    graph = graph_of(model, ethanol(), field=(0.1, 0.0, 0.2))
    found = Static(model)(graph, dipole=True).dipole
    assert found.abs().max() > 1e-3
    assert torch.equal(found, model(graph, dipole=True).dipole)


def test_batches_of_the_same_atoms() -> None:
    model = force_field()
    static = Static(model)
    for seed in range(2):
        graph = AtomicGraph.batch_of([graph_of(model, a) for a in (ethanol(seed), crystal())])
        found, expected = static(graph, stress=True), model(graph, stress=True)
        for one, two in zip(found[:3], expected[:3], strict=True):
            assert largest(one, two) < LIMITS.gradient
        assert found.stress[0].isnan().all()
        assert largest(found.stress[1], expected.stress[1]) < LIMITS.gradient
    assert static.compilations == 1


def test_it_predicts_the_same_inside_inference_mode_and_autocast() -> None:
    model = force_field().float()
    with torch.inference_mode():
        first = Static(model.freeze())
        graph = graph_of(model, ethanol())
        inside = first(graph).forces
    second = Static(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = second(graph).forces
    expected = model(graph).forces
    for found in (inside, cast, first(graph).forces, second(graph).forces):
        assert largest(found, expected) < TOLERANCES[torch.float32].gradient


def test_weights_have_gradients_although_the_first_call_recorded_none() -> None:
    model = force_field().train()
    evaluate, graph = Static(model, differentiable=True), graph_of(model, ethanol())
    with torch.no_grad():
        assert not evaluate(graph).energy.requires_grad
    evaluate(graph).energy.sum().backward()
    assert evaluate.compilations == 1
    assert model.network.embedding.grad.abs().max() > 0


def test_positions_of_another_dtype_are_not_rounded() -> None:
    model = force_field().freeze()
    evaluate, graph = Static(model), graph_of(model, ethanol())
    evaluate(graph.to(dtype=torch.float32))
    assert largest(evaluate(graph).forces, model(graph).forces) < LIMITS.gradient


def test_an_interrupted_call_leaves_no_edges_of_an_earlier_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    model = force_field()
    evaluate, graph = Static(model), graph_of(model, crystal())
    evaluate(graph)
    larger = dataclasses.replace(graph, cell=1.01 * graph.cell)  # with the same edges
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(static_module, "neighbour_table", interrupted)
        evaluate(larger)
    assert largest(evaluate(larger).forces, model(larger).forces) < LIMITS.gradient


def test_tensors_of_two_devices_are_not_the_same() -> None:
    here, there = torch.zeros(3), torch.zeros(3, device="meta")
    assert static_module.same_tensors([here], [here.clone()])
    assert not static_module.same_tensors([here], [there])


def test_threads_may_share_it() -> None:
    """Each of eight sends structures of its own through one evaluator, again and again."""
    model = force_field().freeze()
    static = Static(model)
    graphs = [graph_of(model, ethanol(seed)) for seed in range(8)]
    expected = [model(graph).forces for graph in graphs]
    static(graphs[0])

    def wrong(k: int) -> int:
        answers = (static(graphs[k]).forces for _ in range(40))
        return sum(largest(forces, expected[k]) > LIMITS.gradient for forces in answers)

    with ThreadPoolExecutor(len(graphs)) as pool:
        assert sum(pool.map(wrong, range(len(graphs)))) == 0


def test_capacities_grow_with_the_neighbours_by_steps() -> None:
    model, dense = force_field(), crystal()
    static = Static(model)
    for scale in (1.0, 0.8):
        dense.set_cell(dense.cell * scale, scale_atoms=True)
        graph = graph_of(model, dense)
        static(graph)
        degree = int(torch.bincount(graph.edge_index[0]).max())
        assert static.capacity == (1, len(dense), -(-degree // STEP) * STEP)
    assert static.compilations == 2
    dense.set_cell(dense.cell * 1.2, scale_atoms=True)
    static(graph_of(model, dense))
    assert static.compilations == 2


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")  # torch's own
def test_a_failure_to_compile_is_explained() -> None:
    def broken(*_: object) -> None:
        raise OSError("no compiler found")

    model = force_field()
    graph = graph_of(model, ethanol())
    with pytest.raises(RuntimeError, match=r"torch.compile failed .*C\+\+ compiler"):
        Static(model, backend=partial(inductor, backend=broken))(graph)


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")  # torch's own
def test_through_torch_compile() -> None:
    model = force_field("C_inf_v", layers=1, correlation=1, max_frequency=1)
    graph = graph_of(model, ethanol())
    static = Static(model, backend=partial(inductor, backend="aot_eager"))
    assert largest(static(graph).forces, model(graph).forces) < LIMITS.gradient
    assert static.seconds > 0
