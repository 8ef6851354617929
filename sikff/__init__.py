"""Molecular-dynamics force fields, equivariant under any compact group G <= O(3)."""

from sikff.field_types import FieldType
from sikff.forcefield import ForceField, ForceFieldConfig, load
from sikff.groups import SymmetryGroup

__version__ = "0.1.0"

__all__ = ["FieldType", "ForceField", "ForceFieldConfig", "SymmetryGroup", "load"]
