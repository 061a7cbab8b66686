"""Studio: what the trainer is doing. Choose a recipe, see what it will take, start, watch, put the queue in order; the
page only reads, the supervisor trains.
"""

from typing import Any

import streamlit as st

from core.learn.config import TrainConfig
from dashboard import parts, queueing, searching, state, training, watching
from dashboard.scene import Scene, scene
from data.errors import InvalidConfig


def main() -> None:
    s = scene()
    t = s.t
    state.link(dataset=state.chosen("dataset"))
    if not state.shown("studio-preset"):  # the page is opened anew, with an empty form
        state.keep("studio-more", {})
    job = watching.latest(s)
    active = watching.active(job)
    parts.heading(
        t.md("studio.title_active" if active else "studio.title", dataset=s.dataset),
        t.md("studio.context", events=s.facts.n_events, users=s.facts.n_users, items=s.facts.n_items),
    )
    order(s, busy=active)
    if job is None:
        parts.note(t("studio.never"))
    else:
        watching.live(s, job)
    searching.section(s)
    queueing.table(s)


def order(s: Scene, *, busy: bool) -> None:
    """What to train, what that takes, the equal command, and the button that queues it."""
    t = s.t
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        preset = st.segmented_control(
            t("studio.preset"),
            list(training.presets()),
            required=True,
            format_func=lambda name: t(f"preset.{name}"),
            **state.filled("studio-preset", "balanced"),
        )
        with st.popover(t("studio.settings"), icon=":material/tune:"):
            own = own_settings(s)
        button = st.empty()
    parts.note(t(f"preset.{preset}_says"))
    config = wanted(s, preset, own)
    fits = config is not None and training.will_take(s, config).memory.verdict != "over"
    st.code(training.command(s.dataset, preset, own), language=None, wrap_lines=True)
    with st.empty():  # a place that is kept: what follows must not move up when the job ends
        if busy:
            parts.note(t("studio.queues"))
    if button.button(
        t("studio.start"), type="primary", key="studio-start", icon=":material/play_arrow:", disabled=not fits
    ):
        training.start(s, preset, own)
        st.rerun()


def wanted(s: Scene, preset: str, own: dict[str, Any]) -> TrainConfig | None:
    """The configuration that the form comes to; None, and what is wrong with it, where it is none."""
    try:
        return training.settled(preset, own)
    except InvalidConfig as error:
        parts.problem(s.t, error)
        return None


def own_settings(s: Scene) -> dict[str, Any]:
    """The rare settings: what the reader set of them, and what was taken over from a run, by their names in the
    training configuration."""
    t, more = s.t, state.recall("studio-more", {})
    key = state.filled("studio-seed", None)
    seed = st.number_input(t("studio.seed"), min_value=0, value=None, step=1, placeholder="0", **key)
    key = state.filled("studio-epochs", None)
    epochs = st.number_input(t("studio.epochs"), min_value=1, value=None, step=1, placeholder=t("studio.auto"), **key)
    key = state.filled("studio-model", None)
    model = st.text_input(t("studio.model"), value=None, placeholder="minilm", help=t("studio.model_help"), **key)
    if more:
        parts.note(t.md("studio.taken", settings=", ".join(f"{name}={value}" for name, value in more.items())))
        st.button(t("studio.forget"), key="studio-forget", on_click=state.keep, args=("studio-more", {}))
    given = {"seed": seed or None, "epochs": epochs, "text.model": model or None}
    return {name: value for name, value in given.items() if value is not None} | more


main()
