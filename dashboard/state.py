"""The console's memory of one reader: what was chosen, in which language, and what a link says. The only
module that touches Streamlit's session state and query parameters.

A choice (dataset, user, item, run, ...) lives in the session and is mirrored in the address, so that a link
opens the same view and the back button returns to it. The address wins whenever it changed by itself (a
link, the back button); moving to another page clears it, and then the session's choices are written back.
"""

from collections.abc import Sequence
from typing import Any, Final

import streamlit as st

from dashboard.charts import Look
from dashboard.theme import Scheme
from dashboard.words import LANGUAGES, Words

NAMES: Final = (
    *("dataset", "lang", "subject", "user", "item", "run", "target", "metric", "attribute"),
    *("whom", "cohort", "saved", "upload", "spec", "before"),
)


def begin() -> None:
    """Takes over what the address says; call once at the start of every full run, before any widget."""
    seen: dict[str, str] = st.session_state.get("_address", {})
    address = {name: st.query_params[name] for name in NAMES if name in st.query_params}
    for name, value in address.items():
        if seen.get(name) != value:
            st.session_state[f"choice.{name}"] = value
    if address:  # moving to another page empties the address; the back button only takes away what was added last
        for name in seen.keys() - address.keys():
            if chosen(name) == seen[name]:
                st.session_state[f"choice.{name}"] = None
    st.session_state["_address"] = address


def chosen(name: str) -> str | None:
    """What the reader chose, or a link said; None before either."""
    value = st.session_state.get(f"choice.{name}")
    return None if value is None else str(value)


def choose(name: str, value: str | None) -> None:
    """Makes a choice on the reader's behalf; widgets tied to it show it on the next run."""
    st.session_state[f"choice.{name}"] = value


def tied(name: str, options: Sequence[str], *, default: str | None, ends: Sequence[str] = ()) -> dict[str, Any]:
    """Keyword arguments that tie a single-choice widget to a choice: its key, its options, and what it does
    on change.

    The widget shows the choice in force, or `default` where that is not among the options. Choices named in `ends`
    were made under the old one (an item of one user's slate) and end with it.
    """
    key = f"pick.{name}"
    current = chosen(name)
    st.session_state[key] = current if current in options else default

    def on_change() -> None:
        if st.session_state[key] is not None:  # a segmented control can be emptied; the choice then stands
            choose(name, st.session_state[key])
            for other in ends:
                choose(other, None)

    return {"key": key, "options": options, "on_change": on_change}


def link(**view: str | None) -> None:
    """Writes the view into the address; a name with None is left out, other parameters of ours are removed.

    The language stays in the address once the reader chose one.
    """
    wanted = {name: value for name, value in {**view, "lang": chosen("lang")}.items() if value is not None}
    foreign = {name: st.query_params[name] for name in st.query_params if name not in NAMES}
    if {**foreign, **wanted} != dict(st.query_params.to_dict()):
        st.query_params.from_dict({**foreign, **wanted})
    st.session_state["_address"] = wanted


def words(preferred: str | None) -> Words:
    """The catalogue in force: the reader's choice, the deployment's, or the browser's language."""
    browser = "zh" if (st.context.locale or "").lower().startswith("zh") else "en"
    language = chosen("lang") or preferred or browser
    return Words(language if language in LANGUAGES else "en")


def look(t: Words) -> Look:
    """How figures are drawn for this reader: the page's scheme and language."""
    scheme: Scheme = "dark" if st.context.theme.type == "dark" else "light"
    return Look(scheme=scheme, t=t)


def filled(key: str, default: Any) -> dict[str, str]:
    """Keyword arguments of a widget whose value may be set by `fill`: its key, holding `default` until then."""
    st.session_state.setdefault(key, default)
    return {"key": key}


def fill(**values: Any) -> None:
    """Sets what `filled` widgets show on the next run; for callbacks, which come before any widget."""
    for key, value in values.items():
        st.session_state[key] = value


def typed(key: str) -> str:
    """What stands in a `filled` widget of text."""
    return str(st.session_state[key])


def pointed(key: str) -> list[Any]:
    """The custom data of what was selected in the figure of this key, one of each point; for its callback."""
    selected = st.session_state[key]["selection"]["points"]
    return [point.get("customdata") for point in selected]


def shown(key: str) -> bool:
    """Whether a widget stood on the page when it was drawn last: what is typed goes with the page that is left."""
    return key in st.session_state


def recall(name: str, default: Any) -> Any:
    """What a page kept for itself in this session."""
    return st.session_state.get(f"page.{name}", default)


def keep(name: str, value: Any) -> None:
    """Keeps something for a page until the session ends."""
    st.session_state[f"page.{name}"] = value


def fitted(key: str, options: Sequence[Any], default: Any) -> dict[str, str]:
    """Keyword arguments of a widget that chooses among `options`: its key, holding what was chosen while that is among
    them, else `default`; of several that were chosen, those that are."""
    value = st.session_state.get(key, default)
    if isinstance(value, list | tuple):
        st.session_state[key] = [one for one in value if one in options]
    elif value not in options:
        st.session_state[key] = default if default in options else None
    else:
        st.session_state[key] = value
    return {"key": key}
