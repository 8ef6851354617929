"""Settings from YAML: reads the text, sets single keys, and says in words what is wrong."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sikff.forcefield import EnvironmentConfig

from .slab_settings import SlabConfig

_SHORT = reprlib.Repr()  # of values in errors: a few lines of YAML with aliases expand to pages
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys and values of a YAML file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for text that is not YAML, or no keys and values.
    """
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


def set_key(settings: dict[str, Any], override: str) -> None:
    """Sets the value that ``key.sub=value`` names, in place.

    Raises:
        ValueError: for another text, or a section that is a value.
    """
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


def check_keys(
    settings: Mapping[str, Any],
    known: type[BaseModel],
    sections: Mapping[str, type[BaseModel]],
    place: str = "",
) -> None:
    """Checks that all keys are fields of a model, also in its sections.

    Args:
        sections: models of keys whose values are plain dictionaries, by their full name.
        place: what stands before a key in errors.

    Raises:
        ValueError: for an unknown key, with the nearest one.
    """
    names = [*known.model_fields, *(SlabConfig.model_fields if known is EnvironmentConfig else ())]
    for key, value in settings.items():
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1, cutoff=0)
            shown = " ".join(str(key).split())[:80]
            raise ValueError(f"unknown key {place}{shown}; did you mean {place}{near[0]}?")
        field = known.model_fields.get(key)  # None: a key of a slab
        section = sections.get(f"{place}{key}") or (field and field.annotation)
        if isinstance(section, type) and issubclass(section, BaseModel):
            if not isinstance(value, dict):
                raise ValueError(f"{place}{key} is {_SHORT.repr(value)}; expected keys and values")
            check_keys(value, section, sections, f"{place}{key}.")
