"""A spec that is tried before anything is made of it, as the page Bring shows it: the form that it comes from, its
text, what an ingest of it would do, and the order.
"""

import shlex
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import streamlit as st

from core.ops import intake, roles
from core.ops.builds import datasets
from core.ops.supervisor import ensure_supervisor
from dashboard import fitness, loaders, mapform, mapping, parts, qualities, state
from dashboard.desk import actor, supervisor_argv
from dashboard.mapform import Form
from dashboard.parts import Card
from dashboard.scene import Place
from dashboard.words import escape
from data import uploads
from data.cleaning import REASONS
from data.errors import LodestarError, UnreadableFile
from data.guessing.guess import dataset_name
from data.rehearsal import Rehearsal, examples
from data.spec import parse_spec
from data.uploads import Upload


@dataclass(frozen=True)
class Tried:
    """A spec that can be tried: its text, the folder of its files, its file's name, and whether it is one on this
    machine, which is run as it stands."""

    text: str
    base: Path
    name: str
    dataset: str
    named: bool = False


def mapped(here: Place, one: Upload) -> Tried | None:
    """The upload's form, and the spec that it comes to."""
    t = here.t
    form, warnings = begun(here, one)
    if warnings:
        told = "\n".join([f"**{t('bring.to_look_at')}**\n", *(f"- {warning}" for warning in warnings)])
        st.warning(told, icon=":material/visibility:")
    values = mapform.filled_in(form)
    spec, faults = mapping.spec_of(values)
    mapform.tell(form, faults)
    if spec is None and form.unread:
        return None
    if spec is None:
        parts.note(f":red[:material/error: {t('bring.faults', n=len(faults))}]")
        return None
    uploads.refuse_others(spec, one)
    return Tried(spec.to_toml(), one.folder, f"{spec.name}.toml", spec.name)


def begun(here: Place, one: Upload) -> tuple[Form, list[str]]:
    """What an upload's form begins with: what was tried last, else the guess; and what the guess warns of, for
    Markdown."""
    names = tuple(one.files)
    called = names[0].partition(".")[0]
    blank = {"dataset.name": dataset_name(called), "events.files": [names[0]]}
    try:
        found = loaders.guessed(one.folder, names, called)
    except LodestarError as error:
        reasons, values, warnings = {}, blank, [here.t("bring.no_guess")]
        if not _unreadable(one, names[0]):  # else its section tells why
            warnings += map(parts.commands, error.told(here.t.language))
    else:
        reasons = {decision.field: decision for decision in found.decisions}
        values = mapping.values_of(found.spec)
        warnings = [escape(warning.said(here.t.language)) for warning in found.warnings]
        log = found.spec.events.files[0]
        values["dataset.name"] = dataset_name(log.partition(".")[0])
    if one.draft is not None:
        values = mapping.values_of(parse_spec(one.draft))
    return Form(here.t, one, values, reasons, known=datasets(here.ledger)), warnings


def _unreadable(one: Upload, name: str) -> bool:
    try:
        loaders.sample(one.folder / name, None, None)
    except UnreadableFile:
        return True
    return False


def written(here: Place, it: Tried) -> None:
    """The spec as text, and the command that does the same."""
    t = here.t
    with st.expander(t("bring.spec_text")):
        st.code(it.text, language="toml")
        st.download_button(
            t("bring.download"),
            it.text,
            file_name=it.name,
            mime="application/toml",
            icon=":material/download:",
            on_click="ignore",
        )
        parts.note(t("bring.same_here" if it.named else "bring.same"))
        st.code(f"lodestar ingest {shlex.quote(str(it.base / it.name) if it.named else it.name)}", language=None)


def trial(here: Place, it: Tried, one: Upload | None) -> Rehearsal | None:
    """The button that tries the spec, and what came of it; None before that, or where it could not be tried."""
    t = here.t
    tried, asked = state.recall("bring-tried", ("", ""))
    done = tried == it.text
    st.button(
        t("bring.try_again" if done else "bring.try"),
        key="bring-try",
        type="secondary" if done else "primary",
        icon=":material/science:",
        on_click=_try,
        args=(it, one),
    )
    if not done:
        parts.note(t("bring.try_says"))
        return None
    with st.spinner(t("bring.trying")):
        try:
            roles.require(here.ledger, actor(), roles.Act.INGEST)
            return loaders.rehearsed(here.home, it.base, it.text, asked)
        except LodestarError as error:
            parts.problem(t, error)
            return None


def outcome(here: Place, it: Tried, found: Rehearsal) -> None:
    """What the ingest would do: counts, the rows that it would refuse, the checks, some histories."""
    t = here.t
    parts.section(t("bring.outcome_whole" if found.whole else "bring.outcome_part", n=found.read))
    if found.stopped is not None:
        parts.problem(t, found.stopped)
    parts.cards(
        [
            Card(t("bring.read"), t.count(found.read), t("bring.read_whole" if found.whole else "bring.read_part")),
            Card(
                t("datasets.accepted"),
                t.count(found.accepted),
                t("datasets.share", share=_share(found.accepted, found)),
            ),
            Card(
                t("pulse.rejected"),
                t.count(found.quarantined),
                t("datasets.share", share=_share(found.quarantined, found)),
            ),
            Card(t("pulse.users"), t.count(found.n_users), t("datasets.items", n=found.n_items)),
        ],
        name="tried",
    )
    cleaned(here, it, found)
    if found.refused.num_rows:
        reasons = [f"{t.name('reason', name)}: {t.count(n)}" for name, n in found.reasons.items()]
        parts.note(escape(" · ".join(reasons)))
        fitness.refused(t, found.refused.slice(0, 1000).to_pandas(), name=f"{it.dataset}-refused")
    if found.quality["checks"]:
        table = qualities.table(found.quality, t, tz=parse_spec(it.text).events.tz)
        st.markdown(f"##### {t('datasets.looked_at')}", anchors=False)
        st.markdown(qualities.listed(table, t))
    if found.histories:
        histories(here, found)


def cleaned(here: Place, it: Tried, found: Rehearsal) -> None:
    """What the cleaning rules did to the rows that were tried, with the first that went by each; of a part of the files
    it is not what they will do to all."""
    t = here.t
    rows = qualities.cleaned(found.quality, t)
    if rows.empty:
        return
    first = [examples(found.refused, reason, rows=1) for reason in rows["reason"]]
    shown = [f"{one[0]['source']}:{one[0]['line']}  {one[0]['raw'] or ''}" if one else None for one in first]
    fitness.removed(t, rows.assign(example=shown), name=f"{it.dataset}-cleaned")
    if not found.whole:
        parts.note(t.md("cleaned.part", n=found.read))


def histories(here: Place, found: Rehearsal) -> None:
    """A few users' histories as they would be, the newest event first."""
    t = here.t
    st.markdown(f"##### {t('bring.histories')}", anchors=False)
    rows = [
        {"user": one.user, "n": one.n, "events": " ← ".join(_told(here, *event) for event in one.events)}
        for one in found.histories
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        width="stretch",
        column_config={
            "user": st.column_config.TextColumn(t("column.user"), width="small"),
            "n": st.column_config.NumberColumn(t("column.events"), format="localized", width="small"),
            "events": st.column_config.TextColumn(t("bring.newest_first"), width="large"),
        },
    )


def _told(here: Place, title: str, kind: str, value: float | None, ts: datetime) -> str:
    what = here.t.name("kind", kind) if value is None else f"{here.t.name('kind', kind)} {value:g}"
    return f"{title} ({what}, {ts:%Y-%m-%d %H:%M})"


def _share(n: int, found: Rehearsal) -> float:
    return n / found.read if found.read else float("nan")


def commit(here: Place, it: Tried, found: Rehearsal, one: Upload | None) -> None:
    """The button that orders the build, and what it will be."""
    t = here.t
    known = datasets(here.ledger)
    parts.note(t.md("bring.becomes_next" if it.dataset in known else "bring.becomes_first", dataset=it.dataset))
    sound = found.accepted + sum(n for reason, n in found.reasons.items() if reason in REASONS)
    blocked = sound == 0 or (found.stopped is not None and found.whole)  # of all rows, rules may leave some
    if blocked:
        parts.note(t("bring.blocked"))
    append = it.named and it.dataset in known and st.checkbox(t("bring.append"), help=t("bring.append_means"))
    st.button(
        t("bring.commit"),
        type="primary",
        key="bring-commit",
        icon=":material/inventory_2:",
        disabled=blocked,
        on_click=state.keep,  # before the page is drawn: nothing that comes between can lose the click
        args=("bring-wanted", it.text),
    )
    wanted = state.recall("bring-wanted", None)
    state.keep("bring-wanted", None)
    if wanted != it.text or blocked:  # of a form that was changed at the same moment nothing is made
        return
    try:
        job_id = ordered(here, it, one, append=append)
    except LodestarError as error:
        parts.problem(t, error)
        return
    st.toast(t("bring.ordered", job=job_id))
    st.rerun()


def _try(it: Tried, one: Upload | None) -> None:
    """Remembers what is tried; the same spec of files that may have changed is tried anew."""
    state.keep("bring-tried", (it.text, f"{time.time()}" if it.named else ""))
    if one is not None:
        with suppress(LodestarError):  # a full disk, say, which the try itself tells of
            uploads.keep_draft(one, it.text)


def ordered(here: Place, it: Tried, one: Upload | None, *, append: bool) -> str:
    """The id of the job that makes the build; a supervisor is there. append: of files that the current build has not.
    Raises NotAllowed, Conflict, InvalidSpec,
    UnknownUpload, JobFailed."""
    now, by = datetime.now(UTC), actor()
    if one is not None:
        job_id = intake.submit_upload(here.ledger, here.home, one.upload_id, it.text, by=by, now=now)
    else:
        seen = intake.digest_of(it.text)
        job_id = intake.submit_named(here.ledger, it.base, it.name, seen=seen, by=by, now=now, append=append)
    ensure_supervisor(here.home, supervisor_argv(here.home))
    return job_id
