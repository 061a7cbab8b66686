"""Domains (retail, news, music, ...): what one knows of such data before seeing it, each told by a TOML file, no code.

A file `data/presets/domains/NAME.toml` holds `[spec]`, the settings that specs with `preset = "NAME"` take over;
`[columns]`, how such logs call their columns, role by role, and `text`, what a language model should read of an item;
and `[sample]`, from which `data/samples.py` generates a world of the domain. To add a domain is to add a file.
"""

import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from data.errors import InvalidSpec
from data.phrases import listed, phrase, quoted


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Price = Annotated[float, Field(gt=0)]
Called = dict[str, tuple[str, ...]]  # a role and the columns' names that mean it, the likeliest first


class Columns(_Told):
    """Names of columns by role. events: user, item, ts, kind, value; items: key, title, categories, price, image,
    available; users: key. `context`, `attributes` and `about` (users') are the roles of columns besides these, kept
    where a file has them; `sensitive` are those of `about` that describe people."""

    events: Called
    context: Called = Field(default_factory=dict)
    items: Called
    attributes: Called = Field(default_factory=dict)
    users: Called
    about: Called = Field(default_factory=dict)
    sensitive: tuple[str, ...] = ()


class Stage(_Told):
    """One kind of events in a sample's funnel: of everything `shown`, of what was `taken`, or of the events of an
    earlier kind, a `share`, after `delay_s` seconds at least and at most. `taste`: by how much the share depends on the
    user's taste, from 0 to 1. `value`: a rating, seconds, the price, or nothing. `baskets`: the events of one visit
    are one purchase at its end."""

    kind: str
    of: str = "taken"
    share: float = Field(default=1.0, gt=0, le=1)
    taste: float = Field(default=0.0, ge=0, le=1)
    delay_s: tuple[int, int] = (0, 0)
    value: str | None = Field(default=None, pattern=r"^(rating|seconds|price|share)$")
    baskets: bool = False


class Sample(_Told):
    """A generated world: `world` are settings of `data.synthetic.World`. Titles are made by `patterns`, in which
    {thing} is one of a category's words, {Thing} the same with capitals, and other names are lists in `words`; so is
    the text `about` an item. `choices` are lists from which columns by these roles are drawn, of items, users or
    visits, `numbers` ranges; the roles session, basket, about, published, age and region are filled from the world."""

    world: dict[str, float | int | bool]
    categories: dict[str, tuple[str, ...]] = Field(min_length=4)
    words: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    patterns: tuple[str, ...] = Field(min_length=1)
    about: tuple[str, ...] = ()
    choices: Called = Field(default_factory=dict)
    numbers: dict[str, tuple[float, float]] = Field(default_factory=dict)
    prices: tuple[Price, Price] | None = None
    seconds: tuple[float, float] = (20, 600)
    funnel: tuple[Stage, ...] = Field(min_length=1)


class Domain(_Told):
    """What is known of data of one domain. `spec`: settings of a spec; `text`: a template whose names are roles."""

    spec: dict[str, Any]
    columns: Columns
    text: str = "{title}. {categories}"
    sample: Sample

    @model_validator(mode="after")
    def _roles_agree(self) -> "Domain":
        if missing := {"user", "item", "ts"} - set(self.columns.events):
            raise ValueError(f"columns.events lacks {', '.join(sorted(missing))}")
        if unknown := set(self.columns.sensitive) - set(self.columns.about):
            raise ValueError(f"columns.sensitive names {', '.join(sorted(unknown))}, which columns.about does not")
        known = {"shown", "taken"}
        for stage in self.sample.funnel:
            if stage.of not in known:
                raise ValueError(f"sample.funnel: {stage.kind} is of {stage.of}, which comes later or never")
            known.add(stage.kind)
        return self


def domain_names() -> list[str]:
    """Names of the known domains, sorted."""
    files = resources.files("data.presets").joinpath("domains").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


@cache
def domain(name: str) -> Domain:
    """A known domain. Raises InvalidSpec for any other name."""
    if name not in (known := domain_names()):
        raise InvalidSpec(
            phrase("spec.no_domain", name=quoted(name)), remedy=phrase("do.known", names=listed(known, most=20))
        )
    text = domain_text(name)
    return Domain.model_validate(tomllib.loads(text))


def domain_text(name: str) -> str:
    """A known domain's file; `name` is one of `domain_names()`."""
    return resources.files("data.presets").joinpath("domains", f"{name}.toml").read_text(encoding="utf-8")


def meaning(name: object) -> dict[str, Any]:
    """What specs of a domain take over, as a tree of their settings. Raises InvalidSpec."""
    return {key: dict(value) for key, value in domain(str(name)).spec.items()}


def column_of(called: Iterable[str], header: Iterable[str]) -> str | None:
    """The column of a header that one of these names means, whatever its case and its marks between words."""
    by_name = {_plain(column): column for column in header}
    return next((by_name[_plain(name)] for name in called if _plain(name) in by_name), None)


def _plain(name: str) -> str:
    return "".join(mark for mark in name.casefold() if mark.isalnum())
