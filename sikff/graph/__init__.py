"""Structures as graphs: atoms, their neighbours, and the electric field and surface they feel."""

from sikff.graph.atomic_graph import FLAT, AtomicGraph, has_volume
from sikff.graph.neighbour_search import MIN_DISTANCE, Edges, check_finite, find_edges

__all__ = [
    "FLAT",
    "MIN_DISTANCE",
    "AtomicGraph",
    "Edges",
    "check_finite",
    "find_edges",
    "has_volume",
]
