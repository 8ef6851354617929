"""Turns Sphinx roles in docstrings, :class:`~package.Name`, into plain code, `Name`."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":\w+:`~?(?:[\w.]*\.)?(\w+)`")


class PlainRoles(griffe.Extension):
    """Applied to the docstring of every object that is documented."""

    def on_object(self, *, obj: griffe.Object, **options: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)
