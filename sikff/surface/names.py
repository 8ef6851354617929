"""The 17 wallpaper groups by Hermann-Mauguin name (International Tables, volume A)."""

import re

from sikff.surface.operations import Operation

# generators in conventional coordinates; the origin is that of the International Tables
_GENERATORS = {
    "p1": (),
    "p2": ("-x,-y",),
    "pm": ("-x,y",),
    "pg": ("-x,y+1/2",),
    "cm": ("-x,y",),
    "p2mm": ("-x,-y", "-x,y"),
    "p2mg": ("-x,-y", "-x+1/2,y"),
    "p2gg": ("-x,-y", "-x+1/2,y+1/2"),
    "c2mm": ("-x,-y", "-x,y"),
    "p4": ("-y,x",),
    "p4mm": ("-y,x", "-x,y"),
    "p4gm": ("-y,x", "-x+1/2,y+1/2"),
    "p3": ("-y,x-y",),
    "p3m1": ("-y,x-y", "-y,-x"),
    "p31m": ("-y,x-y", "y,x"),
    "p6": ("x-y,x",),
    "p6mm": ("x-y,x", "-y,-x"),
}
_OTHER_SETTINGS = {  # lattice vectors exchanged
    "p11m": ("x,-y",),
    "p11g": ("x+1/2,-y",),
    "c11m": ("x,-y",),
    "p2gm": ("-x,-y", "x,-y+1/2"),
}
_ALIASES = {
    "p111": "p1",
    "p211": "p2",
    "p1m1": "pm",
    "p1g1": "pg",
    "c1m1": "cm",
    "pmm": "p2mm",
    "pmg": "p2mg",
    "pgg": "p2gg",
    "cmm": "c2mm",
    "p4m": "p4mm",
    "p4g": "p4gm",
    "p6m": "p6mm",
    "pgm": "p2gm",
    "p311": "p3",
    "p411": "p4",
    "p611": "p6",
}
_LATTICES = {
    "rectangular": ("pm", "pg", "p2mm", "p2mg", "p2gg", "p11m", "p11g", "p2gm"),
    "centred": ("cm", "c2mm", "c11m"),
    "square": ("p4", "p4mm", "p4gm"),
    "hexagonal": ("p3", "p3m1", "p31m", "p6", "p6mm"),
}
NAMES = tuple(_GENERATORS)


def parse(name: str) -> tuple[str, list[Operation]]:
    """Kind of lattice and generators, in conventional coordinates, of a named wallpaper group.

    Raises:
        ValueError: no wallpaper group has this name; the message lists the names.
    """
    key = re.sub(r"[\s_]", "", str(name)).lower()
    key = _ALIASES.get(key, key)
    generators = {**_GENERATORS, **_OTHER_SETTINGS}.get(key)
    if generators is None:
        raise ValueError(
            f"unknown wallpaper group {name!r}; expected one of {', '.join(NAMES)}, a longer or "
            f"shorter form such as p1m1 or p4m, or {', '.join(_OTHER_SETTINGS)} (lattice vectors "
            "exchanged)"
        )
    kind = next((k for k, names in _LATTICES.items() if key in names), "oblique")
    return kind, [Operation.parse(text) for text in generators]


def other_names(name: str) -> list[str]:
    """Longer and shorter forms of the name of a wallpaper group, such as p4m for p4mm."""
    return [other for other, usual in _ALIASES.items() if usual == name]
