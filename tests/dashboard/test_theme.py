"""The look holds its promises: contrast, colours apart for every eye, and one set of tokens in all places."""

import math
import re
import tomllib
from itertools import combinations
from pathlib import Path

import pytest

import dashboard
from dashboard.theme import (
    DARK,
    LIGHT,
    SCHEMES,
    Scheme,
    Tokens,
    component_colour,
    contrast,
    linear_rgb,
    style,
    template,
)

CONFIG = Path(dashboard.__file__).parent / ".streamlit" / "config.toml"
# Machado, Oliveira and Fernandes (2009), severity 1.
EYES = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_text_has_aa_contrast_on_every_ground(scheme: Tokens) -> None:
    for ground in (scheme.background, scheme.raised, scheme.sidebar):
        for ink in (scheme.text, scheme.muted, scheme.accent):
            assert contrast(ink, ground) >= 4.5
    assert contrast(scheme.background, scheme.accent) >= 4.5  # the words on the primary button


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_marks_have_three_to_one(scheme: Tokens) -> None:
    for mark in (*scheme.series, scheme.counter, scheme.reference):
        assert contrast(mark, scheme.background) >= 3


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("eye", EYES)
def test_series_stay_apart_for_every_eye(scheme: Tokens, eye: str) -> None:
    seen = [_oklab(_through(EYES[eye], linear_rgb(colour))) for colour in scheme.series]
    assert min(math.dist(a, b) for a, b in combinations(seen, 2)) >= 0.05


@pytest.mark.parametrize("name", ["light", "dark"])
def test_the_console_is_configured_with_the_same_tokens(name: Scheme) -> None:
    told = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"][name]
    c = SCHEMES[name]
    assert told["primaryColor"] == c.accent
    assert told["backgroundColor"] == c.background
    assert told["secondaryBackgroundColor"] == c.raised
    assert told["textColor"] == c.text
    assert told["borderColor"] == c.hairline
    assert told["sidebar"]["backgroundColor"] == c.sidebar


def test_the_typeface_is_shipped_with_its_licence() -> None:
    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]
    static = CONFIG.parent.parent / "static"
    for face in theme["fontFaces"]:
        assert face["url"].startswith("app/static/")
        assert (static / face["url"].removeprefix("app/static/")).is_file()
    assert "SIL Open Font License" in (static / "inter-LICENSE.txt").read_text(encoding="utf-8")


def test_a_model_keeps_its_colour_and_strangers_are_grey() -> None:
    known = [
        component_colour(name, "light")
        for name in ("champion", "neural", "frozen", "ease", "ridge", "factors", "popularity", "content")
    ]
    assert len(set(known)) == len(known)
    assert component_colour("champion", "dark") == DARK.accent
    assert component_colour("someone's model", "light") == LIGHT.reference


def test_each_scheme_has_its_own_template() -> None:
    light, dark = template("light").layout, template("dark").layout
    assert light.font.color != dark.font.color
    assert light.paper_bgcolor == dark.paper_bgcolor == "rgba(0,0,0,0)"


def test_every_rule_of_the_style_can_be_read_by_a_browser() -> None:
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", style())
    assert len(rules) > 20
    for selector, body in rules:
        assert selector.count("[") == selector.count("]")
        for declaration in filter(str.strip, body.split(";")):
            assert re.fullmatch(r"\s*[a-z-]+: ?[^:]+", declaration), declaration


def test_every_tone_of_a_figure_has_its_other_scheme() -> None:
    for light, dark in [*zip(LIGHT.series, DARK.series, strict=True), (LIGHT.text, DARK.text)]:
        for tone in (light, dark):
            r, g, b = (int(tone[i : i + 2], 16) for i in (1, 3, 5))
            assert f'[style*="fill: rgb({r}, {g}, {b})"] {{fill: light-dark({light}, {dark}) !important}}' in style()


def _through(matrix: tuple[tuple[float, ...], ...], rgb: tuple[float, float, float]) -> list[float]:
    return [min(1.0, max(0.0, sum(a * b for a, b in zip(row, rgb, strict=True)))) for row in matrix]


def _oklab(rgb: list[float]) -> tuple[float, float, float]:
    r, g, b = rgb
    lms = (
        0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b,
        0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b,
        0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b,
    )
    x, y, z = (v ** (1 / 3) for v in lms)
    return (
        0.2104542553 * x + 0.793617785 * y - 0.0040720468 * z,
        1.9779984951 * x - 2.428592205 * y + 0.4505937099 * z,
        0.0259040371 * x + 0.7827717662 * y - 0.808675766 * z,
    )
