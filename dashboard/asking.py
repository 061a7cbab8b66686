"""The SQL page in pieces: the editor with what may be put into it, and what came of the last statement.

A click on a table, an example, a saved statement or an earlier one puts it into the editor, where nothing runs until it
is asked for. Whether it may run the core decides, which also notes it.
"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from core.ops import roles, saved, statements
from core.ops.saved import Saved
from core.ops.statements import Statement
from dashboard import charts, desk, loaders, parts, querying, state, tables
from dashboard.scene import Scene
from dashboard.words import escape
from data.errors import LodestarError, StoreError, UnknownStatement
from data.free_sql.sandbox import Answer
from data.phrases import phrase

TEXT = "sql-text"  # the editor
EDITOR_PX = 264
PANEL_PX = 320
MOST_COLUMNS_BESIDE = 5  # of a table that leaves room for a figure at its side
DONE = ":material/check:"


# ---- the editor


def editor(s: Scene) -> str | None:
    """The statement being written, and the two things that can be asked of it: `run`, `explain`, None for neither."""
    t = s.t
    with st.form("sql", border=False):
        st.text_area(
            t("sql.statement"),
            height=EDITOR_PX,
            label_visibility="collapsed",
            placeholder="SELECT …",
            **state.filled(TEXT, state.recall(TEXT, querying.FIRST)),
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            run = st.form_submit_button(t("sql.run"), type="primary", key="sql-run", icon=":material/play_arrow:")
            explain = st.form_submit_button(t("sql.explain"), key="sql-explain", help=t("sql.explain_help"))
            st.caption(t("sql.keys"), width="stretch")
    return "run" if run else "explain" if explain else None


def ask(s: Scene, text: str, *, explain: bool) -> None:
    """Has a statement run, or explained, and keeps what came of it for this reader."""
    said: dict[str, Any] = {"build_id": s.build.build_id, "text": text}
    asked = {"actor": desk.actor(), "now": datetime.now(UTC)}
    try:
        if explain:
            said["plan"] = statements.explain(s.ledger, s.home, s.build, text, **asked)
        else:
            ran = statements.run(s.ledger, s.home, s.build, text, **asked)
            loaders.results().put(ran.statement_id, ran.answer)
            said["statement_id"] = ran.statement_id
    except LodestarError as error:
        said["error"] = error
    state.keep("sql-said", said)
    state.keep(TEXT, text)
    state.keep("sql-saved", None)
    opened = state.recall("sql-link", None)
    if opened is not None and opened.text != text:
        state.choose("saved", None)
        state.keep("sql-link", None)


def put(text: str, statement: Saved | None = None) -> None:
    """Puts a statement into the editor; a saved one into the address too. For callbacks."""
    state.fill(**{TEXT: text})
    state.keep("sql-link", statement)
    state.choose("saved", statement.saved_id if statement else None)


def follow_link(s: Scene) -> None:
    """What a link to a saved statement asks for: the statement in the editor, its data set in view."""
    wanted, opened = state.chosen("saved"), state.recall("sql-link", None)
    if wanted is None or (opened is not None and opened.saved_id == wanted):
        if opened is not None and opened.dataset != s.dataset:  # the reader went to another data set
            put(state.recall(TEXT, querying.FIRST))
        return
    try:
        found = saved.saved_as(s.ledger, wanted)
    except UnknownStatement as error:
        state.choose("saved", None)
        parts.problem(s.t, error)
        return
    put(found.text, found)
    if found.dataset != s.dataset:
        state.choose("dataset", found.dataset)
        st.rerun()


# ---- what may be put into it


def panel(s: Scene) -> None:
    """Tables, examples, saved statements and the reader's own ones, each a click from the editor."""
    t = s.t
    room = st.tabs([t(f"sql.{name}") for name in ("tables", "examples", "saved", "history")], height=PANEL_PX)
    with room[2], st.container(key="sql-list-saved", gap="small"):
        saved_ones(s)
    with room[3], st.container(key="sql-list-history", gap="small"):
        history(s)
    with room[0]:
        waiting = parts.reserved(height=PANEL_PX - 64, known=False)
    tree = loaders.schema_tree(statements.snapshot_of(s.ledger, s.home, s.build, actor=desk.actor()))
    with waiting(), st.container(gap="xsmall"):
        parts.note(t("sql.tables_say"))
        for branch in sorted(tree, key=lambda branch: branch.table.startswith(querying.COUNTS)):
            with st.expander(f"`{branch.table}` · {t('download.rows', n=branch.n_rows)}", type="compact"):
                wide = max(map(len, branch.columns))
                st.code("\n".join(f"{name:{wide}}  {kind}" for name, kind in branch.columns.items()), language=None)
                _into_editor(t("sql.first_rows"), f"FROM {branch.table}\nLIMIT 100", key=f"sql-rows-{branch.table}")
    with room[1], st.container(key="sql-list-examples", gap=None):
        counted = loaders.kind_counts(s.build.path)
        kinds = dict(zip(counted["kind"], counted["events"], strict=True))
        for example in querying.examples(tree, kinds):
            _into_editor(t(f"sql_example.{example.name}"), example.text, key=f"sql-example-{example.name}")


def saved_ones(s: Scene) -> None:
    """What somebody gave a name, for everyone who may ask."""
    t, found = s.t, saved.saved(s.ledger, s.dataset)
    if not found:
        parts.note(t("sql.none_saved"))
    for one in found:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(gap=None):
                _into_editor(escape(one.name), one.text, key=f"sql-saved-{one.saved_id}", statement=one)
                parts.note(t.md("sql.saved_by", actor=one.actor, at=one.at))
            if saved.may_delete(s.ledger, one, desk.actor()):
                with st.popover(t("sql.delete_ask"), icon=":material/delete:", type="tertiary"):
                    st.markdown(t.md("sql.delete_what", name=one.name))
                    st.button(t("sql.delete"), key=f"sql-delete-{one.saved_id}", on_click=_delete, args=(s, one))
    if gone := state.recall("sql-deleted", None):
        parts.note(f"{DONE} {t.md('sql.deleted', name=gone)}")
        state.keep("sql-deleted", None)


def history(s: Scene) -> None:
    """What the reader asked of this data set, newest first."""
    t, asked = s.t, statements.history(s.ledger, dataset=s.dataset, actor=desk.actor())
    if not asked:
        parts.note(t("sql.none_asked"))
    for one in asked:
        with st.container(gap=None):
            _into_editor(escape(querying.first_line(one.text)), one.text, key=f"sql-again-{one.statement_id}")
            parts.note(outcome(s, one))


def outcome(s: Scene, one: Statement) -> str:
    """When a statement was asked and what came of it."""
    t = s.t
    if one.explained and one.outcome == "done":
        said = t("sql.was_explained")
    elif one.outcome == "done":
        said = t("sql.was_cut" if one.cut else "download.rows", n=one.rows)
    else:
        said = t(f"sql_outcome.{one.outcome}")
    return t("sql.asked", at=one.at, said=said, seconds=one.seconds)


def _into_editor(label: str, text: str, *, key: str, statement: Saved | None = None) -> None:
    hint = escape(querying.first_line(text, limit=300))
    looks = {"type": "tertiary", "icon": ":material/edit_note:", "width": "stretch", "help": hint}
    st.button(label, key=key, on_click=put, args=(text, statement), **looks)


def _delete(s: Scene, one: Saved) -> None:
    try:
        saved.delete(s.ledger, one.saved_id, actor=desk.actor(), now=datetime.now(UTC))
    except LodestarError as error:  # somebody was faster, say
        state.keep("sql-said", {"build_id": s.build.build_id, "text": one.text, "error": error})
        return
    state.keep("sql-deleted", one.name)
    if state.chosen("saved") == one.saved_id:
        state.choose("saved", None)
        state.keep("sql-link", None)


# ---- what came of it


def result(s: Scene, said: dict[str, Any]) -> None:
    """The rows, the plan, or why there are none."""
    t = s.t
    if "error" in said:
        parts.problem(t, said["error"])
        return
    if "plan" in said:
        parts.section(t("sql.plan"))
        st.code(said["plan"], language=None)
        return
    answer = loaders.results().get(said["statement_id"])
    if answer is None:
        parts.note(t("sql.gone"))
        return
    rows(s, said, answer)


def rows(s: Scene, said: dict[str, Any], answer: Answer) -> None:
    """The rows of a result with their files, its figure where two of its columns make one, and a name for it."""
    t, table = s.t, answer.table
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(
            t("sql.rows_cut" if answer.cut else "sql.rows", n=table.num_rows, seconds=answer.seconds), width="stretch"
        )
        naming(s, said)
    if state.recall("sql-saved", None):
        parts.note(f"{DONE} {t.md('sql.saved_as', name=state.recall('sql-saved', None))}")
    if not table.num_rows:
        parts.note(t("sql.no_rows"))
    choice = querying.axes(table)
    if choice is None:
        grid(s, said["statement_id"], table)
    elif table.num_columns > MOST_COLUMNS_BESIDE:
        figure(s, said["statement_id"], table, choice)
        grid(s, said["statement_id"], table)
    else:
        left, right = parts.pair()
        with left:
            grid(s, said["statement_id"], table)
        with right:
            figure(s, said["statement_id"], table, choice)


def grid(s: Scene, statement_id: str, table: pa.Table) -> None:
    """The rows, long texts cut, and files that hold them whole."""
    st.dataframe(
        tables.cut(tables.legible(table), characters=querying.CELL_CHARACTERS),
        hide_index=True,
        height=388 if table.num_rows > parts.ROWS else "auto",
        key=f"table.{statement_id}",
        placeholder="–",
    )

    def kept() -> pa.Table:
        answer = loaders.results().get(statement_id)
        if answer is None:
            raise StoreError(phrase("statement.gone"), remedy=phrase("do.run_again"))
        return answer.table

    parts.offer(
        s.t,
        n=table.num_rows,
        name=f"{s.dataset}-sql",
        csv=lambda: tables.csv_of(kept()),
        parquet=lambda: tables.parquet_of(kept()),
    )


def figure(s: Scene, statement_id: str, table: pa.Table, choice: querying.Axes) -> None:
    """Two columns as a figure, which the reader may choose."""
    t = s.t
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        kind = st.segmented_control(
            t("sql.kind"),
            querying.KINDS,
            default=choice.kind,
            required=True,
            format_func=lambda name: t(f"sql_chart.{name}"),
            key=f"sql-kind-{statement_id}",
        )
        x = st.selectbox(t("sql.x"), choice.x, index=choice.x.index(choice.first_x), key=f"sql-x-{statement_id}")
        y = st.selectbox(t("sql.y"), choice.y, index=choice.y.index(choice.first_y), key=f"sql-y-{statement_id}")
    data, every = querying.points(table, x, y, kind)
    n = len(every)
    if data.empty:
        parts.note(t("sql.nothing_to_draw"))
        return
    title = finding(s, every, x=x, y=y, kind=kind)
    parts.figure(charts.result(data, kind=kind, x=x, y=y, title=title, look=s.look), key=f"sql-figure-{statement_id}")
    if len(data) < n:
        parts.note(t("sql.drawn", n=len(data), m=n))
    if n < table.num_rows:
        parts.note(t("sql.left_out", n=table.num_rows - n))


def finding(s: Scene, data: pd.DataFrame, *, x: str, y: str, kind: str) -> str:
    """What (x, y) of all rows shows, in words."""
    t = s.t
    x, y = querying.first_line(x, limit=60), querying.first_line(y, limit=60)
    if kind == "scatter":
        return t("sql.chart_scatter", x=x, y=y, n=len(data))
    top = data.loc[data["y"].idxmax()]
    return t("sql.chart_most", y=y, value=written(s, top["y"]), at=written(s, top["x"]))


def written(s: Scene, value: Any) -> str:
    """A cell in a sentence: a day, a number, or a text cut where it is long."""
    if isinstance(value, datetime):  # pandas' own moments are some
        return s.t("value.moment", at=value) if (value.hour, value.minute) != (0, 0) else s.t.day(value)
    if isinstance(value, float):
        return s.t.count(value) if value.is_integer() else s.t.figure(value)
    return querying.first_line(str(value), limit=60)


def naming(s: Scene, said: dict[str, Any]) -> None:
    """A name for the statement that gave this result."""
    t = s.t
    with st.popover(t("sql.save"), icon=":material/bookmark_add:"):
        st.markdown(t("sql.save_what"))
        with st.form("sql-name", border=False, clear_on_submit=True):
            name = st.text_input(t("sql.name"), max_chars=saved.MOST_CHARACTERS, key="sql-name-text")
            wanted = st.form_submit_button(t("sql.save_do"), key="sql-save")
        if wanted:
            _save(s, said["text"], name)


def _save(s: Scene, text: str, name: str) -> None:
    """Saves it, and opens it anew under its link; what stands against that is said where the name was asked for."""
    try:
        made = saved.save(s.ledger, dataset=s.dataset, name=name, text=text, actor=desk.actor(), now=datetime.now(UTC))
    except LodestarError as error:
        parts.problem(s.t, error)
        return
    state.keep("sql-saved", made.name)
    state.keep("sql-link", made)
    state.choose("saved", made.saved_id)
    st.rerun()


def role(s: Scene) -> str:
    """What the reader is here, in words."""
    return s.t(f"role.{roles.role_of(s.ledger, desk.actor())}")
