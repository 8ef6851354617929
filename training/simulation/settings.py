"""Settings of molecular dynamics and relaxation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..section import Count, NonNegative, Positive

Pressure = Annotated[float, Field(allow_inf_nan=False)]


class MDSettings(BaseModel):
    """Settings of molecular dynamics."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    ensemble: Literal["nve", "nvt", "npt"] = "nve"
    """nve: velocity Verlet; nvt: Langevin, or another thermostat; npt: Langevin also of the cell,
    which changes its size and keeps its shape (Quigley and Probert, 2004)"""
    thermostat: Literal["langevin", "nose-hoover", "bussi"] = "langevin"
    """of nvt. nose-hoover (a chain of three) and bussi (stochastic rescaling) scale all momenta
    alike, which disturbs diffusion less; both need atoms that exchange energy, so neither is for
    one molecule in vacuum"""
    shape: bool = False
    """npt changes the shape of the cell too; for crystals, as a liquid keeps none"""
    steps: Count = 1000
    """number of time steps"""
    timestep: Positive = 0.5
    """length of a step, fs"""
    temperature: NonNegative = 300.0
    """of the thermostat and of the initial momenta, which are drawn if the structure has none, K"""
    friction: Positive = 0.01
    """of the thermostat, 1/fs, or the inverse of the time constant of others than langevin; the
    barostat is ten times slower"""
    surface_friction: NonNegative | None = None
    """a bath that stands for the frozen surface, in place of a thermostat everywhere: its friction,
    1/fs, of atoms up to friction_height. Above it decays, and from the range of the surface on
    atoms move as in nve. The ensemble is nvt"""
    friction_height: NonNegative = 3.0
    """up to here an atom has all of surface_friction, Å above the surface"""
    friction_decay: Positive = 1.0
    """length in which surface_friction falls to 1/e above friction_height, Å"""
    pressure: Pressure = 0.0
    """of npt, GPa"""
    every: Count = 10
    """steps between rows of the log and frames of the trajectory"""
    seed: Annotated[int, Field(ge=0)] = 0
    """of momenta and thermostat"""
    restart_every: Count = 1000
    """steps between writes of the restart file, which is written at the end and after an interrupt
    too"""

    @model_validator(mode="before")
    @classmethod
    def _surface_is_a_thermostat(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        has_bath = given.get("surface_friction") is not None or "thermostat" in given
        return {"ensemble": "nvt"} | given if has_bath else given

    @model_validator(mode="after")
    def _consistent(self) -> MDSettings:
        if self.ensemble == "npt" and not self.temperature:
            raise ValueError("temperature is 0 K; npt expects one above, or take nvt")
        if self.pressure and self.ensemble != "npt":
            raise ValueError(
                f"pressure is {self.pressure:g} GPa, but {self.ensemble} keeps the cell; take npt"
            )
        if self.shape and self.ensemble != "npt":
            raise ValueError(f"shape is of the cell, which {self.ensemble} keeps; take npt")
        self._check_thermostat()
        self._check_friction()
        return self

    def _check_thermostat(self) -> None:
        if self.thermostat == "langevin":
            return
        if self.ensemble != "nvt" or self.surface_friction is not None:
            other = "surface_friction" if self.surface_friction is not None else self.ensemble
            raise ValueError(
                f"thermostat is {self.thermostat}, which is one of nvt; expected it without {other}"
            )
        if not self.temperature:
            raise ValueError(
                f"temperature is 0 K; {self.thermostat} expects one above, or take langevin"
            )

    def _check_friction(self) -> None:
        changed = {
            name: getattr(self, name)
            for name in ("friction", "friction_height", "friction_decay")
            if getattr(self, name) != MDSettings.model_fields[name].default
        }
        if self.surface_friction is None:
            changed.pop("friction", None)
            if changed:
                raise ValueError(
                    f"{' and '.join(changed)} shape surface_friction, which is not given; give "
                    "both, or neither"
                )
            return
        if self.ensemble != "nvt":
            raise ValueError(
                f"surface_friction is the thermostat of nvt, but the ensemble is {self.ensemble}; "
                "take nvt"
            )
        if "friction" in changed:
            raise ValueError(
                f"friction is {self.friction:g} 1/fs everywhere, surface_friction "
                f"{self.surface_friction:g} 1/fs near the surface only; expected one of the two"
            )


class RelaxationSettings(BaseModel):
    """Settings of a relaxation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fmax: Positive = 0.01
    """largest force left, eV/Å"""
    steps: Count = 500
    """most steps"""
    optimiser: Literal["auto", "bfgs", "lbfgs", "fire"] = "auto"
    """auto: bfgs up to 100 atoms, lbfgs above, as bfgs diagonalises a matrix of 9 N^2 numbers in
    each step. They read forces only, so the rounding of energies in float32 does not matter"""
    cell: bool = False
    """relax the cell too: its periodic vectors, in the directions that they span"""
    symmetry: bool = False
    """keep the space group of a crystal, which the start has within 0.01 Å and then exactly; needs
    spglib"""
    pressure: Pressure = 0.0
    """on the cell of a 3D crystal, GPa"""
