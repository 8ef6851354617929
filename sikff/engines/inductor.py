"""The backend ``inductor``: a function of tensors as one flat graph, compiled by torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

Function = Callable[..., tuple[Tensor, ...]]


def inductor(
    function: Function,
    example: Sequence[Tensor],
    weights: Sequence[Tensor] = (),
    backend: str | Callable[..., Any] = "inductor",
) -> Function:
    """Compiles a function for inputs of one shape.

    Args:
        function: of tensors, and of gradients that it takes itself.
        example: inputs.
        weights: in which the results are differentiable; without any, all that does not depend on
            the inputs is computed once.
        backend: of ``torch.compile``; the default needs a C++ compiler, on a GPU Triton.

    Raises:
        RuntimeError: if torch cannot compile on this machine.
    """
    traced = make_fx(function)(*example)
    traced = _without_detach(traced) if weights else with_constants_folded(traced)
    on_gpu = backend == "inductor" and example[0].device.type == "cuda"
    # "reduce-overhead" are CUDA graphs
    mode = "reduce-overhead" if on_gpu else None
    compiled: Function = torch.compile(traced, backend=backend, dynamic=False, mode=mode)
    compiled = _with_results_copied(compiled) if on_gpu else compiled
    try:
        compiled(*example)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            f"torch.compile failed ({reason}); on the CPU it needs a C++ compiler, such as "
            "g++, on a GPU Triton. Install it, or do not compile"
        ) from error
    return compiled


def _with_results_copied(compiled: Function) -> Function:
    """The next launch of a CUDA graph overwrites its results."""

    def function(*tensors: Tensor) -> tuple[Tensor, ...]:
        torch.compiler.cudagraph_mark_step_begin()
        return tuple(result.clone() for result in compiled(*tensors))

    return function


def _without_detach(traced: GraphModule) -> GraphModule:
    """Autograd detaches what it saves; in a flat graph that would cut off gradients of weights."""
    for node in traced.graph.find_nodes(op="call_function", target=torch.ops.aten.detach.default):
        node.replace_all_uses_with(node.args[0])
        traced.graph.erase_node(node)
    traced.recompile()
    return traced


def with_constants_folded(traced: GraphModule) -> GraphModule:
    """The same function, with everything that does not depend on its inputs computed now."""
    constants: dict[Node, Any] = {}
    for node in list(traced.graph.nodes):
        if node.op == "get_attr":
            constants[node] = getattr(traced, str(node.target))
        elif node.op == "call_function" and all(n in constants for n in node.all_input_nodes):
            args, kwargs = (map_arg(a, constants.__getitem__) for a in (node.args, node.kwargs))
            constants[node] = node.target(*args, **kwargs)
    for node, value in constants.items():
        # only constants that other nodes read become buffers
        if node.op == "call_function" and not constants.keys() >= node.users.keys():
            name = f"constant_{node.name}"
            traced.register_buffer(name, value.contiguous())
            with traced.graph.inserting_before(node):
                constant = traced.graph.get_attr(name)
            node.replace_all_uses_with(constant, delete_user_cb=lambda n: n not in constants)
    for node in reversed(constants):  # also in-place changes of constants, which are not dead code
        if not node.users:
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
