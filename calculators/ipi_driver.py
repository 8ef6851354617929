"""What i-PI loads by its path, ``<pes_path>``: it imports this file alone, outside its package."""

from importlib import import_module

__DRIVER_NAME__ = "sikff"
__DRIVER_CLASS__ = "SIKFFDriver"

SIKFFDriver = import_module("sikff.calculators.ipi").SIKFFDriver
