"""The force field and its files."""

from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.energy import EnergyModel, Prediction
from sikff.forcefield.environment_config import EnvironmentConfig
from sikff.forcefield.force_field import ForceField, load

__all__ = [
    "EnergyModel",
    "EnvironmentConfig",
    "ForceField",
    "ForceFieldConfig",
    "Prediction",
    "load",
]
