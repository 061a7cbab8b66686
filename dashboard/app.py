"""The console's frame: navigation, the header, and the one place where a page's stated errors are caught.

Run by `streamlit run dashboard/app.py`, which `lodestar app` does with the other two processes beside it.
This process never loads a model; what needs one asks the scorer.
"""

from pathlib import Path

import streamlit as st

from core.ops import roles
from dashboard import loaders, parts, state
from dashboard.desk import actor
from dashboard.scene import header, opening
from dashboard.settings import Settings
from dashboard.theme import style
from data.errors import LodestarError

STATIC = Path(__file__).parent / "static"
FIRST = "pulse"
SIDEBAR_PX = 216
# What a page asks of a role, beyond reading.
ASKED = {
    "profile": roles.Act.EXPLORE,
    "datasets": roles.Act.INGEST,
    "bring": roles.Act.INGEST,
    "guide": roles.Act.EXPLORE,
    "publish": roles.Act.PUBLISH,
    "explore": roles.Act.EXPLORE,
    "sql": roles.Act.EXPLORE,
}
SECTIONS = {
    "analyst": (("pulse", "monitoring"), ("explore", "groups"), ("sql", "terminal"), ("profile", "person_search")),
    "operator": (("datasets", "database"), ("studio", "model_training"), ("models", "leaderboard"), ("guide", "route")),
    "reports": (("audit", "balance"), ("publish", "ios_share")),
}


def main() -> None:
    st.set_page_config(
        page_title="Lodestar",
        page_icon=str(STATIC / "lodestar-mark.svg"),
        layout="wide",
        initial_sidebar_state=SIDEBAR_PX,
        menu_items={"About": "Lodestar, a workbench for recommendation."},
    )
    state.begin()
    t, _, found = opening()
    st.html(f"<style>{style()}</style>")
    st.logo(
        str(STATIC / "lodestar.svg"),
        size="large",
        icon_image=str(STATIC / "lodestar-mark.svg"),
    )
    role = role_here(found)
    pages = {
        t(f"nav.{section}"): [
            st.Page(
                f"views/{name}.py",
                title=t(f"nav.{name}"),
                icon=f":material/{icon}:",
                url_path="start" if name == FIRST else name,
                default=name == FIRST,
                visibility="visible" if name not in ASKED or roles.may(role, ASKED[name]) else "hidden",
            )
            for name, icon in entries
        ]
        for section, entries in SECTIONS.items()
    }
    # Streamlit serves the first page at "/" alone; a link to it by name must work as well.
    alias = st.Page(f"views/{FIRST}.py", title=t(f"nav.{FIRST}"), url_path=FIRST, visibility="hidden")
    bring = st.Page("views/bring.py", title=t("bring.nav"), url_path="bring", visibility="hidden")  # reached from Data
    page = st.navigation({**pages, "": [alias, bring]}, expanded=True)
    if page == alias:
        st.switch_page(next(iter(pages.values()))[0])  # which the sidebar then marks as the page in view
    try:
        header()
        if page.url_path in ASKED:
            roles.require(loaders.ledger(found.ledger_at, found.home), actor(), ASKED[page.url_path])
        page.run()
    except LodestarError as error:
        parts.problem(t, error)


def role_here(found: Settings) -> roles.Role:
    """What whoever runs the console is here; a reader where the ledger cannot be asked, which the header then says."""
    try:
        return roles.role_of(loaders.ledger(found.ledger_at, found.home), actor())
    except LodestarError:
        return roles.Role.READER


main()
