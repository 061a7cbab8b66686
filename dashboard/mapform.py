"""The form in which a guessed spec is read and mended: a widget for each field, beside it what the column holds and why
it was guessed, below it what is wrong with it.

Widgets are named after the upload and the field, so that another upload, and another language, keep theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import streamlit as st

from dashboard import loaders, mapping, parts, state
from dashboard.mapping import Fault, Values
from dashboard.words import Words
from data.errors import UnreadableFile
from data.guessing.annotated import Decision
from data.guessing.profile import Column
from data.phrases import clauses
from data.uploads import Upload

_PREVIEW_ROWS = 20


@dataclass
class Form:
    """One upload's form: what it began with, why, and the columns of each section's files as they are read now."""

    t: Words
    upload: Upload
    begun: Values
    reasons: Mapping[str, Decision]
    known: Sequence[str] = ()  # datasets that there are
    values: Values = field(default_factory=dict)
    columns: dict[str, dict[str, Column]] = field(default_factory=dict)
    unread: bool = False  # whether a file cannot be read, as it is told there

    def key(self, name: str) -> str:
        return f"map-{self.upload.upload_id}-{name}"

    def begins(self, name: str, default: Any = None) -> Any:
        return self.begun.get(name, default)


def filled_in(form: Form) -> Values:
    """Draw the form; its values. What is wrong with them is drawn by `tell` once they have been put together."""
    _whole(form)
    for section in mapping.SECTIONS:
        with st.container(border=True, key=f"map-{section}"):
            _section(form, section)
    _rules(form)
    form.values |= {"weights": form.begins("weights"), "derive": _derive(form)}
    return form.values


def tell(form: Form, faults: Sequence[Fault]) -> None:
    """Keep what is wrong, for the places where it is shown on the next run; now where it was not shown yet."""
    if state.recall(form.key("faults"), ()) != tuple(faults):
        state.keep(form.key("faults"), tuple(faults))
        st.rerun()


def _whole(form: Form) -> None:
    """What is said of the data set as a whole: its name, what is to be predicted, what counts as liked."""
    t = form.t
    left, middle, right = st.columns([2, 2, 2])
    with left:
        name = st.text_input(
            t("mapping.dataset_name"), **state.filled(form.key("dataset.name"), form.begins("dataset.name", ""))
        )
        _wrong(form, "dataset.name")
        st.caption(t("mapping.name_next" if name in form.known else "mapping.name_first"))
    with middle:
        task = st.selectbox(
            t("mapping.dataset_task"),
            mapping.TASKS,
            format_func=lambda one: t(f"task.{one}"),
            **state.fitted(form.key("dataset.task"), mapping.TASKS, form.begins("dataset.task", "next-new")),
        )
        _noted(form, "dataset.task", task)
    with right:
        least = st.number_input(
            t("mapping.positive_min_value"),
            value=None,  # what it is when it is emptied
            help=t("mapping.positive_help"),
            placeholder=t("mapping.positive_all"),
            step=None,
            **state.filled(form.key("positive.min_value"), form.begins("positive.min_value")),
        )
        kinds = st.text_input(
            t("mapping.positive_kinds"),
            placeholder=t("mapping.positive_all"),
            **state.filled(form.key("positive.kinds"), ", ".join(form.begins("positive.kinds", ()))),
        )
        _noted(form, "positive.min_value", least)
        _wrong(form, "positive.min_value")
    form.values |= {
        "dataset.name": name,
        "dataset.task": task,
        "positive.min_value": least,
        "positive.kinds": [one.strip() for one in kinds.split(",") if one.strip()],
    }


def _rules(form: Form) -> None:
    """What is left out of what could be used, and when a session ends."""
    t = form.t
    on = any(name.startswith(("clean.", "sessions.")) for name in form.begun)
    with st.expander(t("mapping.rules"), expanded=on, icon=":material/cleaning_services:"):
        parts.note(t("mapping.rules_say"))
        kinds = st.text_input(
            t("mapping.clean_drop_kinds"),
            placeholder=t("mapping.off"),
            **state.filled(form.key("clean.drop_kinds"), ", ".join(_listed(form.begins("clean.drop_kinds")))),
        )
        names = [one.strip() for one in kinds.split(",") if one.strip()]
        form.values["clean.drop_kinds"] = list(dict.fromkeys(names))
        rules = list(mapping.RULES.items())
        for start in range(0, len(rules), 3):
            cells = st.columns(3, vertical_alignment="bottom")
            for cell, (name, least) in zip(cells, rules[start : start + 3], strict=True):
                with cell:
                    form.values[name] = _number(form, name, least)
        form.values["sessions.gap_minutes"] = _number(form, "sessions.gap_minutes", 0.001)


def _number(form: Form, name: str, least: int | float | None) -> int | float | None:
    """A number that may be left out."""
    value: int | float | None = st.number_input(
        form.t(f"mapping.{name.replace('.', '_')}"),
        value=None,  # what it is when it is emptied
        min_value=least,
        step=1 if isinstance(least, int) else None,
        placeholder=form.t("mapping.off"),
        **state.filled(form.key(name), form.begins(name)),
    )
    _wrong(form, name)
    return value


def _noted(form: Form, field_: str, value: Any) -> None:
    reason, weighed = _why(form, field_, value)
    if reason:
        st.caption(reason, help=weighed)


def _section(form: Form, section: str) -> None:
    t = form.t
    names = list(form.upload.files)
    st.markdown(f"##### {t(f'mapping.{section}')}", anchors=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        begun = [name for name in _listed(form.begins(f"{section}.files")) if name in names]
        files = st.multiselect(
            t("mapping.files"),
            names,
            placeholder=t("mapping.no_files" if section == "events" else f"mapping.from_events_{section}"),
            **state.fitted(form.key(f"{section}.files"), names, begun),
        )
        with st.popover(t("mapping.how"), icon=":material/tune:"):
            _how(form, section)
    _wrong(form, f"{section}.files")
    form.values[f"{section}.files"] = files
    columns = _columns(form, section, files or form.values["events.files"])
    if columns is None:
        return
    form.columns[section] = columns
    if files:
        _first_rows(form, files[0], section)
    for name in mapping.COLUMN[section]:
        _one(form, section, name)
        if name == "kind" and not form.values["events.kind"]:
            _text(form, "events.kind_value", "view")
        if name == "categories" and form.values["items.categories"]:
            _text(form, "items.categories_separator", "|")
    if section == "items" and (files or form.values["items.title"]):
        _text(form, "items.text_template", "{title}. {categories}")
    for name in mapping.COLUMNS[section]:
        _several(form, f"{section}.{name}", list(columns))
    if section == "users":
        _several(form, "sensitive", [*form.values["users.attributes"], *_derive(form)])


def _derive(form: Form) -> dict[str, Any]:
    return mapping.derivable(form.begins("derive", {}), form.columns.get("users", {}))


def _columns(form: Form, section: str, files: Sequence[str]) -> dict[str, Column] | None:
    """The columns of the first of a section's files; None, and why, where they cannot be read: of the events' own
    files that is told at the events."""
    if not files:
        return {}
    encoding, delimiter = (form.values.get(f"{section}.{name}") for name in ("encoding", "delimiter"))
    own = form.values[f"{section}.files"] == files
    if not own:
        encoding, delimiter = (form.values.get(f"events.{name}") for name in ("encoding", "delimiter"))
    try:
        return mapping.columns_of(loaders.sample(form.upload.folder / files[0], encoding, delimiter))
    except UnreadableFile as error:
        form.unread = True
        if own:
            parts.problem(form.t, error)
        return None


def _first_rows(form: Form, name: str, section: str) -> None:
    encoding, delimiter = (form.values.get(f"{section}.{name}") for name in ("encoding", "delimiter"))
    with st.expander(form.t("mapping.first_rows", file=parts.escape(name))):
        table = loaders.sample(form.upload.folder / Path(name), encoding, delimiter).slice(0, _PREVIEW_ROWS)
        st.dataframe(table.rename_columns(_told_apart(table.column_names)).to_pandas(), hide_index=True, height=240)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Names of columns, with their places where they have none, or one that another has."""
    apart: list[str] = []
    for place, name in enumerate(names, start=1):
        free = name
        while not free or free in apart:
            free = f"{free} [{place}]".lstrip()
        apart.append(free)
    return apart


def _one(form: Form, section: str, name: str) -> None:
    """A field that names one column."""
    t, field_, columns = form.t, f"{section}.{name}", form.columns[section]
    begun = form.begins(field_)
    if begun is None and name == "key" and form.values[f"{section}.files"]:
        begun = form.values[f"events.{section.removesuffix('s')}"]
    chosen = _beside(
        form,
        field_,
        lambda: st.selectbox(
            t(f"mapping.{section}_{name}"),
            list(columns),
            format_func=lambda one: mapping.option(columns.get(one), one),
            placeholder=t("mapping.choose" if field_ in mapping.NEEDED else "mapping.none"),
            **state.fitted(form.key(field_), list(columns), begun),
        ),
        holds=lambda one: mapping.shown(t, columns.get(one)) if one else "",
    )
    form.values[field_] = chosen


def _several(form: Form, field_: str, options: Sequence[str]) -> None:
    """A field that names any number of columns."""
    begun = [one for one in _listed(form.begins(field_)) if one in options]
    form.values[field_] = _beside(
        form,
        field_,
        lambda: st.multiselect(
            form.t(f"mapping.{field_.replace('.', '_')}"),
            options,
            placeholder=form.t("mapping.none"),
            **state.fitted(form.key(field_), options, begun),
        ),
    )


def _text(form: Form, field_: str, default: str) -> None:
    """A field of text."""
    begun = form.begins(field_, default)
    form.values[field_] = _beside(
        form,
        field_,
        lambda: st.text_input(form.t(f"mapping.{field_.replace('.', '_')}"), **state.filled(form.key(field_), begun)),
    )


def _beside(form: Form, field_: str, widget: Any, *, holds: Any = None) -> Any:
    """A widget at the left; at its right what it holds, and why it was guessed; below what is wrong."""
    left, right = st.columns([3, 4], vertical_alignment="center")
    with left:
        value = widget()
    with right:
        reason, weighed = _why(form, field_, value)
        lines = [line for line in (holds(value) if holds is not None else "", reason) if line]
        if lines:
            st.caption("  \n".join(lines), help=weighed)
    _wrong(form, field_)
    return value


def _why(form: Form, field_: str, value: Any) -> tuple[str, str | None]:
    """The guess's reason for Markdown, and what else it weighed; another value than the guess's says what that was."""
    t, found = form.t, form.reasons.get(field_)
    if found is None:
        return "", None
    guessed = list(found.value) if isinstance(found.value, tuple) else found.value
    reason = found.reason.said(t.language)
    if (guessed or None) != (value or None) and guessed is not None:
        other = ", ".join(map(str, guessed)) if isinstance(guessed, list) else str(guessed)
        other = t(f"task.{other}") if field_ == "dataset.task" else other
        return t.md("mapping.guess_was", value=other, reason=reason), None
    others = clauses(found.alternatives).said(t.language)
    return t.md("mapping.because", reason=reason), t.md("mapping.weighed", others=others) if others else None


def _wrong(form: Form, field_: str) -> None:
    for fault in mapping.faults_of(state.recall(form.key("faults"), ()), field_):
        st.markdown(f":red[:material/error: {mapping.said(form.t, fault)}]")


def _how(form: Form, section: str) -> None:
    """How a section's files are read: what the guess and the bytes tell, where they are wrong."""
    t = form.t

    def choice(name: str, options: Sequence[str], words: Any = str) -> str | None:
        field_ = f"{section}.{name}"
        chosen: str | None = st.selectbox(
            t(f"mapping.{name}"),
            options,
            index=None,
            format_func=words,
            placeholder=t("mapping.told_by_bytes"),
            **state.fitted(form.key(field_), options, form.begins(field_)),
        )
        _wrong(form, field_)
        return chosen

    def mark(one: str) -> str:
        return t("mapping.tab") if one == "\t" else one

    form.values[f"{section}.encoding"] = choice("encoding", mapping.ENCODINGS)
    form.values[f"{section}.delimiter"] = choice("delimiter", mapping.DELIMITERS, mark)
    if section == "events":
        form.values["events.ts_unit"] = choice("ts_unit", mapping.UNITS, lambda one: t(f"mapping.unit_{one}"))
        form.values["events.ts_format"] = st.text_input(
            t("mapping.ts_format"),
            placeholder="%d/%m/%Y %H:%M",
            **state.filled(form.key("events.ts_format"), form.begins("events.ts_format", "")),
        )
        _wrong(form, "events.ts_format")
        zones = sorted(available_timezones())
        form.values["events.tz"] = st.selectbox(
            t("mapping.tz"), zones, **state.fitted(form.key("events.tz"), zones, form.begins("events.tz", "UTC"))
        )
        form.values["events.drop_duplicates"] = st.checkbox(
            t("mapping.drop_duplicates"),
            **state.filled(form.key("events.drop_duplicates"), form.begins("events.drop_duplicates", False)),
        )
    percent = st.number_input(
        t("mapping.most_refused"),
        value=None,  # what it is when it is emptied
        min_value=0.0,
        max_value=100.0,
        step=1.0,
        placeholder=t("mapping.most_refused_default"),
        help=t("mapping.most_refused_help"),
        **state.filled(form.key(f"{section}.most_refused"), _percent(form.begins(f"{section}.most_refused"))),
    )
    form.values[f"{section}.most_refused"] = None if percent is None else percent / 100


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
