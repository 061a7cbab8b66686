"""Data: is this build fit to train on? Its quality report, how its files were read, the rows that were set aside, and
what changed since an earlier build. The way to bring the next one begins here.
"""

import streamlit as st

from dashboard import bringing, fitness, loaders, parts, qualities, state
from dashboard.parts import Card
from dashboard.scene import scene


def main() -> None:
    s = scene(otherwise=bringing.offer)
    t, facts = s.t, s.facts
    state.link(dataset=state.chosen("dataset"), before=state.chosen("before"))
    quality = loaders.quality(s.build.path)
    counts = qualities.counted(quality)
    parts.heading(
        t.md("datasets.title", dataset=s.dataset), t.md("datasets.context", at=facts.created, source=facts.source)
    )
    st.markdown(t.md(f"datasets.{qualities.verdict(quality)}", n=counts["warning"], notes=counts["note"]))
    parts.cards(
        [
            Card(t("datasets.accepted"), t.count(facts.accepted), t("pulse.of_read", n=facts.read)),
            Card(t("pulse.rejected"), t.count(facts.quarantined), t("datasets.share", share=facts.refused_share)),
            Card(t("pulse.users"), t.count(facts.n_users), t("datasets.items", n=facts.n_items)),
            Card(t("datasets.until"), t("value.date", day=s.span[1]), t("datasets.since", day=s.span[0])),
        ]
    )
    bringing.offer(s)
    fitness.looked_at(s)
    fitness.set_aside(s)
    fitness.sources(s)
    fitness.since(s)


main()
