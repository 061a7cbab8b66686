"""The thumbs on a recommendation card: what a reader holds of it goes to the ledger as the user's feedback."""

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from core.ops import feedback, roles
from core.ops.feedback import Feedback
from dashboard.desk import actor
from dashboard.scene import Scene

UP, DOWN = "favourite", "dismissal"
ICONS = {UP: ":material/thumb_up:", DOWN: ":material/thumb_down:"}


def given(s: Scene, user: str) -> dict[str, str]:
    """The last thumb of each item that was given for a user, by the item's key."""
    return feedback.last_acts(s.ledger, s.dataset, user, kinds=(UP, DOWN))


def buttons(s: Scene, item: dict[str, Any], *, user: str, run_id: str, thumb: str | None) -> None:
    """Both thumbs side by side, the one that stands out of reach."""
    with st.container(horizontal=True, horizontal_alignment="right", gap="xxsmall"):
        for kind, icon in ICONS.items():
            st.button(
                "",
                icon=icon,
                key=f"{kind}-{item['rank']}",
                type="tertiary",
                disabled=thumb == kind,
                help=s.t(f"profile.{kind}_stands" if thumb == kind else f"profile.{kind}_help"),
                on_click=give,
                args=(s, item, kind),
                kwargs={"user": user, "run_id": run_id},
            )


def give(s: Scene, item: dict[str, Any], kind: str, *, user: str, run_id: str) -> None:
    """Writes it down and says so. Raises NotAllowed for who may only read."""
    roles.require(s.ledger, actor(), roles.Act.RESPOND)
    act = Feedback(user, item["key"], kind, datetime.now(UTC), rank=item["rank"], run_id=run_id)
    feedback.append(s.ledger, s.dataset, [act], now=act.at)
    st.toast(s.t(f"profile.{kind}_noted", user=user, item=item["title"]), icon=ICONS[kind])
