"""A dataset is described, not coded: the frozen TOML spec that maps a caller's files to Lodestar's tables.

On the right-hand side stand the caller's own column names. Example:

    sensitive = ["gender"]
    [dataset]
    name = "shop"
    task = "next-new"
    [events]
    files = "clicks.csv"
    user = "customer"
    item = "sku"
    ts = "time"
    [items]
    files = "products.csv"
    key = "sku"
    title = "name"
    categories = "tags"

A spec that says `preset = "news"` above its sections takes over what a domain knows of such data (the task, what the
words for kinds mean, weights, the positive rule, figures), and each of its own settings overrules that
(`data/domains.py`).

`load_spec` reads one; every fault is an `InvalidSpec` that names its field.
"""

import codecs
import re
import string
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from zoneinfo import available_timezones

import tomli_w
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from data.domains import meaning
from data.errors import InvalidSpec
from data.phrases import Said, phrase, quoted
from data.spec_fault import SpecFault, invalid

Task = Literal["next-new", "next-any", "repurchase"]
Measure = Literal[
    "engagement",
    "conversion",
    "rate",
    "completion",
    "basket_value",
    "basket_size",
    "repeats",
    "returning",
    "item_age",
    "mean_value",
]
TimeUnit = Literal["s", "ms", "us", "iso"]
THE_SPEC: Final = phrase("spec.itself")
_FORM = re.compile(r"(?:[^%]|%-?[aAbBcdfgGHIjmMnpSuUVwWxXyYzZ%])*")  # of strptime
_NO_ENCODINGS = frozenset({"unicode_escape", "raw_unicode_escape", "punycode", "idna", "undefined"})
_MOST_SECONDS = 366 * 86_400
_Most = Annotated[int, Field(ge=1, lt=2**31)]
_Least = Annotated[int, Field(ge=2, lt=2**31)]
_RESERVED_USER_COLUMNS = frozenset({"user_id", "key"})


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


def _parts_of(annotation: Any) -> set[Any]:
    """A type, or the types that another is made of."""
    return {annotation}.union(*map(_parts_of, get_args(annotation)))


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise SpecFault(phrase("field.twice", name=quoted(twice[0])))
    return names


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, told: Any, info: ValidationInfo) -> Any:
        """`true` is no 1."""
        numbers = {int, float} & _parts_of(cls.model_fields[str(info.field_name)].annotation)
        values = told.values() if isinstance(told, dict) else (told,)
        if numbers and any(isinstance(value, bool) for value in values):
            raise SpecFault(phrase("field.number"))
        return told


class DatasetSection(_Section):
    """`task` fixes masking, targets and baselines: next-new masks seen items, repurchase does not. `domain` is the
    preset that this spec began from: it picks the console's words, and nothing is read from it any more."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    task: Task = "next-new"
    licence: str = "not stated"
    source: str = "the caller's files"
    domain: str | None = None


class _Rows(_Section):
    """Where a section's rows are: in `files` (paths, patterns, folders; `encoding` and `delimiter` where they are not
    told by the bytes themselves), or in a `database`, of which a `query` is asked. `most_refused`: the share of them
    that may be refused; where more are, nothing is published. None: a fifth, of 1,000 rows and more."""

    files: Names = ()
    encoding: str | None = None
    delimiter: str | None = None  # of delimited text; None: the one that makes most columns of the first line
    database: str | None = None
    query: str | None = None
    most_refused: float | None = Field(default=None, ge=0, le=1)

    @field_validator("encoding")
    @classmethod
    def _encoding_of_text(cls, name: str | None) -> str | None:
        try:
            known = name is None or codecs.lookup(name)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known or (name or "").replace("-", "_").lower() in _NO_ENCODINGS:
            raise SpecFault(phrase("field.encoding", name=quoted(name or "")))
        return name

    @field_validator("delimiter")
    @classmethod
    def _delimiter_of_text(cls, mark: str | None) -> str | None:
        if mark is not None and (len(mark) != 1 or not mark.isascii() or mark in '"\r\n\0' or mark.isalnum()):
            raise SpecFault(phrase("field.delimiter", mark=quoted(mark)))
        return mark

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.database is None) != (self.query is None):
            raise SpecFault(phrase("field.with_query"))
        if self.files and self.database:
            raise SpecFault(phrase("field.one_place"))
        return self

    @property
    def named(self) -> bool:
        """Whether the section says where its rows are."""
        return bool(self.files or self.database)


class EventsSection(_Rows):
    """Columns of the behaviour log. `kind` names a column; without it all events are of `kind_value`."""

    user: str
    item: str
    ts: str
    ts_unit: TimeUnit | None = None  # None: guessed from the column as a whole
    ts_format: str | None = None  # of strptime, where times are not written as ISO 8601
    tz: str = "UTC"  # the zone of times that do not tell theirs
    kind: str | None = None
    kind_value: str = "view"
    value: str | None = None
    id: str | None = None  # of the event: of several rows with one, the last takes the place of the others
    context: Names = ()
    drop_duplicates: bool = False  # quarantine a row equal to an earlier one in user, item, time, kind and value, where
    # it has no id

    @field_validator("ts_format")
    @classmethod
    def _form_of_times(cls, form: str | None) -> str | None:
        if form is not None and not (form.strip() and _FORM.fullmatch(form)):
            raise SpecFault(phrase("field.form_of_times", form=quoted(form)))
        return form

    @field_validator("context")
    @classmethod
    def _context_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _once(names)

    @field_validator("tz")
    @classmethod
    def _zone_there_is(cls, name: str) -> str:
        if name not in available_timezones():
            raise SpecFault(phrase("field.zone", name=quoted(name)))
        return name

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if not self.named:
            raise SpecFault(phrase("field.no_rows"))
        return self


class ItemsSection(_Rows):
    """Columns of the catalogue; without files or a database, those of each item's first row among the events."""

    key: str | None = None  # None: the name of the events' item column
    title: str | None = None
    categories: str | None = None
    categories_separator: str = Field(default="|", min_length=1)
    text_template: str = "{title}. {categories}"
    price: str | None = None
    image: str | None = None
    available: str | None = None
    attributes: Names = ()

    @field_validator("attributes")
    @classmethod
    def _attributes_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _once(names)

    @field_validator("text_template")
    @classmethod
    def _template_parses(cls, template: str) -> str:
        template_fields(template)
        return template


class UsersSection(_Rows):
    """Columns of the user table; only the attributes declared here enter the store."""

    key: str | None = None
    attributes: Names = ()


class CleanSection(_Section):
    """Which sound events a build does without; `data/cleaning.py` says what each rule does, and in which order they
    run, which is that of these fields. None or empty: the rule is off."""

    drop_kinds: Names = ()  # as they are called here, where [kinds] has other names than the files
    least_value: float | None = None  # events without a value stay
    repeats_within: float | None = Field(default=None, gt=0, le=_MOST_SECONDS)  # seconds
    most_events_per_minute: _Most | None = None  # of a person; who has more is a program
    most_events_per_day: _Most | None = None
    most_events_per_user: _Most | None = None  # the latest ones stay
    most_events_per_item: _Most | None = None  # which stay is drawn by `seed`
    seed: int = Field(default=0, ge=0, lt=2**63)
    least_events_per_user: _Least | None = None
    least_events_per_item: _Least | None = None
    core_rounds: _Most | None = None  # None: until users and items all have so many

    @field_validator("drop_kinds")
    @classmethod
    def _kinds_that_can_be(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if any(not name.strip() for name in names):
            raise SpecFault(phrase("field.kind_name"))
        return _once(tuple(name.strip() for name in names))

    @model_validator(mode="after")
    def _rounds_of_something(self) -> Self:
        if self.core_rounds is not None and not (self.least_events_per_user or self.least_events_per_item):
            raise SpecFault(phrase("field.core_rounds"))
        return self


class SessionsSection(_Section):
    """A user's events belong to one session while no gap between two of them is longer than this."""

    gap_minutes: float = Field(gt=0, le=_MOST_SECONDS / 60)


class PositiveRule(_Section):
    """Which events count as liked: all, unless a smallest value or kinds are given (both must hold)."""

    min_value: float | None = None
    kinds: Names = ()


class Kpi(_Section):
    """A figure of the domain; `data/kpis.py` says what each measure is of. `of` and `to` are kinds of events: what is
    counted, and what it leads to. `min_value`: the value from which an event counts as completed."""

    measure: Measure
    of: Names = ()
    to: Names = ()
    min_value: float | None = None

    @model_validator(mode="after")
    def _told_what_of(self) -> Self:
        if (self.measure in ("conversion", "rate")) != bool(self.to) or (self.to and not self.of):
            raise SpecFault(phrase("field.measure_kinds"))
        if (self.measure == "completion") != (self.min_value is not None):
            raise SpecFault(phrase("field.measure_value"))
        return self


class Binning(_Section):
    """An attribute made from a number: `labels[i]` holds values below `edges[i]`, the last one the rest."""

    source: str = Field(alias="from")
    edges: tuple[float, ...] = Field(min_length=1)
    labels: tuple[str, ...]

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _one_label_more(self) -> Self:
        if len(self.labels) != len(self.edges) + 1:
            raise SpecFault(phrase("field.labels", n=len(self.edges), more=len(self.edges) + 1))
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise SpecFault(phrase("field.edges"))
        return self

    def label_of(self, text: str | None) -> str:
        """The label of a number written as text; `unknown` where there is none."""
        try:
            number = float(text or "")
        except ValueError:
            return "unknown"
        if number != number:
            return "unknown"
        return self.labels[sum(number >= edge for edge in self.edges)]


class DatasetSpec(_Section):
    """The whole spec. `kinds` are the caller's words for kinds of events, and what they are called here. `weights` says
    how much an event of each kind counts as engagement, one where it does not; no training reads it. `kpis` are the
    figures that Pulse shows. `user_attributes` are the columns that the users table will have. Without `sessions` a
    build has none."""

    dataset: DatasetSection
    events: EventsSection
    items: ItemsSection | None = None
    users: UsersSection | None = None
    clean: CleanSection = CleanSection()
    sessions: SessionsSection | None = None
    kinds: dict[str, str] = Field(default_factory=dict)
    weights: dict[str, float] = Field(default_factory=dict)
    kpis: dict[str, Kpi] = Field(default_factory=dict)
    positive: PositiveRule = PositiveRule()
    derive: dict[str, Binning] = Field(default_factory=dict)
    sensitive: Names = ()

    @model_validator(mode="before")
    @classmethod
    def _derived_of_users(cls, told: Any) -> Any:
        """What is derived, is of users: of those that the events name, where nothing else is said of them."""
        return {"users": {}, **told} if isinstance(told, dict) and told.get("derive") else told

    @model_validator(mode="after")
    def _attributes_agree(self) -> Self:
        known = self.user_attributes
        folded = [name.casefold() for name in known]  # a database's columns differ by more than case
        repeated = sorted(
            {n for n in known if folded.count(n.casefold()) > 1 or n.casefold() in _RESERVED_USER_COLUMNS}
        )
        if repeated:
            raise SpecFault(phrase("field.attribute_twice", name=quoted(repeated[0])))
        for name in known:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ]{0,62}", name):
                raise SpecFault(phrase("field.attribute_letters", name=quoted(name)))
        missing = [name for name in self.sensitive if name not in known]
        if missing:
            raise SpecFault(phrase("field.sensitive", name=quoted(missing[0])))
        if any(weight < 0 for weight in self.weights.values()):
            raise SpecFault(phrase("field.weights"))
        return self

    @model_validator(mode="after")
    def _kinds_have_names(self) -> Self:
        if bad := [word for word, kind in self.kinds.items() if not word.strip() or not kind.strip()]:
            raise SpecFault(phrase("field.kinds", name=quoted(bad[0])))
        meant: dict[str, str] = {}
        for word, kind in self.kinds.items():  # the letters' size tells no words apart
            if meant.setdefault(word.strip().casefold(), kind.strip()) != kind.strip():
                raise SpecFault(phrase("field.kind_twice", name=quoted(word)))
        return self

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def task(self) -> Task:
        return self.dataset.task

    @property
    def licence(self) -> str:
        return self.dataset.licence

    @property
    def source(self) -> str:
        return self.dataset.source

    @property
    def user_attributes(self) -> list[str]:
        """Declared attributes first, derived ones after, in the spec's order."""
        return [*(self.users.attributes if self.users else ()), *self.derive]

    def to_toml(self) -> str:
        """The spec as TOML that `parse_spec` reads back to an equal spec."""
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        plain = {key: value for key, value in body.items() if not isinstance(value, dict)}
        return tomli_w.dumps(plain | {key: value for key, value in body.items() if isinstance(value, dict)})


def load_spec(path: Path) -> DatasetSpec:
    """Read a spec file. Raises InvalidSpec, which names the field at fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidSpec(phrase("spec.absent", path=str(path)), remedy=phrase("do.give_a_path")) from error
    except (OSError, ValueError) as error:  # no text, or a path that holds a NUL
        raise InvalidSpec(phrase("spec.unreadable", path=str(path)), remedy=phrase("do.give_a_path")) from error
    return parse_spec(text, origin=path.name)


def parse_spec(text: str, *, origin: Said = THE_SPEC) -> DatasetSpec:
    """A spec from TOML text. origin: what errors call it. Raises InvalidSpec, which names the field at fault."""
    try:
        return DatasetSpec.model_validate(_with_preset(tomllib.loads(text), origin))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSpec(
            phrase("spec.no_toml", origin=origin, why=str(error)), remedy=phrase("do.mend_line")
        ) from error
    except ValidationError as error:
        raise invalid(error, origin=origin) from error


def _with_preset(told: dict[str, Any], origin: Said) -> dict[str, Any]:
    """What a spec says, over what its preset says."""
    name = told.pop("preset", None)
    if name is None:
        return told
    try:
        return _over(meaning(name), _over({"dataset": {"domain": name}}, told))
    except InvalidSpec as error:
        what, remedy = error.parts
        raise InvalidSpec(phrase("field.at", origin=origin, field="preset", what=what), remedy=remedy) from error


def _over(under: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """Two specs as one, in which `told` wins setting by setting; a positive rule is one setting."""
    merged = dict(under)
    for name, value in told.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict) and name != "positive"
        if both and name == "kinds":
            said = {word.strip().casefold() for word in value}
            merged[name] = {word: kind for word, kind in merged[name].items() if word.strip().casefold() not in said}
        merged[name] = {**merged[name], **value} if both else value
    return merged


def template_fields(template: str) -> list[str]:
    """The names between braces in a text template. Raises ValueError when it does not parse."""
    names = []
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if form or conversion or not re.fullmatch(r"[\w -]+", name):
            raise SpecFault(phrase("field.template", template=quoted(template)))
        names.append(name)
    return names
