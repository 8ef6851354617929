"""The configuration of a training run: read from YAML, frozen, validated before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sikff.forcefield import ForceFieldConfig

from .read_settings import present_names, read_settings, sentence
from .slab_settings import without_slab

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=10**15)]
LABELS = ("energy", "forces", "stress")


class Section(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Where structures and labels come from.

    Attributes:
        train: file that ASE reads, or a list of them. None: structures given to ``fit``.
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

    @field_validator("train", "valid", "isolated_atoms", mode="before")
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


class Term(NamedTuple):
    """How much the errors of one label count, and where their loss becomes linear."""

    weight: float
    delta: float


# Of energies and stresses without a given weight, as the learning rate falls. They begin as other
# terms: while errors and steps are large, a sharp loss slows energies and disturbs forces.
RISE = {"huber": 10.0, "mse": 100.0}  # of the weight, from 1
DELTA, LAST_DELTA = 0.05, 0.001


class LossConfig(Section):
    """Weights of the terms of the loss.

    Each term is the mean over the labels there are; a label may be missing in any structure, but
    not in all if a weight above 0 is given. Energies are read even if their weight is 0, for the
    E0s. Weights that are given stay as they are.

    Attributes:
        energy: for the energy per atom (eV). None: rises from 1 to 10 (mse: to 100) as the learning
            rate falls.
        forces: per component (eV/Å).
        stress: per component (eV/Å^3). None: as for energies, if training structures have a stress
            and the model no surface, else 0.
        kind: "mse", or "huber": quadratic below `delta`, linear above.
        delta: in eV, eV/Å and eV/Å^3. None: 0.05; where a weight is None it falls to 0.001 as the
            weight rises.
        config_types: factors of the loss of structures of a config_type (in ``atoms.info``), such
            as {surface: 5, melt: 0.2}; 1 for types that are not named. They multiply the weights
            of labels that are in the files (config_weight and others).
    """

    energy: NonNegative | None = None
    forces: NonNegative = 10.0
    stress: NonNegative | None = None
    kind: Literal["huber", "mse"] = "huber"
    delta: Positive | None = None
    config_types: dict[str, NonNegative] = {}

    def term(self, name: str, rate: float = 0.0) -> Term:
        """The weight of a term and where its loss becomes linear.

        Args:
            name: "energy", "forces" or "stress".
            rate: learning rate as a fraction of its largest; 0: at the end of a run.
        """
        given, first = getattr(self, name), DELTA if self.delta is None else self.delta
        if given is not None:
            return Term(given, first)
        last = LAST_DELTA if self.delta is None else self.delta
        return Term(RISE[self.kind] ** (1 - rate), first**rate * last ** (1 - rate))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that a run reads."""
        return tuple(n for n in LABELS if n == "energy" or self.term(n).weight)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the labels without which a run cannot be."""
        optional = ("stress",) if self.stress is None else ()
        return tuple(n for n in LABELS if n not in optional and self.term(n).weight)

    @model_validator(mode="after")
    def _some_term(self) -> LossConfig:
        if not self.required:
            raise ValueError("all weights are 0; give energy, forces or stress a positive weight")
        return self


class StartConfig(Section):
    """A trained model that a run fine-tunes.

    Elements, E0s, scales and sizes come from its file; those that the run gives must agree. With
    another ``model.group`` it is restricted to that subgroup, and ``model.environment`` gives one
    to a model without, or adds charge and spin: this changes no prediction for neutral singlets at
    first. With ``model.vacuum_group`` it
    becomes the vacuum network of the new model, whose other network starts from zero.

    Attributes:
        model: model file.
        freeze_vacuum: do not change the weights of the vacuum network.
        rescale: compute energy_scale and average_neighbours from the data of this run; weights
            are divided by the change, so that predictions stay the same at first.
        optimiser: continue with the state of the optimiser in ``last.ckpt`` beside the model, of a
            run with the same optimiser and network.
    """

    model: Path
    freeze_vacuum: bool = False
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
        batch_size: structures in a step, over all devices.
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
    model: dict[str, Any] = {}
    start: StartConfig | None = None
    loss: LossConfig = LossConfig()
    output: Path = Path("run")
    batch_size: Count = 5
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
    def _one_device_goes_on(self) -> TrainConfig:
        if self.start is not None and self.start.optimiser and self.devices > 1:
            raise ValueError("start.optimiser needs devices: 1; set it, or start.optimiser: false")
        return self

    @model_validator(mode="after")
    def _some_limit(self) -> TrainConfig:
        if self.max_epochs is None and self.max_steps is None and self.max_minutes is None:
            raise ValueError("no end of the run; give max_epochs, max_steps or max_minutes")
        if self.batch_size < self.devices:
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
