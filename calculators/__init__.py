"""Thin adapters between force fields and simulation programs."""

from sikff.calculators.ase import SIKFFCalculator

__all__ = ["SIKFFCalculator"]
