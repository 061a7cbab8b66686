"""Tables in, plotly figures out: pure, one theme, units on axes, intervals and n wherever there is an
estimate.

A figure's title is the finding that the caller passes; pages lift it out of the figure (`lifted_title`) and
set it as text, so that it wraps on a narrow screen. Every function takes a `Look`: the scheme to draw in
and the words to write with.
"""

from dashboard.charts.behaviour import activity, hour_weekday, long_tail, timeline
from dashboard.charts.evidence import POLICIES, dots, gap_dots, group_dots, lift_curves, model_dots, path
from dashboard.charts.frame import Look, lifted_title, plain
from dashboard.charts.training import curves
from dashboard.charts.why import waterfall

__all__ = [
    "POLICIES",
    "Look",
    "activity",
    "curves",
    "dots",
    "gap_dots",
    "group_dots",
    "hour_weekday",
    "lift_curves",
    "lifted_title",
    "long_tail",
    "model_dots",
    "path",
    "plain",
    "timeline",
    "waterfall",
]
