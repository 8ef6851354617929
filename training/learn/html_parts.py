"""Tables and figures as HTML."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure


def make_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table with a line of headings."""

    def line(cells: Sequence[Any], tag: str) -> str:
        inside = "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{inside}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def make_image(figure: Figure) -> str:
    """A figure as a picture within the page."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, bbox_inches="tight")
    data = base64.b64encode(content.getvalue()).decode()
    return f'<p><img alt="" src="data:image/png;base64,{data}"></p>'
