import pytest

from data.catalogue import render


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"title": "Alien", "year": "1979", "categories": "Horror, Sci-Fi"}, "Alien (1979). Horror, Sci-Fi"),
        ({"title": "Alien", "categories": "Horror"}, "Alien. Horror"),
        ({"title": "Alien", "year": "1979"}, "Alien (1979)"),
        ({"title": "Wait...", "year": "", "categories": ""}, "Wait..."),
        ({"title": "Where?", "year": "1979", "categories": ""}, "Where? (1979)"),
        ({"title": "A  {brace}", "year": "", "categories": "x"}, "A {brace}. x"),
        ({}, ""),
    ],
)
def test_what_is_missing_leaves_no_trace_in_the_text(values: dict[str, str], text: str) -> None:
    assert render("{title} ({year}). {categories}", values) == text


def test_separators_stand_only_between_what_is_there() -> None:
    def text(template: str, **values: str) -> str:
        return render(template, values)

    assert text("{a}: {b}", b="x") == "x"
    assert text("{a}. {b}. {c}.", a="x", c="y") == "x. y."
    assert text("passage: {a} [{b}]", a="x") == "passage: x"
    assert text("passage: {a} [{b}]", a="x", b="y") == "passage: x [y]"
