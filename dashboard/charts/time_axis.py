"""The axis of dates that figures over time share."""

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.frame import Look, plain

_SHORT_DAYS = 120


def date_axis(figure: go.Figure, periods: pd.Series, *, look: Look, tz: str) -> None:
    """Names the zone; days on the axis where the whole fits in a few months, else months."""
    span_days = (max(periods) - min(periods)).days if len(periods) else 0
    form = "chart.day_format" if span_days <= _SHORT_DAYS else "chart.month_format"
    figure.update_xaxes(title_text=plain(look.t("chart.date_axis", tz=tz)), tickformat=look.t(form), nticks=7)
