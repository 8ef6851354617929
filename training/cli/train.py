"""``sikff train``: fits a force field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..section import Count
from .arguments import CommandSettings, Metavar, Positional


class TrainSettings(CommandSettings):
    """Arguments of ``sikff train``."""

    config: Annotated[Path, Positional("CONFIG")]
    """YAML file; its keys: sikff.training.config.TrainConfig. The smallest one: {data: {train:
    train.xyz}, max_minutes: 20}"""
    overrides: Annotated[tuple[str, ...], Positional("KEY=VALUE")] = ()
    """instead of what CONFIG says, such as model.group=SO(2)"""
    start: Annotated[Path | None, Metavar("MODEL")] = Field(None, alias="from")
    """a trained model to start from; elements, E0s and sizes are those of its file"""
    restrict: Annotated[str | None, Metavar("GROUP")] = None
    """make it a model of this subgroup first, which predicts the same and may then learn what
    breaks the symmetry, such as C_inf_v"""
    freeze_vacuum: bool = False
    """with model.vacuum_group: keep the weights of the vacuum network"""
    members: Count = 1
    """train so many models with different seeds, each in a folder of its own, member0 and so on"""
    resume: bool = False
    """continue the run in the output folder, if any"""
    quiet: bool = False
    """print nothing but errors"""

    def all_overrides(self) -> list[str]:
        """KEY=VALUE, and what --from and the options that go with it say in that form."""
        given = {
            "start.model": None if self.start is None else str(self.start),
            "start.freeze_vacuum": self.freeze_vacuum or None,
            "model.group": self.restrict,
        }
        options = [
            f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None
        ]
        return [*self.overrides, *options]


def run(settings: TrainSettings) -> None:
    """Fits a force field, writes it and prints its validation errors."""
    from ..config import read_config

    # frozen only after that: CONFIG may name a model to start from, or none
    trained = settings.model_copy(update={"freeze_vacuum": False})
    config = read_config(settings.config, trained.all_overrides())
    for name in ("restrict", "freeze_vacuum"):
        if getattr(settings, name) and config.start is None:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} needs a trained model; name it with --from MODEL")
    config = read_config(settings.config, settings.all_overrides())

    from sikff.forcefield.model_file import read_header

    from ..fitting.fit import fit
    from ..fitting.fit_committee import fit_committee
    from ..fitting.launch import find_launch

    launch = find_launch(config.devices)
    quiet = settings.quiet or (launch is not None and launch.rank > 0)
    report = (lambda line: None) if quiet else print
    options: dict[str, Any] = {"resume": settings.resume, "progress": not quiet, "report": report}
    try:
        if settings.members > 1:
            models = fit_committee(config, settings.members, **options)
        else:
            models = [fit(config, **options)]
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("--resume continues after the last whole epoch") from interrupt
    for model in models:
        found = read_header(model)["provenance"]["validation"]
        for key in ("energy_mae_mev_per_atom", "force_mae_mev_per_a"):
            if key in found:
                report(f"{key} {found[key]:.4g} (validation, epoch {found['epoch']})")
        report(f"wrote {model}")
