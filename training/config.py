"""The configuration of a training run: read from YAML, frozen, validated before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from sikff.forcefield import ForceFieldConfig

from .loss_settings import LossConfig
from .read_settings import present_names, read_settings, sentence
from .section import Count, NonNegative, Positive, Section
from .slab_settings import without_slab

SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(size: str) -> float:
    """A size of memory in bytes, of text such as "4 GB".

    Raises:
        ValueError: for other text.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-zA-Z]+)\s*", size)
    units = {unit.lower(): factor for unit, factor in SIZES.items()}
    if match is None or match[2].lower() not in units:
        raise ValueError(f"got {size!r}; expected a number and {', '.join(SIZES)}, such as 4 GB")
    return float(match[1]) * units[match[2].lower()]


class NpzUnits(Section):
    """Units of archives of NumPy (.npz); forces are in energy / length.

    Attributes:
        energy, length: those of rMD17 and MD22 by default.
    """

    energy: Literal["eV", "Hartree", "Rydberg", "kcal/mol", "kJ/mol"] = "kcal/mol"
    length: Literal["Å", "Bohr", "nm"] = "Å"


class DataConfig(Section):
    """Where structures and labels come from.

    Attributes:
        train: file of structures, or a folder of DeePMD, or a list of them. None: structures given
            to ``fit``.
        valid: file(s); or a number of structures, or a fraction, drawn from `train` by the seed.
            0: none, and the model is that of the last step.
        isolated_atoms: file(s) of single atoms, whose energies become the E0s. Structures of
            `train` with ``config_type=IsolatedAtom`` are used for that as well and not trained on.
        energy_key, forces_key, stress_key: label keys in ``atoms.info`` or ``atoms.arrays``, or in
            a row of an ASE database. None: REF_energy, then the results of the structure's
            calculator; likewise the others. Virials (REF_virials, REF_virial, virials, virial, or
            a key with "virial" in it) become stress = -virial / volume.
        forces_weight_key: key of weights of atoms, [N] or [N, 3], 0 for forces that do not count,
            or of a mask, true for those that do. None: forces_weight, forces_mask.
        require: labels that no structure may lack, such as [energy, forces]. A label that is
            missing otherwise is left out, as is one whose weight is 0 in its structure.
        check_units: raise an error for data that seem to be in other units than eV and Å.
        npz_units: of files .npz. None: those that a file names, or else kcal/mol and Å.
        replay: file(s) of structures that the model to fine-tune was trained on, which are trained
            on again, lest it forgets them; not validated on. The run says how far off they are
            before and after.
        replay_weight: factor of their loss.
        memory: such as "4 GB", for data larger than memory: structures stay on the disk, and graphs
            are kept in so much memory; further ones are made again in every epoch. None: all are
            kept.
        cache: folder of what `memory` writes to the disk. None: sikff_cache beside the first file.
    """

    train: Path | tuple[Path, ...] | None = None
    valid: int | float | Path | tuple[Path, ...] = 0.1
    isolated_atoms: Path | tuple[Path, ...] | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    forces_weight_key: str | None = None
    require: tuple[Literal["energy", "forces", "stress"], ...] = ()
    check_units: bool = True
    npz_units: NpzUnits | None = None
    replay: Path | tuple[Path, ...] | None = None
    replay_weight: Positive = 1.0
    memory: str | None = None
    cache: Path | None = None

    @field_validator("memory")
    @classmethod
    def _memory(cls, memory: str | None) -> str | None:
        if memory is not None:
            bytes_of(memory)
        return memory

    @field_validator("train", "valid", "isolated_atoms", "replay", mode="before")
    @classmethod
    def _some_file(cls, given: object) -> object:
        if given in ((), []) or isinstance(given, bool):
            raise ValueError(f"got {given!r}; expected a file, or a list of files")
        return given

    @field_validator("valid")
    @classmethod
    def _valid(cls, valid: int | float | Path | tuple[Path, ...]) -> object:
        count = isinstance(valid, int) and valid >= 1
        if isinstance(valid, int | float) and not count and not 0 <= valid < 1:
            raise ValueError(
                f"got {valid}; expected files, a number of structures, a fraction between 0 and 1, "
                "or 0 for none"
            )
        return valid


class StartConfig(Section):
    """A trained model that a run fine-tunes.

    Elements, E0s, scales and sizes come from its file; those that the run gives must agree.
    Elements of the data that it does not know are added: each begins as the nearest one in the
    periodic table, with an E0 that fits the data. With another ``model.group`` the model is
    restricted to that subgroup, and ``model.environment`` gives one to a model without, or adds
    charge and spin: this changes no prediction for neutral singlets at first. With
    ``model.vacuum_group`` it becomes the vacuum network of the new model, whose other network
    starts from zero.

    Attributes:
        model: model file.
        freeze_vacuum: do not change the weights of the vacuum network.
        freeze_layers: do not change those of the first so many interaction layers, nor of the
            embedding of the species.
        rescale: compute energy_scale and average_neighbours from the data of this run; weights
            are divided by the change, so that predictions stay the same at first.
        optimiser: continue with the state of the optimiser in ``last.ckpt`` beside the model, of a
            run with the same optimiser and network.
    """

    model: Path
    freeze_vacuum: bool = False
    freeze_layers: Annotated[int, Field(ge=0)] = 0
    rescale: bool = False
    optimiser: bool = False


class TrainConfig(Section):
    """A training run.

    Attributes:
        data, loss: sections of their own. model: the keys of :class:`ForceFieldConfig`; elements,
            atomic_energies, energy_scale and average_neighbours come from the data if not given,
            and ``environment: {slab: FILE}`` finds the surface of a slab (:class:`SlabConfig`).
        start: a trained model to fine-tune. None: random weights, rescaled on the training set.
        output: folder of the run: model.sikff, last.ckpt, log.csv, config.yaml, plots. The model is
            that of the lowest validation loss, or of a later epoch within 2 % of it: such a
            difference is noise, and the later weights saw a lower learning rate.
        batch_size: structures in a step, over all devices. None: 5; on a CPU fewer if they are
            large, so that a step has about 130 atoms; at least one for each device.
        max_epochs, max_steps, max_minutes: the run ends at the first limit it meets. Minutes
            exclude what comes before the first step, such as reading data and compiling.
        validate_every: steps between validations, each with a row of the log and a checkpoint.
            None: an epoch, a pass over the training set.
        patience: it also ends after so many validations without a lower loss.
        optimiser: "soap" (Adam in the eigenbases of Shampoo), or "adamw".
        lr, weight_decay: of the optimiser. Vectors do not decay; for "soap" these are also matrices
            of one row or column, for "adamw" also the weights of equivariant maps. By default lr is
            0.03, and 0.003 where trained weights are fine-tuned, which a larger one would spoil.
        warm_up: fraction of the run in which the learning rate rises from 0.
        schedule: of the learning rate after that. "cosine": down to 0 at the end of the run;
            "plateau": multiplied by `plateau_factor` whenever the validation loss has not fallen
            for `plateau_patience` validations.
        ema: decay of the running average of the weights that is validated and saved; 0: none.
        clip: largest norm of the gradient.
        seed: of the weights, the split and the order of structures.
        dtype: of the weights.
        device: "auto", "cpu" or "cuda".
        devices: processes (on the CPU) or GPUs that share every batch.
        threads: of torch on the CPU, in each process, during the run. None: as torch is set, shared
            by the processes.
        compile: take steps through ``torch.compile``: minutes at the start, then about twice as
            many steps for small structures of similar size. It needs a C++ compiler, such as g++,
            on a GPU Triton.
        replay: if structures are small and of similar size, run the operations of a step without
            the overhead of Python and autograd, on a GPU as CUDA graphs, see
            `sikff.engines.Static`.
        deterministic: on a GPU, take algorithms that add numbers in the same order every time. They
            are slower. On a CPU all are.
        checkpoints: write last.ckpt, without which a run cannot be resumed.
        plots: draw learning_curves.png and parity.png at the end.
        tensorboard: write event files for TensorBoard as well as log.csv.
    """

    data: DataConfig = DataConfig()
    model: dict[str, Any] = Field(default={})
    start: StartConfig | None = None
    loss: LossConfig = LossConfig()
    output: Path = Path("run")
    batch_size: Count | None = None
    max_epochs: Count | None = None
    max_steps: Count | None = None
    max_minutes: Positive | None = None
    validate_every: Count | None = None
    patience: Count | None = None
    optimiser: Literal["soap", "adamw"] = "soap"
    lr: Positive = 0.03
    weight_decay: NonNegative = 1e-4
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    schedule: Literal["cosine", "plateau"] = "cosine"
    plateau_patience: Count = 10
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    clip: Positive = 10.0
    seed: Annotated[int, Field(ge=0)] = 0
    dtype: Literal["float32", "float64"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: Count = 1
    threads: Count | None = None
    compile: bool = False
    replay: bool = True
    deterministic: bool = False
    checkpoints: bool = True
    plots: bool = True
    tensorboard: bool = False

    @model_validator(mode="before")
    @classmethod
    def _lower_lr_of_fine_tuning(cls, values: Any) -> Any:
        start = values.get("start") if isinstance(values, dict) else None
        start = dict(start) if isinstance(start, StartConfig) else start
        if isinstance(start, dict) and not start.get("freeze_vacuum"):
            return {"lr": 0.003, **values}
        return values

    @model_validator(mode="before")
    @classmethod
    def _model(cls, values: Any) -> Any:
        model = values.get("model") if isinstance(values, dict) else None
        if not isinstance(model, dict):
            return values
        model = present_names(model)
        energies = model.get("atomic_energies")
        named = tuple(energies) if isinstance(energies, dict) else ()
        missing: dict[str, Any] = {"elements": named or ("H",)}
        if values.get("start") is not None:
            missing["group"] = "C1"  # unknown until its file is read; C1 allows all environments
        try:
            config = ForceFieldConfig(**{**missing, **without_slab(model)})
        except ValidationError as error:
            raise ValueError(f"model: {sentence(error)}") from error
        symbols = {"elements": list(config.elements), "atomic_energies": config.atomic_energies}
        model = model | {name: value for name, value in symbols.items() if name in model}
        return {**values, "model": model}

    @model_validator(mode="after")
    def _replay_needs_a_start(self) -> TrainConfig:
        if self.start is None and self.data.replay is not None:
            raise ValueError(
                "data.replay is for a run that goes on from a trained model; give start.model "
                "(sikff train --from), or put these files into data.train"
            )
        return self

    @model_validator(mode="after")
    def _one_device_goes_on(self) -> TrainConfig:
        if self.start is not None and self.start.optimiser and self.devices > 1:
            raise ValueError("start.optimiser needs devices: 1; set it, or start.optimiser: false")
        return self

    @model_validator(mode="after")
    def _some_limit(self) -> TrainConfig:
        if self.max_epochs is None and self.max_steps is None and self.max_minutes is None:
            raise ValueError("no end of the run; give max_epochs, max_steps or max_minutes")
        if self.batch_size is not None and self.batch_size < self.devices:
            raise ValueError(
                f"batch_size ({self.batch_size}) is less than devices ({self.devices}); every "
                "device needs a structure of each batch"
            )
        return self


def read_config(path: str | Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """Reads a YAML file; each override is ``key.sub=value`` with a value in YAML.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for text that is not YAML, an unknown key (the nearest one is suggested), or a
            value out of range.
    """
    return read_settings(path, overrides, TrainConfig, ["model"])
