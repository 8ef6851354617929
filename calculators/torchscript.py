"""Force fields in TorchScript, made from the graph of operations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch._ops import OpOverload
from torch.fx import Node

from sikff.forcefield import ForceField

from .table_form import inputs_of, trace_energies

aten = torch.ops.aten
SIGNATURE = ("positions", "numbers", "cell", "senders", "shifts", "charge", "unpaired")
OF_SCRIPT = {aten.sym_size: aten.size, aten.sym_numel: aten.numel}
FIXED = {"origin": torch.full((3,), torch.inf).double(), "surface": torch.zeros(1).long()}


def script_energies(model: ForceField) -> torch.jit.ScriptModule:
    """The function of :func:`trace_energies` in TorchScript, for the arguments of SIGNATURE.

    Conditions that metatomic does not have are those of FIXED.
    """
    traced = trace_energies(model)
    graph, arguments = traced.graph, list[Node]()
    placeholders = graph.find_nodes(op="placeholder")
    of_name = {each.name: n for each, n in zip(inputs_of(model), placeholders, strict=True)}
    for name in SIGNATURE:
        if name not in of_name:  # which it does not read
            with graph.inserting_after(arguments[-1]):
                of_name[name] = graph.placeholder(name)
        arguments.append(of_name[name])
    with graph.inserting_after(arguments[-1]):
        device = graph.call_function(getattr, (arguments[0], "device"))
    for name in FIXED.keys() & of_name.keys():
        traced.register_buffer(name, FIXED[name])
        with graph.inserting_after(device):
            of_name[name].replace_all_uses_with(graph.get_attr(name))
        graph.erase_node(of_name[name])
    for node in graph.nodes:
        if isinstance(node.target, OpOverload):  # TorchScript finds overloads itself
            packet = node.target.overloadpacket
            node.target = OF_SCRIPT.get(packet, packet)
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": device}
    (output,) = graph.find_nodes(op="output")
    output.args = output.args[0]  # one tensor, not a tuple of one
    graph.lint()
    traced.recompile()
    with quiet_torchscript():
        return torch.jit.script(traced)


@contextmanager
def quiet_torchscript() -> Iterator[None]:
    """Inside, torch does not warn of TorchScript: that it is deprecated, and of its own modules."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.* is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "The TorchScript type system", UserWarning)
        yield
