"""What the backend asks of CUDA, on a CPU that acts it: graphs that repeat what was captured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from force_fields import ethanol, force_field, graph_of
from sikff.engines import Auto, Capacity, NotReplayableError, Static, cuda_graph
from sikff.engines.cuda_graph import WARM_UP, CudaGraph
from sikff.graph import AtomicGraph
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


class Graph(TorchDispatchMode):
    """Operations, and the tensors that they filled while they were captured."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.replays = 0

    def __torch_dispatch__(
        self, target: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        # aliases: shapes of tensors may be changed later, in place
        given = pytree.tree_map_only(Tensor, Tensor.detach, (args, kwargs or {}))
        result = target(*args, **(kwargs or {}))
        if not target.is_view:
            filled = [x.detach() for x in pytree.tree_leaves(result) if isinstance(x, Tensor)]
            self.operations.append((target, *given, filled))
        return result

    def replay(self) -> None:
        self.replays += 1
        for target, args, kwargs, filled in self.operations:
            again = pytree.tree_leaves(target(*args, **kwargs))
            for old, new in zip(filled, again, strict=True):
                old.copy_(new)

    def pool(self) -> str:
        return "pool"


class Stream:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def wait_stream(self, other: Stream) -> None:
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What CUDA is asked for, in order."""
    log: list[str] = []

    @contextmanager
    def stream(which: Stream) -> Iterator[None]:
        log.append(f"on {which.name}")
        yield

    @contextmanager
    def graph(graph: Graph, pool: Any = None, capture_error_mode: str = "") -> Iterator[None]:
        log.append(f"capture {pool} {capture_error_mode}")
        with graph:
            yield

    main = Stream(log, "main")
    acted = {
        "Stream": partial(Stream, log, "side"),
        "current_stream": lambda: main,
        "stream": stream,
        "graph": graph,
        "CUDAGraph": Graph,
        "device": lambda device: nullcontext(),
    }
    for name, value in acted.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(cuda_graph, "DEVICE", "cpu")
    return log


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


PREPARED = ["side waits for main", "on side", "main waits for side"]


def test_a_call_is_captured_once_after_others_on_a_side_stream(log: list[str]) -> None:
    model, calls = force_field().freeze(), []

    def counted(function: Any, example: Any, weights: Any) -> CudaGraph:
        def counting(*tensors: Tensor) -> Any:
            calls.append(len(log))
            return function(*tensors)

        return CudaGraph(counting, example, weights)

    static = Static(model, backend=counted)
    found = [static(graph_of(model, ethanol(seed))) for seed in range(3)]
    for seed, each in enumerate(found):  # results of earlier calls stay what they were
        assert error(each.forces, model(graph_of(model, ethanol(seed))).forces) < LIMITS.gradient
    assert log == [*PREPARED, "capture None thread_local"]
    assert calls == [2] * WARM_UP + [4]
    assert static.compilations == 1
    graphs = static._functions[False, torch.float64]
    assert (graphs._forward.replays, graphs._backward.replays) == (3, 0)


def test_gradients_are_a_second_graph_in_the_same_memory(log: list[str]) -> None:
    model = force_field().train()
    graphs = [graph_of(model, ethanol(seed)) for seed in range(3)]
    static = Static(model, Capacity(1, 10, 12), "cuda_graph", differentiable=True)
    weights = list(model.parameters())

    def gradient(evaluate: Any, graph: AtomicGraph) -> Tensor:
        loss = evaluate(graph).forces.square().sum()
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return torch.cat([each.flatten() for each in found if each is not None])

    for graph in graphs:
        found, expected = gradient(static, graph), gradient(model, graph)
        assert error(found, expected) < LIMITS.gradient
        with torch.no_grad():
            for weight in weights:
                weight *= 1.01  # in place, as an optimiser does
    assert log == [*PREPARED, "capture None thread_local", "capture pool thread_local"]
    first = static(graphs[0])
    static(graphs[1])
    with pytest.raises(RuntimeError, match="buffers of this call have been used again"):
        first.energy.sum().backward()


def test_a_function_that_cannot_be_captured_is_told_and_the_model_predicts(
    log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    model = force_field().freeze()
    graph, static = graph_of(model, ethanol()), Static(model, backend="cuda_graph")
    monkeypatch.setattr(torch.cuda, "graph", refused)
    with pytest.raises(NotReplayableError, match="no CUDA graph could be captured: operation not"):
        static(graph)
    with pytest.warns(UserWarning, match="which is slower: no CUDA graph could be captured"):
        found = Auto(model, static)(graph)
    assert torch.equal(found.forces, model(graph).forces)


def test_a_cuda_graph_on_a_cpu_is_refused() -> None:
    model = force_field()
    with pytest.raises(NotReplayableError, match="CUDA graphs are for tensors on a GPU; got cpu"):
        Static(model, backend="cuda_graph")(graph_of(model, ethanol()))
