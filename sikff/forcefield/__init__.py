"""The force field and its files."""

from sikff.forcefield.config import EnvironmentConfig, ForceFieldConfig
from sikff.forcefield.energy import EnergyModel, Prediction
from sikff.forcefield.model_file import load
from sikff.forcefield.network import ForceField

__all__ = [
    "EnergyModel",
    "EnvironmentConfig",
    "ForceField",
    "ForceFieldConfig",
    "Prediction",
    "load",
]
