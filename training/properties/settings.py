"""Settings of the checks of a crystal."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ..section import NonNegative, Positive

Property = Literal["eos", "elastic", "phonons", "vacancy", "surfaces", "dynamics"]
DEFAULT: tuple[Property, ...] = ("eos", "elastic", "phonons", "vacancy", "surfaces", "dynamics")


class CheckSettings(BaseModel):
    """What is checked, and how large the cells are."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    properties: tuple[Property, ...] = DEFAULT
    """of eos (lattice, bulk modulus), elastic (constants), phonons (bands), vacancy (formation
    energy), surfaces (energies), dynamics (a run at --temperature)"""
    size: Positive = 12.0
    """least distance of opposite faces of supercells, and thickness of slabs, Å"""
    temperature: NonNegative = 300.0
    """of the dynamics, K"""
    picoseconds: Positive = 2.0
    """length of the dynamics"""
    timestep: Positive = 2.0
    """of the dynamics, fs"""
    fmax: Positive = 1e-3
    """largest force left in relaxations, eV/Å"""
