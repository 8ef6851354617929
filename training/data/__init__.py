"""Structures and their labels: read, checked, reported on, and made into samples and batches."""

from .labels import LabelKeys
from .reading import read_structures
from .structures import Structures

__all__ = ["LabelKeys", "Structures", "read_structures"]
