"""Tables in, plotly figures out: pure, one theme, units on axes, intervals and n wherever there is an
estimate.

A figure's title is the finding that the caller passes; pages take it off the figure (`take_title`) and set
it as text, so that it wraps on a narrow screen. Every function takes a `Look`: the scheme to draw in
and the words to write with.
"""

from dashboard.charts.behaviour import activity, hour_weekday, long_tail, sessions, timeline
from dashboard.charts.contest import forest, tradeoff
from dashboard.charts.evidence import POLICIES, Dot, dots, gap_dots, group_dots, lift_curves, model_dots, path
from dashboard.charts.frame import Look, plain, take_title
from dashboard.charts.growth import growth, stickiness
from dashboard.charts.people import funnel, retention, segments, transitions
from dashboard.charts.result import result
from dashboard.charts.search import parallel
from dashboard.charts.training import curves
from dashboard.charts.why import waterfall

__all__ = [
    "POLICIES",
    "Dot",
    "Look",
    "activity",
    "curves",
    "dots",
    "forest",
    "funnel",
    "gap_dots",
    "group_dots",
    "growth",
    "hour_weekday",
    "lift_curves",
    "long_tail",
    "model_dots",
    "parallel",
    "path",
    "plain",
    "result",
    "retention",
    "segments",
    "sessions",
    "stickiness",
    "take_title",
    "timeline",
    "tradeoff",
    "transitions",
    "waterfall",
]
