"""The configuration of a learning run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from sikff.forcefield import ForceFieldConfig

from ..read_settings import present_names, read_settings, sentence
from ..section import Count, Positive, Section

Number = Annotated[float, Field(allow_inf_nan=False)]
HOTTER = 1.5  # times the highest temperature; explored as well, and not measured


class CalculatorConfig(Section):
    """Where labels come from: an ASE calculator, or a folder that something else looks after.

    Attributes:
        name: of a class or function that returns a calculator, with its module, such as
            tblite.ase.TBLite or ase.calculators.emt.EMT.
        arguments: of `name`.
        workers: processes, each with a calculator of its own.
        folder: instead of `name`: structures to be labelled are written to folders in it, and the
            command ends with status 3 until the labels are there.
        result: file in each of these folders that holds the label, in any format of ASE, such as
            vasprun.xml or OUTCAR.
    """

    name: str | None = None
    arguments: dict[str, Any] = Field({})
    workers: Count = 1
    folder: Path | None = None
    result: str = "labelled.xyz"

    @model_validator(mode="after")
    def _one_of_two(self) -> CalculatorConfig:
        if (self.name is None) == (self.folder is None):
            raise ValueError(
                "expected either name, an ASE calculator such as ase.calculators.emt.EMT, or "
                "folder, where structures wait for labels"
            )
        return self


class SurfaceConfig(Section):
    """A slab above which the molecules of `structures` are.

    The slab is no part of the model: labels are those of slab and molecules together minus that of
    the slab, which does not move.

    Attributes:
        slab: file of the slab alone, with vacuum, periodic along its surface.
        side: of the slab, above which molecules are; the third cell vector points to the top.
        tolerance: Å; atoms of the slab closer than this to the image of another one are the same.
        frozen: true: atoms of the slab do not move, and are not in the model. There is no other
            choice.
        molecules: numbers of molecules in a structure; of two and more each has its place.
        heights: [low, high], Å, between which molecules are put: of the lowest atom of a molecule,
            from the centre of the outermost atom of the slab. The model sees the surface up to 1.5
            Å above the upper one, where dynamics ends. auto: from contact with the surface as far
            as the vacuum of the slab allows, at most 6.
        wall: eV; how far up the repulsive wall structures are sought: their energy above that of
            molecules in vacuum, the slab and the thermal energy of the hottest dynamics. Labels of
            start structures above it are refused.
    """

    slab: Path
    side: Literal["top", "bottom"] = "top"
    tolerance: Positive = 0.02
    frozen: Literal[True] = True
    molecules: Annotated[tuple[Count, ...], Field(min_length=1)] = (1,)
    heights: Literal["auto"] | tuple[Number, Number] = "auto"
    wall: Positive = 2.0

    @field_validator("frozen", mode="before")
    @classmethod
    def _is_frozen(cls, frozen: Any) -> Any:
        if frozen is not True:
            raise ValueError(
                f"got {frozen!r}; expected true: the slab is no part of the model, so its atoms "
                "cannot move. For a slab that moves leave out surface, and give slab and molecule "
                "together as structures"
            )
        return frozen

    @field_validator("heights", mode="before")
    @classmethod
    def _are_heights(cls, heights: Any) -> Any:
        words = f"got {heights!r}; expected auto, or [low, high] in Å with low < high and high > 0"
        if heights == "auto":
            return heights
        if not isinstance(heights, list | tuple) or len(heights) != 2:
            raise ValueError(words)
        if not all(isinstance(each, int | float) for each in heights):
            raise ValueError(words)
        if not heights[0] < heights[1] or heights[1] <= 0:
            raise ValueError(words)
        return tuple(heights)


class LearnConfig(Section):
    """A run that learns a force field from a calculator.

    Attributes:
        structures: file(s) of structures to begin with: conformers, phases, molecules. Charge, spin
            and electric field are in their info, as anywhere.
        calculator: section of its own. None: given to ``learn`` in Python.
        surface: section of its own; the structures are then molecules to put on a slab. None: none.
        target: meV/Å; mean absolute error of forces in structures of the model's own dynamics.
        temperatures: K, what the force field is for. The run explores at 1.5 times the highest as
            well.
        ensemble: "nvt", or "npt" for condensed phases, whose stress is then learned too.
        pressure: GPa, of npt.
        timestep: fs. None: by the lightest element, 0.5 with hydrogen.
        data: file(s) of labelled structures to begin with. None: none.
        max_labels: the run ends after asking for so many.
        max_minutes: the run ends after so many, of all its parts together. None: no limit.
        members: models of the committee. None: two, or more where labels take long.
        model: keys of :class:`ForceFieldConfig`, while it learns.
        final: keys that differ in the last training, from random weights.
        seed: of everything drawn.
        output: folder of the run.
    """

    structures: tuple[Path, ...]
    calculator: CalculatorConfig | None = None
    surface: SurfaceConfig | None = None
    target: Positive = 20.0
    temperatures: Annotated[tuple[Positive, ...], Field(min_length=1)] = (300.0, 600.0)
    ensemble: Literal["nvt", "npt"] = "nvt"
    pressure: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    timestep: Positive | None = None
    data: tuple[Path, ...] | None = None
    max_labels: Annotated[int, Field(ge=20)] = 300
    max_minutes: Positive | None = 60.0
    members: Annotated[int, Field(ge=2, le=8)] | None = None
    model: dict[str, Any] = Field({"channels": 16, "correlation": 2})
    final: dict[str, Any] = Field({})
    seed: Annotated[int, Field(ge=0)] = 0
    output: Path = Path("learned")

    @field_validator("structures", "data", mode="before")
    @classmethod
    def _one_or_more(cls, given: Any) -> Any:
        if given in ("", (), []):
            raise ValueError(f"got {given!r}; expected a file, or a list of files")
        return (given,) if isinstance(given, str | Path) else given

    @field_validator("model", "final")
    @classmethod
    def _keys_of_a_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        model = present_names(model)
        try:
            ForceFieldConfig(**{"elements": ("H",), "group": "C1", **model})
        except ValidationError as error:
            raise ValueError(sentence(error)) from error
        return model

    @model_validator(mode="after")
    def _consistent(self) -> LearnConfig:
        if self.pressure and self.ensemble != "npt":
            raise ValueError(f"pressure is {self.pressure:g} GPa, but nvt keeps cells; take npt")
        if self.surface is not None and self.ensemble == "npt":
            raise ValueError("ensemble is npt, but no pressure moves a surface; take nvt")
        return self

    @property
    def hottest(self) -> float:
        """The temperature that is explored beyond those asked for, K."""
        return HOTTER * max(self.temperatures)


def read_learn_config(path: str | Path, overrides: Iterable[str] = ()) -> LearnConfig:
    """Reads a YAML file; each override is ``key.sub=value`` with a value in YAML.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for text that is not YAML, an unknown key (the nearest one is suggested), or a
            value out of range.
    """
    return read_settings(path, overrides, LearnConfig, ["model", "final"])
