"""``sikff info``: describes a model file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..console import print_table
from .shared_settings import ModelFile

if TYPE_CHECKING:
    from sikff.forcefield import ForceFieldConfig


def run(settings: ModelFile) -> None:
    """Prints a summary, the configuration and the provenance of a model."""
    import yaml

    from sikff.forcefield import load
    from sikff.forcefield.model_file import read_header

    model = load(settings.model)
    config, weights = model.config, sum(weight.numel() for weight in model.parameters())
    types = f", restricted from {config.type_group}" if config.type_group else ""
    vacuum = f", {config.vacuum_group} without an environment" if config.vacuum_group else ""
    print(f"{settings.model}: {config.group} force field for {', '.join(config.elements)}")
    print_table(
        {
            "group": f"{config.group} about {list(config.axis)}{types}{vacuum}",
            "environment": _environment(config),
            "charge and spin": _electrons(config),
            "cutoff": f"{config.cutoff:g} Å",
            "weights": f"{weights} in {str(model.dtype).removeprefix('torch.')}",
            "file format": f"version {read_header(settings.model)['format_version']}",
        }
    )
    for section in (
        {"model": config.model_dump(mode="json")},
        {"provenance": model.provenance},
    ):
        print()
        text = yaml.safe_dump(section, sort_keys=False, allow_unicode=True, default_flow_style=None)
        print(text, end="")


def _environment(config: ForceFieldConfig) -> str:
    """What acts on the structures from outside, in words."""
    from sikff.surface.lattice import describe

    environment = config.environment
    places = "".join(f", {w.name} with {describe(w.lattice)}" for w in environment.wallpapers)
    plane = "plane" if environment.slit_width is None else "slit"
    surfaces = f" ({', '.join(environment.surfaces)})" if environment.surfaces else ""
    origin = environment.plane_origin
    parts = [
        "a uniform electric field" if environment.field else "",
        f"a {plane} through {list(origin)} Å{surfaces}{places}" if origin else "",
    ]
    return " and ".join(filter(None, parts)) or "none"


def _electrons(config: ForceFieldConfig) -> str:
    """Whether the model reads charge and spin, and the range in its training data, in words."""
    environment = config.environment
    ranges = {
        "total charge": (environment.charge, environment.charge_min, environment.charge_max),
        "spin multiplicity": (environment.spin, environment.spin_min, environment.spin_max),
    }
    parts = [
        name if least is None or most is None else f"{name} ({least} to {most})"
        for name, (is_read, least, most) in ranges.items()
        if is_read
    ]
    return " and ".join(parts) or "not read: for neutral structures, or one charge and spin"
