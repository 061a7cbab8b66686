"""The peers' own environments: one venv each in the cache, made when first asked for, from pinned requirements.

They do not share Lodestar's: RecTools and RecBole need numpy 1.26, and RecBole's declared dependencies do not resolve
on a current Python, so that its requirements are written out and installed without them.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
MADE = ".made"  # holds the hash of the requirements that the environment was made from


def environment(name: str, *, folder: Path) -> Path:
    """The python of the peer's environment under `folder`, made now unless it stands and its pins are these."""
    pins = REQUIREMENTS / f"{name}.txt"
    home = folder / name
    python = home / "bin" / "python"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if (home / MADE).is_file() and (home / MADE).read_text() == wanted:
        return python
    print(f"making the environment of {name} in {home}", file=sys.stderr)
    (home / MADE).unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    torch = [line for line in pins.read_text().splitlines() if line.startswith("torch==")]
    if torch:  # with what its build needs here: a CUDA one brings its own libraries
        subprocess.run([*install, "-c", str(pins), *torch], check=True)
    subprocess.run([*install, "--no-deps", "-r", str(pins)], check=True)
    (home / MADE).write_text(wanted)
    return python
