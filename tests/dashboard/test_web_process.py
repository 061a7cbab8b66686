"""The web process never loads a model: every page is opened in a fresh interpreter, and what it imported is looked
at.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dashboard

FORBIDDEN = ("torch", "transformers", "shap", "fairlearn", "peft", "sklearn", "optuna", "tensorboardX", "wandb")
SCRIPT = """
import json, sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({app!r}, default_timeout=60).run()
for page in {pages!r}:
    app.switch_page(f"views/{{page}}.py").run()
    assert not app.exception, (page, app.exception)
print(json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}} & set({forbidden!r}))))
"""


def test_no_page_imports_a_model(store: Any) -> None:
    app = Path(dashboard.__file__).parent / "app.py"
    pages = sorted(file.stem for file in (app.parent / "views").glob("*.py") if file.stem != "__init__")
    assert len(pages) == 11
    script = SCRIPT.format(app=str(app), pages=pages, forbidden=FORBIDDEN)
    environment = {**os.environ, "LODESTAR_HOME": str(store.home), "LODESTAR_LANGUAGE": "en"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_streamlit_finds_no_pages_folder_beside_the_app() -> None:
    # A folder named `pages` would be served by itself to whoever opens a deep link first on a fresh server.
    assert not (Path(dashboard.__file__).parent / "pages").exists()
