"""What every figure shares: the look it is drawn in, safe and measured labels, and an empty canvas of the
theme.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pyarrow as pa

from dashboard.theme import Scheme, Tokens, template, tokens
from dashboard.words import Words

Table = pa.Table | pd.DataFrame
_TITLE_PX = 40
_WIDE = 0x2E80  # from here on a character takes a full square, as Chinese does


@dataclass(frozen=True)
class Look:
    """The scheme a figure is drawn in and the language it speaks."""

    scheme: Scheme
    t: Words

    @property
    def c(self) -> Tokens:
        return tokens(self.scheme)


def frame(table: Table) -> pd.DataFrame:
    """The table as pandas, whichever of the two it was."""
    return table.to_pandas() if isinstance(table, pa.Table) else table


def plain(text: str) -> str:
    """Text for plotly, which reads a little HTML: no tag or link can come of a title."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def label(text: str, *, limit: int = 34) -> str:
    """A row's label, cut at a word's end where it is longer than `limit` columns; safe for plotly."""
    if columns(text) <= limit:
        return plain(text)
    kept = text
    while columns(kept) > limit - 1:
        kept = kept[:-1]
    word = kept.rsplit(" ", 1)[0]
    return plain((word if columns(word) > limit * 0.6 else kept).rstrip(" ,.:;(-") + "…")


def columns(text: str) -> int:
    """How wide a text is in half-width columns; a Chinese character takes two."""
    return sum(2 if ord(ch) >= _WIDE else 1 for ch in text)


def width_px(text: str, *, size: int = 12) -> int:
    """An upper estimate of a label's width in pixels, for margins that must not clip it."""
    return round(columns(text) * size * 0.54) + 4


def canvas(look: Look, *, title: str, height: int, data: Sequence[dict[str, Any]] = (), **layout: object) -> go.Figure:
    """A figure of the theme, with its finding as title and its height in pixels: empty, or of traces and further parts
    of the layout. Plotly checks these all together in half the time that it takes to add them one by one.
    """
    named = {"template": template(look.scheme), "title": {"text": plain(title)}, "height": height}
    return go.Figure(data=list(data), layout=named | layout)


def upright(x: float, line: dict[str, Any]) -> dict[str, Any]:
    """A line from bottom to top of the plot at `x`, as one of the layout's `shapes`. A figure takes all its shapes at
    once: plotly's own `add_vline` reads those already there anew with every line.
    """
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain", "line": line}


def take_title(figure: go.Figure) -> str:
    """Takes the title off a figure and gives it back as plain text; for pages, where text wraps and figures' titles do
    not.
    """
    text = (figure.layout.title.text or "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    room = max(figure.layout.margin.t or _TITLE_PX, _TITLE_PX)
    height = figure.layout.height and figure.layout.height - _TITLE_PX
    figure.update_layout(title={"text": ""}, margin={"t": room - _TITLE_PX + 4}, height=height)
    return text
