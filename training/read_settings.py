"""Settings from YAML: reads the text, sets single keys, and says in words what is wrong."""

from __future__ import annotations

import difflib
import reprlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sikff.forcefield import EnvironmentConfig, ForceFieldConfig
from sikff.forcefield.environment_config import RENAMED_LIMITS

from .slab_settings import SlabConfig

RENAMED = {"frame": "environment"}  # keys of `model` in older configurations

_SHORT = reprlib.Repr()  # of values in errors: a few lines of YAML with aliases expand to pages
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(
    path: str | Path, overrides: Iterable[str], known: type[Settings], models: Sequence[str]
) -> Settings:
    """Reads a YAML file; each override is ``key.sub=value`` with a value in YAML.

    Args:
        known: the settings of the file.
        models: those of its keys that hold the keys of a :class:`ForceFieldConfig`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for text that is not YAML, an unknown key (the nearest one is suggested), or a
            value out of range.
    """
    settings = _read_yaml(path)
    for override in overrides:
        _set_key(settings, override)
    for key in models:
        if isinstance(settings.get(key), dict):
            settings[key] = present_names(settings[key])
    _check_keys(settings, known, dict.fromkeys(models, ForceFieldConfig))
    try:
        return known.model_validate(settings)
    except ValidationError as error:
        raise ValueError(f"{str(path)!r}: {sentence(error)}") from error


def _read_yaml(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {str(path)!r}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise
    except Exception as error:  # PyYAML raises anything
        raise ValueError(f"{str(path)!r} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{str(path)!r} holds {_SHORT.repr(settings)}; expected keys and values")
    return settings


def sentence(error: ValidationError) -> str:
    """The errors of pydantic on one line, the first one of each key."""
    found: dict[str, str] = {}
    for each in error.errors():
        place = [part for part in each["loc"] if isinstance(part, str)]
        key = ".".join(part for part in place if part.isidentifier())
        message = each["msg"].removeprefix("Value error, ")
        if each["type"] != "value_error":
            message = f"{message[0].lower()}{message[1:]}, got {_SHORT.repr(each['input'])}"
        found.setdefault(key, message)
    return "; ".join(f"{key}: {message}" if key else message for key, message in found.items())


def _set_key(settings: dict[str, Any], override: str) -> None:
    """Sets the value that ``key.sub=value`` names, in place."""
    name, equals, text = override.partition("=")
    if not (equals and name):
        raise ValueError(f"override {override!r} is not understood; expected key.sub=value")
    *sections, key = name.split(".")
    for section in sections:
        if settings.get(section) is None:  # absent, or null as in the config.yaml of a run
            settings[section] = {}
        settings = settings[section]
        if not isinstance(settings, dict):
            raise ValueError(f"override {override!r}: {section} is a value and has no keys")
    try:
        settings[key] = yaml.safe_load(text)
    except Exception as error:  # PyYAML raises anything
        raise ValueError(f"override {override!r}: {text!r} is not YAML") from error


def _check_keys(
    settings: Mapping[str, Any],
    known: type[BaseModel],
    models: Mapping[str, type[BaseModel]],
    place: str = "",
) -> None:
    """Checks that all keys are fields of `known`, also in its sections.

    Args:
        models: of fields whose values are plain dictionaries, by their names.
        place: what stands before a key in errors.
    """
    names = [*known.model_fields, *(SlabConfig.model_fields if known is EnvironmentConfig else ())]
    for key, value in settings.items():
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1, cutoff=0)
            shown = " ".join(str(key).split())[:80]
            raise ValueError(f"unknown key {place}{shown}; did you mean {place}{near[0]}?")
        field = known.model_fields.get(key)  # None: a key of a slab
        types = _types_of(models.get(key) or (field and field.annotation))
        section = next((t for t in types if isinstance(t, type) and issubclass(t, BaseModel)), None)
        if section is None or (value is None and NoneType in types):
            continue
        if not isinstance(value, dict):
            raise ValueError(f"{place}{key} is {_SHORT.repr(value)}; expected keys and values")
        _check_keys(value, section, {}, f"{place}{key}.")


def _types_of(annotation: Any) -> tuple[Any, ...]:
    """The types of a union, or the only one."""
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def present_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a force field under their present names; older names are read with a warning.

    Raises:
        ValueError: if a setting is given under both names.
    """
    settings = _renamed(settings, RENAMED, "model")
    environment = settings.get("environment")
    if isinstance(environment, dict):
        environment = _renamed(environment, RENAMED_LIMITS, "model.environment")
        settings["environment"] = environment
    return settings


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str], place: str) -> dict[str, Any]:
    """Settings with other keys, by their old names."""
    for old in names.keys() & settings.keys():
        now = f"{place}.{old} is now called {place}.{names[old]}"
        if names[old] in settings:
            raise ValueError(f"{now}; got both, expected the latter")
        warnings.warn(f"{now}; read as that", stacklevel=3)
    return {names.get(key, key): value for key, value in settings.items()}
