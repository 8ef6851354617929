"""Structures as graphs: atoms, their neighbours, and what acts on them from outside."""

from sikff.graph.atomic_graph import (
    CLOSEST,
    FLAT,
    AtomicGraph,
    Edges,
    check_finite,
    find_edges,
    has_volume,
)

__all__ = [
    "CLOSEST",
    "FLAT",
    "AtomicGraph",
    "Edges",
    "check_finite",
    "find_edges",
    "has_volume",
]
