"""Model files: safetensors, with the weights as tensors and everything else as JSON metadata."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from sikff.atomic_write import complete
from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.environment_config import RENAMED_LIMITS
from sikff.nn.constants import ConstantModule

FORMAT = "sikff-forcefield"
FORMAT_VERSION = 3
UNITS = {"energy": "eV", "length": "Å", "field": "V/Å"}
CONVENTIONS = {
    "irreps": "z polar; components m = 0, cos 1, sin 1, ...; features [dim, copies]",
    "stress": "+dE/dstrain / volume",
    "vectors": "r_j - r_i, receiver i first",
}

JSON = dict[str, Any]
Tensors = dict[str, torch.Tensor]


def _rename_frame(header: JSON, tensors: Tensors) -> tuple[JSON, Tensors]:
    """1 to 2: the config key "frame" is now "environment"."""
    config = {"environment" if k == "frame" else k: v for k, v in header["config"].items()}
    return header | {"config": config}, tensors


def _rename_limits_and_keep_kernels(header: JSON, tensors: Tensors) -> tuple[JSON, Tensors]:
    """2 to 3: limits of the environment have the names of what they are, and a covariant field is
    an attribute of atoms."""
    environment = {RENAMED_LIMITS.get(k, k): v for k, v in header["config"]["environment"].items()}
    environment["kernels_read_field"] = bool(environment.get("field"))
    return header | {"config": header["config"] | {"environment": environment}}, tensors


UPGRADES: dict[int, Callable[[JSON, Tensors], tuple[JSON, Tensors]]] = {
    1: _rename_frame,
    2: _rename_limits_and_keep_kernels,
}
"""By format version: converts the header and tensors of that version to those of the next one.

Whoever raises FORMAT_VERSION adds the step from the version before, and a sample of that version to
``tests/data``.
"""


class Header(BaseModel):
    """What the header of a file in the present format must hold.

    Attributes:
        dtype: of the weights.
        config: from which the model is built.
        tables: its :func:`fingerprint`.
        provenance: anything that says where the model comes from.
    """

    dtype: Literal["float32", "float64"]
    config: ForceFieldConfig
    tables: dict[str, FiniteFloat]
    provenance: JSON


def fingerprint(model: torch.nn.Module) -> dict[str, float]:
    """One number for each constant buffer of a model, by name, to compare those of two versions."""
    return {
        f"{name}.{key}": float(constant.ravel() @ np.cos(1.0 + np.arange(constant.size)))
        for name, module in model.named_modules()
        if isinstance(module, ConstantModule)
        for key, constant in module.constants.items()
    }


def save(
    module: torch.nn.Module,
    path: str | Path,
    config: ForceFieldConfig,
    dtype: torch.dtype,
    provenance: JSON,
) -> None:
    """Write a model file. It appears under its name only when complete.

    Args:
        module: the weights.
        path: the file, usually ``*.sikff``.
        config: from which the model can be built.
        dtype: of the weights.
        provenance: anything JSON that says where the model comes from.

    Raises:
        OSError: it cannot be written; an existing file is then unchanged.
    """
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dtype": str(dtype).removeprefix("torch."),
        "config": config.model_dump(mode="json"),
        "units": UNITS,
        "conventions": CONVENTIONS,
        "tables": fingerprint(module),
        "provenance": provenance,
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    content = to_bytes(tensors, metadata={"sikff": json.dumps(header)})
    with complete(path) as temporary:
        temporary.write_bytes(content)


def read_header(path: str | Path) -> JSON:
    """Everything in a model file but the weights, as it is stored.

    Raises:
        FileNotFoundError, PermissionError: there is no such file, or this user may not read it.
        ValueError: not a model file, or one written by a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file {str(path)!r}")
    path.open("rb").close()  # safetensors reports a file without permission as missing
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["sikff"])
        if header["format"] != FORMAT:
            raise KeyError(header["format"])
        version = header["format_version"]
        if type(version) is not int or version < 1:
            raise ValueError(f"format version {version!r}")
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{str(path)!r} has format version {version}; this sikff reads up to "
            f"{FORMAT_VERSION}: upgrade sikff"
        )
    return header


def chosen_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The torch dtype of that name; None for None.

    Raises:
        ValueError: any other than float32 and float64.
    """
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype is {dtype!r}; expected 'float32' or 'float64'")
    return torch.float32 if name == "float32" else torch.float64


def load_weights(module: torch.nn.Module, path: Path, header: Header, tensors: Tensors) -> None:
    """Load a file's weights into a module that was built from its config, in its dtype.

    Raises:
        ValueError: this version of sikff computes other constants than the file was made with, or
            the weights do not fit.
    """
    built, stored = fingerprint(module), header.tables
    common = built.keys() & stored.keys()  # layers of two versions may arrange theirs differently
    if not common or any(abs(built[k] - stored[k]) > 1e-6 * (1 + abs(stored[k])) for k in common):
        raise ValueError(
            f"{str(path)!r} was made with other group-theoretical tables than this version of "
            "sikff builds; load it with the version that wrote it"
        )
    _check_weights(path, tensors, module.state_dict())
    module.load_state_dict(tensors)


def fewest_weights(config: ForceFieldConfig) -> int:
    """A lower bound of a model's number of weights, by which damaged sizes are found unbuilt."""
    width = config.kernel_width if config.kernel_layers > 1 else 1
    inputs = config.radial_functions + config.species_channels
    kernel = width * (inputs + max(config.kernel_layers - 2, 0) * width)
    update = config.channels * (config.channels + config.kernel_fields + config.readout_width)
    return config.layers * (kernel + update)


def read(path: Path) -> tuple[Header, Tensors]:
    """Header and weights, converted to the present format if the file is of an older one.

    Raises:
        FileNotFoundError, PermissionError, ValueError: see :func:`sikff.load`.
    """
    header = read_header(path)
    steps = range(header["format_version"], FORMAT_VERSION)
    if not all(version in UPGRADES for version in steps):
        raise ValueError(
            f"{str(path)!r} has format version {steps.start}, which this sikff does not read any "
            "more; load and save it with an older sikff first"
        )
    try:
        with safe_open(path, framework="pt") as file, torch.device("cpu"):
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        for version in steps:
            header, tensors = UPGRADES[version](header, tensors)
        valid = Header.model_validate(header)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"{place}: {first['msg']}") from error
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, repr(error)) from error
    if sum(tensor.numel() for tensor in tensors.values()) < fewest_weights(valid.config):
        raise _damaged(path, "fewer weights than its config asks for")
    return valid, tensors


def _check_weights(path: Path, stored: Tensors, built: Tensors) -> None:
    """Raise ValueError unless the stored tensors are finite and fit the built ones."""
    got, expected = (
        {key: f"{tensor.dtype} {list(tensor.shape)}" for key, tensor in tensors.items()}
        for tensors in (stored, built)
    )
    for key in sorted(got.keys() | expected.keys()):
        if got.get(key) != expected.get(key):
            this, that = got.get(key, "missing"), expected.get(key, "no such tensor")
            raise _damaged(path, f"the tensor {key} is {this}, expected {that}")
        if not bool(stored[key].isfinite().all()):
            raise _damaged(path, f"the tensor {key} holds NaN or infinity")


def _damaged(path: Path, why: str) -> ValueError:
    return ValueError(
        f"{str(path)!r} is not a sikff model file, or it is damaged ({' '.join(why.split())}); "
        "expected a file written by model.save()"
    )
