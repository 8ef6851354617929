"""``sikff export``: a force field as a file that other programs run without sikff."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from ..console import check_output_paths
from .arguments import Metavar
from .shared_settings import ModelFile

EXTRA = "a file .pt is a model of metatomic, which is not installed: pip install 'sikff[metatomic]'"


class ExportSettings(ModelFile):
    """Arguments of ``sikff export``."""

    to: Path
    """a name in .pt2: compiled by AOTInductor, needs torch alone; or in .pt: for metatomic"""
    dtype: Literal["float32", "float64"] | None = None
    """of the weights (default: as stored in MODEL); positions and energies are float64"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where a file .pt2 will run"""
    licence: Annotated[str | None, Metavar("TEXT")] = None
    """of the weights, for the description in the file"""
    overwrite: bool = False
    """replace a file that exists"""


def run(settings: ExportSettings) -> None:
    """Writes the exported force field."""
    if settings.to.suffix not in (".pt2", ".pt"):
        raise ValueError(f"{str(settings.to)!r}: expected a name in .pt2 or .pt")
    check_output_paths([settings.to], settings.overwrite, inputs=[settings.model])
    if settings.to.suffix == ".pt" and not find_spec("metatomic"):
        raise ValueError(EXTRA)
    from sikff.calculators.export import NOT_STATED, check_compiler, export_compiled
    from sikff.forcefield import load

    licence = settings.licence or NOT_STATED
    if settings.to.suffix == ".pt2":
        check_compiler()
        model = load(settings.model, dtype=settings.dtype)
        print("compiling, which takes a minute or two", flush=True)
        export_compiled(model, settings.to, licence, settings.device)
    else:
        from sikff.calculators.export_metatomic import export_metatomic

        export_metatomic(load(settings.model, dtype=settings.dtype), settings.to, licence)
    print(f"wrote {settings.to}, {settings.to.stat().st_size / 1e6:.1f} MB")
