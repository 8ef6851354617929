"""Thin adapters between force fields and simulation programs."""

from .ase import SIKFFCalculator

__all__ = ["SIKFFCalculator"]
