"""Axes that figures share, as parts of a layout, with the margins that they need: who writes the labels knows how wide
they are, so that a browser does not draw each figure again until it has found out, which takes as long as all the rest
of drawing.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from dashboard.charts.frame import Look, plain, width_px

RIGHT_PX = 16  # half a label of the last tick
BELOW_PX = 48  # labels, and the title under them
_BESIDE_PX = 36  # the upright title, and the labels' distance to both sides
_SHORT_DAYS = 120


def date_axis(periods: pd.Series, *, look: Look, tz: str) -> dict[str, Any]:
    """`xaxis`, which names the zone; days on it where the whole fits in a few months, else months."""
    span_days = (max(periods) - min(periods)).days if len(periods) else 0
    form = "chart.day_format" if span_days <= _SHORT_DAYS else "chart.month_format"
    title = {"text": plain(look.t("chart.date_axis", tz=tz))}
    return {"xaxis": {"title": title, "tickformat": look.t(form), "nticks": 7}}


def count_axis(most: int, *, title: str, look: Look, below: int = 0) -> dict[str, Any]:
    """`yaxis` and `margin`: round numbers from 0 to `most`, and as far down as `below` where something hangs from the
    axis.
    """
    ticks = steps(most, finest=1)
    under = [-tick for tick in ticks if 0 < tick <= below]
    return _from_zero({tick: look.t.count(abs(tick)) for tick in (*under, *ticks)}, title=title)


def share_axis(most: float, *, title: str) -> dict[str, Any]:
    """`yaxis` and `margin`: percentages from 0 to `most`."""
    ticks = steps(most, about=5)
    decimals = max(0, -int(np.floor(np.log10(ticks[1]))) - 2) if len(ticks) > 1 else 0
    return _from_zero({tick: f"{tick:.{decimals}%}" for tick in ticks}, title=title)


def margins(labels: Iterable[str], *, right_px: int = RIGHT_PX) -> dict[str, Any]:
    """`margin` for labels of the upright axis, for a line of labels and a title below, and for what stands at the
    right.
    """
    left_px = _BESIDE_PX + max(map(width_px, labels), default=0)
    return {"margin": {"l": left_px, "r": right_px, "b": BELOW_PX, "autoexpand": False}}


def _from_zero(texts: dict[float, str], *, title: str) -> dict[str, Any]:
    ticks = {"tickvals": list(texts), "ticktext": list(texts.values())}
    return {"yaxis": {"title": {"text": plain(title)}, "rangemode": "tozero", **ticks}, **margins(texts.values())}


def steps(most: float, *, about: int = 4, finest: float = 0) -> list[float]:
    """Round numbers from 0 to `most`, some `about` of them and none closer than `finest`; 0 alone where that is not
    above 0.
    """
    if not most > 0:
        return [0]
    size = float(10.0 ** np.floor(np.log10(most / about)))
    rough = next(size * factor for factor in (1, 2, 5, 10) if size * factor * about >= most * 0.9)
    step = max(rough, finest)
    return [place * step for place in range(int(most / step + 1e-9) + 1)]
