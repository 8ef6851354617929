"""Structures as graphs: atoms, their neighbours, and the electric field and surface they feel."""

from sikff.graph.atomic_graph import AtomicGraph
from sikff.graph.neighbour_search import MIN_DISTANCE, Edges, check_finite, find_edges
from sikff.graph.structure import FLAT, Structure, StructureArrays, has_volume

__all__ = [
    "FLAT",
    "MIN_DISTANCE",
    "AtomicGraph",
    "Edges",
    "Structure",
    "StructureArrays",
    "check_finite",
    "find_edges",
    "has_volume",
]
