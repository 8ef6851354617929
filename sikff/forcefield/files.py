"""Model files: safetensors for the weights, JSON in its header for everything else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.network import ForceField
from sikff.nn.tables import Tabulated

FORMAT = "sikff-forcefield"
FORMAT_VERSION = 1
UNITS = {"energy": "eV", "length": "Å", "field": "V/Å"}
CONVENTIONS = {
    "irreps": "z polar; components m = 0, cos 1, sin 1, ...; features [dim, copies]",
    "stress": "+dE/dstrain / volume",
    "vectors": "r_j - r_i, receiver i first",
}


def fingerprint(model: torch.nn.Module) -> dict[str, float]:
    """One number for each group-theoretical table of a model, to tell whether two builds agree."""
    return {
        f"{name}.{key}": float(table.ravel() @ np.cos(1.0 + np.arange(table.size)))
        for name, module in model.named_modules()
        if isinstance(module, Tabulated)
        for key, table in module.originals.items()
    }


def save(model: ForceField, path: str | Path, provenance: dict[str, Any] | None = None) -> None:
    """Write a model file. It appears under its name only when complete.

    Args:
        model: the force field.
        path: the file, usually ``*.sikff``.
        provenance: anything JSON that says where the model comes from (kept if None).
    """
    path = Path(path)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dtype": str(model.dtype).removeprefix("torch."),
        "config": model.config.model_dump(mode="json"),
        "units": UNITS,
        "conventions": CONVENTIONS,
        "tables": fingerprint(model),
        "provenance": model.provenance if provenance is None else provenance,
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, temporary, metadata={"sikff": json.dumps(header)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_header(path: str | Path) -> dict[str, Any]:
    """Everything in a model file but the weights.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a model file, or one written by a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file {str(path)!r}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["sikff"])
        if header["format"] != FORMAT:
            raise KeyError(header["format"])
        version = int(header["format_version"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{str(path)!r} is not a sikff model file, or it is damaged ({error}); expected a file "
            "written by model.save()"
        ) from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{str(path)!r} has format version {version}; this sikff reads up to "
            f"{FORMAT_VERSION}: upgrade sikff"
        )
    return header


def load(
    path: str | Path, device: str | torch.device = "cpu", dtype: str | torch.dtype | None = None
) -> ForceField:
    """Read a model file.

    Args:
        path: a file written by ``model.save``.
        device: where the model goes.
        dtype: "float32", "float64" or the torch dtype; None: as stored.

    Returns:
        The model, in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a model file, damaged, newer than this version of sikff, or built on other
            tables than this version makes.
    """
    header = read_header(path)
    name = header["dtype"] if dtype is None else str(dtype).removeprefix("torch.")
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype must be float32 or float64; got {dtype!r}")
    with torch.random.fork_rng(devices=[]):
        model = ForceField(ForceFieldConfig(**header["config"]))
    model.to(getattr(torch, name))
    built = fingerprint(model)
    stored = header["tables"]
    if built.keys() != stored.keys() or any(
        abs(built[k] - stored[k]) > 1e-6 * (1 + abs(stored[k])) for k in built
    ):
        raise ValueError(
            f"{str(path)!r} was made with other group-theoretical tables than this version of "
            "sikff builds; load it with the version that wrote it"
        )
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"the weights in {str(path)!r} do not fit its config: {error}") from error
    model.provenance = header["provenance"]
    return model.to(device).eval()
