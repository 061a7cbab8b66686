"""The web process: `python -m dashboard.web` is `streamlit run dashboard/app.py` with everything imported beforehand.

Streamlit imports what a page needs when the first browser asks for it, which would make the first reader wait for it.
Flags are Streamlit's own and are handed on.
"""

import gc
import sys
from importlib import import_module
from pathlib import Path

from streamlit.web.cli import main as streamlit

from dashboard.theme import SCHEMES, template

APP = Path(__file__).with_name("app.py")
# What pages import, except modules that hold Streamlit's caches: those must find the server running.
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
    "core.ops.supervisor",
    "core.serve.client",
    "dashboard.charts",
    "dashboard.desk",
    "dashboard.publishing",
    "data.reads",
)


def main() -> None:
    """Starts the server; ends as Streamlit does."""
    for module in NEEDED:
        import_module(module)
    for scheme in SCHEMES:
        template(scheme).to_plotly_json()  # plotly builds the classes of a figure's parts when they are first used
    gc.freeze()  # Streamlit collects garbage after every run, and looking through what was imported takes .1 s
    sys.argv = ["streamlit", "run", str(APP), *sys.argv[1:]]
    streamlit()


if __name__ == "__main__":
    main()
