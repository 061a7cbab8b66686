"""The web process: `python -m dashboard.web` is `streamlit run dashboard/app.py` with everything imported beforehand.

Streamlit imports what a page needs when the first browser asks for it, which would make the first reader wait for it.
Flags are Streamlit's own and are handed on. With `--spare` first it serves only when told so on its standard input
(`dashboard.spare`).
"""

import gc
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

from streamlit import runtime
from streamlit.env_util import is_repl
from streamlit.web.cli import main as streamlit

from dashboard.spare import SERVE, SPARE
from dashboard.theme import SCHEMES, template

APP = Path(__file__).with_name("app.py")
# What the server and the pages import, except modules that hold Streamlit's caches: those must find the server running.
NEEDED = (
    "PIL.Image",
    "httpcore",
    "narwhals._pandas_like.dataframe",
    "pandas",
    "plotly.graph_objects",
    "plotly.io",
    "plotly.subplots",
    "pyarrow.dataset",
    "sqlalchemy.dialects.sqlite",
    "streamlit.elements.plotly_chart",
    "streamlit.emojis",
    "streamlit.material_icon_names",
    "streamlit.watcher.polling_path_watcher",
    "streamlit.web.server.app_discovery",
    "streamlit.web.server.starlette.starlette_agent_routes",
    "uvicorn.main",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "core.ops.saved",
    "core.ops.statements",
    "core.ops.supervisor",
    "core.serve.client",
    "core.trust.unusual",
    "dashboard.charts",
    "dashboard.desk",
    "dashboard.publishing",
    "data.reads",
    "data.search",
)
# Those that do, imported while the first browser connects.
WITH_CACHES = tuple(
    f"dashboard.{name}"
    for name in (
        "scene",
        "watching",
        "searching",
        "slate",
        "promoting",
        "contest",
        "guiding",
        "drifting",
        "outlook",
        "asking",
        "whom",
        "cohorts",
        "picking",
        "unusual",
        "bringing",
        "trying",
        "committing",
    )
)


def main() -> None:
    """Starts the server, a spare one when it is told to; ends as Streamlit does."""
    waits = sys.argv[1:2] == [SPARE]
    for module in NEEDED:
        import_module(module)
    for scheme in SCHEMES:
        template(scheme).to_plotly_json()  # plotly builds the classes of a figure's parts when they are first used
    is_repl()  # asked at the first write of a page; looks through the sources of what called it, which are kept then
    gc.freeze()  # Streamlit collects garbage after every run, and looking through what was imported takes .1 s
    if waits and sys.stdin.readline().strip() != SERVE:
        return  # whoever would have told it is gone
    sys.argv = ["streamlit", "run", str(APP), *sys.argv[1 + waits :]]
    threading.Thread(target=_import_with_caches, name="imports", daemon=True).start()
    streamlit()


def _import_with_caches() -> None:
    while not runtime.exists():
        time.sleep(0.01)
    for module in WITH_CACHES:
        import_module(module)


if __name__ == "__main__":
    main()
