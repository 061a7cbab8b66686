"""The look: one set of tokens for each scheme, and the plotly template made of them.

Figures, the report and `.streamlit/config.toml` all draw from here, so that a page, its figures and the
file handed over are one thing. The first accents are the design's; the other hues are kept while their
lightness was searched so that every series has 3:1 against the page and any two stay at least .06 apart
(OKLab) for protan, deutan and tritan eyes. The counter colour is darker than the sketch's by a hair in
light: 2.8:1 became 3:1.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import plotly.graph_objects as go

Scheme = Literal["light", "dark"]

FONT = (
    "Inter, 'Noto Sans CJK SC', 'Noto Sans SC', 'PingFang SC', 'Microsoft YaHei', system-ui, -apple-system, sans-serif"
)
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
RADIUS_PX = 8
STEP_PX = 8


@dataclass(frozen=True)
class Tokens:
    """The colours of one scheme, as #RRGGBB."""

    background: str
    raised: str
    sidebar: str
    text: str
    muted: str
    hairline: str
    accent: str
    counter: str
    reference: str
    band: str
    series: tuple[str, ...]
    sequential: tuple[str, ...]


LIGHT = Tokens(
    background="#FBFBF9",
    raised="#F1F2EE",
    sidebar="#F4F4F0",
    text="#1F2933",
    muted="#5F6B76",
    hairline="#DDDFD9",
    accent="#2F5DA8",
    counter="#D37C23",
    reference="#627380",
    band="rgba(47, 93, 168, 0.25)",
    series=("#2F5DA8", "#D37C23", "#30A293", "#9B2C58", "#627380", "#A583CB", "#6D5300", "#237DA9"),
    sequential=("#F1F2EE", "#D3DCEA", "#A9BFE0", "#7A9CCF", "#4F7BBD", "#2F5DA8", "#1D3F78"),
)

DARK = Tokens(
    background="#14181D",
    raised="#1D232A",
    sidebar="#1D232A",
    text="#E4E7EB",
    muted="#9AA5B1",
    hairline="#313942",
    accent="#7FA8E8",
    counter="#F0A860",
    reference="#8C9EAC",
    band="rgba(127, 168, 232, 0.25)",
    series=("#7FA8E8", "#F0A860", "#65D0C0", "#CE5A83", "#8C9EAC", "#DCB9FF", "#998000", "#3389B6"),
    sequential=("#1D232A", "#23354F", "#2F4C78", "#4267A0", "#5F88C6", "#7FA8E8", "#B9D1F7"),
)

SCHEMES: dict[Scheme, Tokens] = {"light": LIGHT, "dark": DARK}


def tokens(scheme: Scheme) -> Tokens:
    """The colours of a scheme."""
    return SCHEMES[scheme]


@cache
def template(scheme: Scheme) -> go.layout.Template:
    """The one plotly template of a scheme: transparent paper, hairline grid, text in ink, no legend unless
    asked for.
    """
    c = tokens(scheme)
    axis = {
        "gridcolor": c.hairline,
        "linecolor": c.hairline,
        "zerolinecolor": c.hairline,
        "zerolinewidth": 1,
        "tickcolor": c.hairline,
        "tickfont": {"size": 12, "color": c.muted},
        "title": {"font": {"size": 12, "color": c.muted}, "standoff": 12},
        "tickangle": 0,
        "automargin": True,
        "separatethousands": True,
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": c.text},
            "title": {
                "font": {"size": 15, "color": c.text, "weight": 600},
                "x": 0,
                "xref": "container",
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 4, "l": 0},
            },
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(c.series),
            "colorscale": {"sequential": [[i / 6, tone] for i, tone in enumerate(c.sequential)]},
            "xaxis": axis | {"showgrid": False, "ticks": "outside", "ticklen": 4},
            "yaxis": axis | {"showline": False, "ticklabelstandoff": 8},
            "hoverlabel": {
                "bgcolor": c.raised,
                "bordercolor": c.hairline,
                "font": {"family": FONT, "size": 12, "color": c.text},
                "align": "left",
            },
            "hovermode": "closest",
            "showlegend": False,
            "margin": {"l": 8, "r": 8, "t": 44, "b": 8},
            "bargap": 0.3,
            "dragmode": False,
        }
    )


def component_colour(name: str, scheme: Scheme) -> str:
    """The colour that a model or component keeps on every page; unknown ones are grey."""
    c = tokens(scheme)
    slots = {
        "champion": 0,
        "neural": 2,
        "frozen": 5,
        "ease": 1,
        "ridge": 3,
        "factors": 6,
        "popularity": 4,
        "content": 7,
    }
    return c.series[slots[name]] if name in slots else c.reference


def policy_colours(scheme: Scheme) -> dict[str, str]:
    """The colours that ways of guiding keep on every page."""
    c = tokens(scheme)
    return {"guide": c.accent, "push": c.counter, "passive": c.series[2], "random": c.reference}


def contrast(a: str, b: str) -> float:
    """WCAG 2.2 contrast ratio of two #RRGGBB colours, in [1, 21]."""
    brighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def linear_rgb(colour: str) -> tuple[float, float, float]:
    """A #RRGGBB colour in linear light, each channel in [0, 1]."""
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels)
    return r, g, b


def _luminance(colour: str) -> float:
    r, g, b = linear_rgb(colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def style() -> str:
    """What the theme options cannot say, as CSS: a card's figure, the chosen card, the header's line, one control
    height.

    A reader may turn the scheme while a page stands, and nothing runs again then: so every colour here is both schemes'
    at once (`light-dark()` follows the app's own `color-scheme`), and figures are recoloured by the tones they were
    drawn in.
    """
    accent, hairline, ground = (_both(name) for name in ("accent", "hairline", "background"))
    listed = ':is([class*="st-key-sql-list-"], [class*="st-key-found-list-"]) [data-testid="stButton"] button'
    return f"""
[data-testid="stMain"] h1 {{padding: 8px 0 4px}}
[class*="st-key-card-"] {{container-type: inline-size}}
[class*="st-key-card-"] p {{
  font-size: clamp(18px, 12cqw, 28px); font-weight: 600; line-height: 1.3; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums}}
[class*="st-key-slate-chosen"] {{border-color: {accent} !important; box-shadow: inset 3px 0 0 {accent}}}
[data-testid="stBaseButton-primary"]:not(:disabled) {{color: {ground} !important}}
[data-testid="stMultiSelectTagsContainer"] [data-tag], [data-tag] * {{color: {ground} !important}}
.st-key-evidence :is(th, td):not(:last-child) {{width: 1%}}
.st-key-evidence :is(th, td):not(:last-child) * {{white-space: nowrap !important}}
.st-key-evidence td:last-child [data-testid="stMarkdownContainer"] {{max-width: none}}
.st-key-sql-text textarea {{font-family: {MONO}; font-size: 13px; line-height: 1.55; tab-size: 2}}
{listed} {{justify-content: flex-start; text-align: left; min-height: 2rem}}
{listed} :is(div, div > span) {{justify-content: flex-start; min-width: 0; max-width: 100%}}
{listed} [data-testid="stIconMaterial"] {{flex: none; min-width: 1.25rem}}
{listed} p {{overflow: hidden; text-overflow: ellipsis; white-space: nowrap}}
.st-key-sql-list-history button p {{font-family: {MONO}; font-size: 13px}}
.st-key-header {{border-bottom: 1px solid {hairline}; padding-bottom: 8px}}
[data-testid="stButtonGroup"] button, [data-testid="stMain"] [data-testid="stButton"] button[kind$="ary"],
[data-testid="stPopover"] button {{min-height: 2.5rem}}
{_recoloured()}"""


def _both(name: str) -> str:
    return f"light-dark({getattr(LIGHT, name)}, {getattr(DARK, name)})"


def _recoloured() -> str:
    """Rules that give each mark of a figure the tone that its colour has in the scheme now in force."""
    single = ("text", "muted", "hairline", "background", "raised", "accent", "counter", "reference")
    pairs = [(getattr(LIGHT, name), getattr(DARK, name)) for name in single]
    pairs += zip(LIGHT.series, DARK.series, strict=True)
    pairs += zip(LIGHT.sequential, DARK.sequential, strict=True)
    rules = []
    for light, dark in dict.fromkeys(pairs):
        for tone in (light, dark):
            r, g, b = (int(tone[i : i + 2], 16) for i in (1, 3, 5))
            for what in ("fill", "stroke"):
                chosen = f'.js-plotly-plot [style*="{what}: rgb({r}, {g}, {b})"]'
                rules.append(f"{chosen} {{{what}: light-dark({light}, {dark}) !important}}")
    return "\n".join(rules)
