"""``sikff data``: describes files of labelled structures and checks their labels."""

from __future__ import annotations

from ..console import counted
from .shared_settings import LabelledData


def run(settings: LabelledData) -> None:
    """Prints what the structures and their labels are, and checks them."""
    from ..data.check_labels import check_labels, check_names
    from ..data.check_surface import check_zero
    from ..data.check_units import check_units
    from ..data.data_statistics import isolated_energies
    from ..data.find_plane import find_plane
    from ..data.labels import NAMES, suggestions
    from ..data.reading import read_structures
    from ..data.report import describe, describe_left_out
    from ..data.structures import split_isolated

    keys = settings.label_keys()
    structures, isolated = split_isolated(read_structures(settings.data))
    structures = structures.with_labels(keys)
    print(f"{counted(len(structures), 'structure')}, {counted(len(isolated), 'isolated atom')}")
    structures.check_weight_key()
    structures.check_labels_complete(structures.label_names, partial=structures.label_names)
    print(*describe(structures), *describe_left_out(structures), sep="\n")
    known = {*structures.label_names, *(out.label for each in structures for out in each.left_out)}
    for name in (name for name in NAMES if name not in known):
        near = suggestions(structures.atoms, name, getattr(keys, name))
        if near:
            print(f"no {name}; {name}_key may be {' or '.join(near)}")
    check_names([structures])
    if "energy" not in structures.label_names:
        print("units of labels are not checked: that takes energies")
    check_labels(structures)
    check_units(structures, isolated_energies([isolated], keys, beside=[structures]))
    plane = find_plane(structures)
    if plane is not None:
        check_zero(structures, plane.lowest.tolist(), plane.reach if plane.vanishes else None)
