"""The web process: `python -m dashboard.web` is `streamlit run dashboard/app.py` with everything imported beforehand.

Streamlit imports what a page needs when the first browser asks for it, which would make the first reader wait for it.
Flags are Streamlit's own and are handed on.
"""

import sys
from importlib import import_module
from pathlib import Path

from streamlit.web.cli import main as streamlit

APP = Path(__file__).with_name("app.py")
# What pages import, except modules that hold Streamlit's caches: those must find the server running.
NEEDED = (
    "pandas",
    "plotly.graph_objects",
    "plotly.subplots",
    "streamlit.elements.plotly_chart",
    "core.ops.supervisor",
    "core.serve.client",
    "dashboard.charts",
    "dashboard.cli",
    "dashboard.publishing",
    "data.reads",
)


def main() -> None:
    """Starts the server; ends as Streamlit does."""
    for module in NEEDED:
        import_module(module)
    sys.argv = ["streamlit", "run", str(APP), *sys.argv[1:]]
    streamlit()


if __name__ == "__main__":
    main()
