"""Symmetry groups, their irreps and the equivariant maps between them (all at build time)."""

from sikff.groups.group import SymmetryGroup
from sikff.groups.irreps import Irrep

__all__ = ["Irrep", "SymmetryGroup"]
