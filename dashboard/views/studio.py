"""Studio: what the trainer is doing. Choose a preset, start, watch the curves, stop; the page only reads,
the supervisor trains.
"""

from typing import Any

import streamlit as st

from dashboard import parts, searching, state, training
from dashboard.scene import Scene, scene


def main() -> None:
    s = scene()
    t = s.t
    state.link(dataset=state.chosen("dataset"))
    job = training.latest(s)
    active = job is not None and not job.done
    parts.heading(
        t.md("studio.title_active" if active else "studio.title", dataset=s.dataset),
        t.md("studio.context", events=s.facts.n_events, users=s.facts.n_users, items=s.facts.n_items),
    )
    order(s, busy=active)
    if job is None:
        parts.note(t("studio.never"))
    else:
        training.watch(s, job)
    searching.section(s)
    training.queue(s)


def order(s: Scene, *, busy: bool) -> None:
    """What to train, the equal command, and the button that queues it."""
    t = s.t
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            preset = st.segmented_control(
                t("studio.preset"),
                list(training.presets()),
                default="balanced",
                required=True,
                format_func=lambda name: t(f"preset.{name}"),
                key="studio-preset",
            )
            with st.popover(t("studio.settings"), icon=":material/tune:"):
                own = own_settings(s)
            started = st.button(t("studio.start"), type="primary", key="studio-start", icon=":material/play_arrow:")
        parts.note(t(f"preset.{preset}_says"))
        st.code(training.command(s.dataset, preset, own), language=None, wrap_lines=True)
        if busy:
            parts.note(t("studio.queues"))
    if started:
        training.start(s, preset, own)
        st.rerun()


def own_settings(s: Scene) -> dict[str, Any]:
    """The rare settings: what the reader set of them, by their names in the training configuration."""
    t = s.t
    seed = st.number_input(t("studio.seed"), min_value=0, value=0, step=1, key="studio-seed")
    epochs = st.number_input(
        t("studio.epochs"), min_value=1, value=None, step=1, key="studio-epochs", placeholder=t("studio.auto")
    )
    model = st.text_input(t("studio.model"), key="studio-model", placeholder="minilm", help=t("studio.model_help"))
    given = {"seed": seed or None, "epochs": epochs, "text.model": model or None}
    return {name: value for name, value in given.items() if value is not None}


main()
