"""The report's figures as inline SVG: dots with intervals and lines with bands, drawn from the same rows as
the console's.

No script, no font of their own, colours by CSS class: the file opens offline, prints, and follows the
reader's dark mode.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from dashboard.charts.evidence import Dot, extent, reading
from dashboard.charts.frame import Look, columns

WIDTH = 880
_ROW, _SIZE = 32, 12.5
_EM = _SIZE * 0.56


def dots(rows: Sequence[Dot], *, look: Look, axis: str, reference: tuple[float, str] | None) -> Markup:
    """A dot plot: labels at the left, marks, and the numbers in a column at the right."""
    texts = [reading(row, look) for row in rows]
    left = 16 + max((columns(row.name) for row in rows), default=0) * _EM
    right = 16 + max((columns(text) for text in texts), default=0) * _EM
    low, high = extent(rows, reference) or [0.0, 1.0]
    top, bottom = 28, 28 + _ROW * len(rows)
    x = _scale(low, high, left, WIDTH - right)
    out = [_axis(x, low, high, bottom, axis, middle=(left + WIDTH - right) / 2)]
    if reference is not None:
        at = x(reference[0])
        out.append(f'<line class="ref" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 6}" y2="{bottom}"/>')
        out.append(_text(at, top - 12, reference[1], "mut mid"))
    for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
        y = top + _ROW * (place + 0.5)
        out.append(f'<line class="grid" x1="{left:.1f}" x2="{WIDTH - right:.1f}" y1="{y}" y2="{y}"/>')
        out.append(_text(left - 12, y + 4, row.name, "end"))
        out.append(_text(WIDTH - right + 14, y + 4, text, "num" if row.estimate is not None else "mut"))
        out.append(_mark(row, x, y))
    return _drawing(out, height=bottom + 56, said=axis)


def lines(
    series: Mapping[str, Sequence[tuple[float, float, float, float]]],
    *,
    names: Mapping[str, str],
    colours: Mapping[str, str],
    x_axis: str,
    y_axis: str,
) -> Markup:
    """Lines with interval bands from name -> [(x, estimate, low, high)]; each line is named at its end."""
    points = [point for line in series.values() for point in line]
    low, high = min(0.0, *(p[2] for p in points)), max(0.0, *(p[3] for p in points))
    room = (high - low) * 0.06 or 1.0
    first, last = min(p[0] for p in points), max(p[0] for p in points)
    left, right, top, bottom = 64, 24 + max(columns(n) for n in names.values()) * _EM, 28, 268
    x, y = _scale(first, last, left, WIDTH - right), _scale(low - room, high + room, bottom, top)
    out = [_axis(x, first, last, bottom, x_axis, middle=(left + WIDTH - right) / 2, whole=True)]
    for tick in _ticks(low, high):
        out.append(f'<line class="grid" x1="{left}" x2="{WIDTH - right:.1f}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        out.append(_text(left - 8, y(tick) + 4, _short(tick), "mut end"))
    out.append(_text(left, top - 12, y_axis, "mut"))
    ends: list[tuple[float, str]] = []
    for name, line in series.items():
        above = [f"{x(p[0]):.1f},{y(p[3]):.1f}" for p in line]
        below = [f"{x(p[0]):.1f},{y(p[2]):.1f}" for p in reversed(line)]
        course = " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in line)
        out.append(f'<polygon class="band" fill="{colours[name]}" points="{" ".join(above + below)}"/>')
        out.append(f'<polyline class="line" stroke="{colours[name]}" points="{course}"/>')
        ends.append((y(line[-1][1]), names[name]))
    previous = -math.inf
    for at, name in sorted(ends):
        previous = max(at, previous + 16)
        out.append(_text(WIDTH - right + 10, previous + 4, name, ""))
    return _drawing(out, height=bottom + 56, said=y_axis)


def _mark(row: Dot, x: Callable[[float], float], y: float) -> str:
    parts = []
    if row.reach is not None:
        a, b = x(-row.reach), x(row.reach)
        parts.append(f'<rect class="reach" x="{a:.1f}" y="{y - 7}" width="{b - a:.1f}" height="14" rx="3"/>')
    if row.estimate is not None and row.low is not None and row.high is not None:
        a, b = x(row.low), x(row.high)
        caps = "".join(f'<line x1="{v:.1f}" x2="{v:.1f}" y1="{y - 5}" y2="{y + 5}"/>' for v in (a, b))
        parts.append(
            f'<g class="ci" stroke="{row.colour}"><line x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}"/>{caps}</g>'
        )
    if row.estimate is not None:
        parts.append(f'<circle class="dot" cx="{x(row.estimate):.1f}" cy="{y}" r="5.5" fill="{row.colour}"/>')
    return "".join(parts)


def _axis(
    x: Callable[[float], float], low: float, high: float, y: float, name: str, *, middle: float, whole: bool = False
) -> str:
    ticks = range(math.ceil(low), math.floor(high) + 1) if whole else _ticks(low, high)
    marks = "".join(_text(x(tick), y + 20, f"{tick}" if whole else _short(tick), "mut mid") for tick in ticks)
    return marks + _text(middle, y + 44, name, "mut mid")


def _ticks(low: float, high: float) -> list[float]:
    span = high - low
    if not span > 0:
        return [low]
    raw = span / 5
    size = 10 ** math.floor(math.log10(raw))
    step = min((m * size for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    start = math.ceil(low / step - 1e-9)
    return [k * step for k in range(start, math.floor(high / step + 1e-9) + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _short(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".").replace("-", "−") or "0"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _drawing(parts: Sequence[str], *, height: float, said: str) -> Markup:
    body = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(said)}">{body}</svg>')
