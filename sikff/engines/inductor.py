"""A function of tensors as one flat list of operations, for torch's compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

Backend = str | Callable[..., Any]
Function = Callable[..., tuple[Tensor, ...]]


def flattened(function: Function, example: Sequence[Tensor], again: bool = False) -> GraphModule:
    """A function as one list of operations.

    Args:
        function: of tensors.
        example: its inputs.
        again: whether its results can be differentiated.
    """
    traced = make_fx(function)(*example)
    if again:  # autograd detaches what it keeps: in a list of operations that would lose gradients
        for node in traced.graph.find_nodes(
            op="call_function", target=torch.ops.aten.detach.default
        ):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
        traced.recompile()
    return traced


def compiled_by_torch(flat: GraphModule, example: Sequence[Tensor], backend: Backend) -> Function:
    """What ``torch.compile`` makes of a list of operations, tried on an example.

    Raises:
        RuntimeError: if torch cannot compile on this machine.
    """
    function = torch.compile(flat, backend=backend, dynamic=False)
    try:
        function(*example)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise RuntimeError(
            f"torch.compile failed ({reason}); on the CPU it needs a C++ compiler, such as "
            "g++, on a GPU Triton. Install it, or do not compile"
        ) from error
    return function


def with_constants_folded(traced: GraphModule) -> GraphModule:
    """The same function, with everything that does not depend on its inputs computed now."""
    known: dict[Node, Any] = {}
    for node in list(traced.graph.nodes):
        if node.op == "get_attr":
            known[node] = getattr(traced, str(node.target))
        elif node.op == "call_function" and all(n in known for n in node.all_input_nodes):
            args, kwargs = (map_arg(a, known.__getitem__) for a in (node.args, node.kwargs))
            known[node] = node.target(*args, **kwargs)
    for node, value in known.items():
        if node.op == "call_function" and not known.keys() >= node.users.keys():
            name = f"constant_{node.name}"
            traced.register_buffer(name, value.contiguous())
            with traced.graph.inserting_before(node):
                constant = traced.graph.get_attr(name)
            node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in known)
    for node in reversed(known):  # also what changes a constant in place, which is no dead code
        if not node.users:
            traced.graph.erase_node(node)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
