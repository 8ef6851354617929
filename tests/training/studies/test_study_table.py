"""Tables of results: rows, columns, means over seeds."""

from sikff.training.studies.study_table import TableLayout, values

LAYOUT = TableLayout(
    measure="error",
    row=("model", "label"),
    fact=("weights", "n"),
    columns=("k", "size"),
    title="k = {:g}, {}".format,
    formats=(".2f", ".1f", ""),
    reference=("best possible", "floor"),
    order={"kind": ("net", "map")},
)


def result(kind: str, k: float, seed: int, error: float, **more: object) -> dict:
    entries = {"kind": kind, "label": f"{kind} A", "n": 7, "k": k, "size": 4, "seed": seed}
    return {**entries, "error": error, "floor": 0.5 * k or None, **more}


def test_rows_in_the_given_order_columns_in_rising_order_and_gaps() -> None:
    results = [
        result("map", 10.0, 0, 3.0),
        result("net", 10.0, 1, 2.0),
        result("net", 2.0, 0, 1.0),
        result("net", 10.0, 0, 1.0),
        result("map", 2.0, 0, 4.0, size=2),
    ]
    assert LAYOUT.markdown(results) == (
        "| model | weights | k = 2, 2 | k = 2, 4 | k = 10, 4 |\n"
        "|---|---|---|---|---|\n"
        "| net A | 7 |  | 1.00 | 1.50 ± 0.7 |\n"
        "| map A | 7 | 4.00 |  | 3.00 |\n"
        "| best possible | | 1.00 | 1.00 | 5.00 |\n"
    )
    assert values(LAYOUT.sorted(results), "error") == [4.0, 1.0, 2.0, 3.0]


def test_a_reference_that_no_result_has_is_left_out() -> None:
    shown = LAYOUT.markdown([result("net", 0.0, 0, 1.0, n=None)])
    assert shown.splitlines()[2:] == ["| net A |  | 1.00 |"]
