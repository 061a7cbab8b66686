"""Publish: one self-contained report of a run, in either language, with the command that checks it."""

import streamlit as st

from dashboard import parts, run_loaders, state
from dashboard.scene import scene
from dashboard.words import LANGUAGES


def main() -> None:
    s = scene()
    t, run = s.t, s.run()
    state.link(dataset=state.chosen("dataset"), run=state.chosen("run"))
    parts.heading(
        t.md("publish.title", run=run.run_id), t.md("publish.context", dataset=s.dataset, licence=s.facts.licence)
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.selectbox(
            t("publish.run"),
            width=240,
            **state.tied("run", [row.run_id for row in s.finished_runs()], default=run.run_id),
        )
        language = st.segmented_control(
            t("publish.language"),
            list(LANGUAGES),
            default=t.language,
            required=True,
            format_func=LANGUAGES.__getitem__,
            key="report-language",
        )
        stamp = run_loaders.stamp(s.home, run.run_id)
        report = run_loaders.report(s.settings.ledger_at, s.home, run.run_id, stamp, language, s.tz)
        st.download_button(
            t("publish.download", kb=len(report.html) / 1024),
            data=report.html,
            file_name=f"lodestar-{s.dataset}-{run.run_id}-{language}.html",
            mime="text/html",
            on_click="ignore",
            type="primary",
            icon=":material/download:",
            key="download-report",
        )
    parts.note(t("publish.says"))
    st.code(f"lodestar verify lodestar-{s.dataset}-{run.run_id}-{language}.html", language=None)
    with st.container(border=True):
        st.iframe(report.html, height=900)


main()
