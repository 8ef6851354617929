"""``sikff data``: describes files of labelled structures and checks their labels."""

from __future__ import annotations

from .shared_settings import LabelledData


def run(settings: LabelledData) -> None:
    """Prints what the structures and their labels are, and checks them."""
    from ..data.baselines import isolated_energies
    from ..data.check_labels import check_labels, check_units
    from ..data.dataset import PARTIAL, read_structures
    from ..data.report import describe
    from ..data.structures import read_labels

    data = settings.data_config()
    structures, isolated = read_structures(settings.data)
    report = describe(structures, data)
    print(f"{len(structures.atoms)} structures, {len(isolated.atoms)} isolated atoms")
    print(*report.lines, sep="\n")
    complete = [
        n for n, found in report.labels.items() if sum(found.keys.values()) == report.frames
    ]
    labels = read_labels(structures, data, {*complete, *PARTIAL} & {*report.labels}, PARTIAL)
    if "energy" not in labels:
        print("units and labels are not checked: that takes energies of all structures")
        return
    check_labels(structures, labels)
    check_units(structures, labels, isolated_energies([isolated], data))
