"""Symmetry groups, their irreps and the equivariant maps between them (all at build time)."""

from sikff.groups.group import Irrep, SymmetryGroup

__all__ = ["Irrep", "SymmetryGroup"]
