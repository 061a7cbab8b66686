"""The systemd unit and the container give a stopping console the time that its jobs need to save, and little else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dashboard
from core.ops.supervisor import GRACE_S
from dashboard.launch import _STOP_WITHIN_S, argv_for
from dashboard.settings import Settings

UNIT = Path(dashboard.__file__).parent / "deploy" / "lodestar.service"
ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STOPS_WITHIN_S = GRACE_S + _STOP_WITHIN_S


def unit() -> dict[str, dict[str, str]]:
    """Section -> name -> value, the last one of a name that is set twice."""
    sections: dict[str, dict[str, str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            sections[line.strip("[]")] = told = {}
        elif line and not line.startswith("#"):
            name, found, value = line.partition("=")
            assert found, line
            told[name] = value
    return sections


def instructions(name: str) -> list[str]:
    """What follows each NAME of the Dockerfile, lines joined."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE)


def test_the_unit_stops_in_order_and_comes_back_after_a_crash() -> None:
    service = unit()["Service"]
    assert (service["Type"], service["Restart"], service["KillMode"]) == ("simple", "on-failure", "mixed")
    assert float(service["TimeoutStopSec"]) > STOPS_WITHIN_S
    assert service["ExecStart"].endswith("/lodestar app")
    assert unit()["Install"]["WantedBy"] == "multi-user.target"


def test_the_unit_runs_as_nobody_in_particular_and_writes_its_own_folders_alone() -> None:
    service = unit()["Service"]
    assert service["User"] not in ("", "root")
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["ProtectHome"]) == ("yes", "strict", "yes")
    assert service["CapabilityBoundingSet"] == ""
    settings = dict(pair.split("=") for pair in service["Environment"].split())
    assert settings["LODESTAR_HOME"] == f"/var/lib/{service['StateDirectory']}"
    assert settings["LODESTAR_CACHE"] == f"/var/cache/{service['CacheDirectory']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    here = tmp_path / "lodestar.service"  # with a program that is there
    here.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/lodestar/bin/lodestar", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True, timeout=60, check=False
    )
    about = [line for line in (done.stdout + done.stderr).splitlines() if "lodestar" in line]
    assert about == [] and done.returncode == 0, done.stderr


def test_the_container_is_no_root_and_hears_sigterm() -> None:
    assert instructions("USER")[-1] not in ("root", "0")
    assert instructions("FROM")[0].endswith("-slim")
    assert instructions("ENTRYPOINT") == ['["tini", "--", "lodestar"]'], "a shell would keep SIGTERM to itself"
    assert instructions("CMD") == ['["app"]'] and instructions("STOPSIGNAL") == ["SIGTERM"]
    (home,) = re.findall(r"LODESTAR_HOME=(\S+)", DOCKERFILE)
    assert f'"{home}"' in instructions("VOLUME")[0]
    (stop_s,) = re.findall(r"docker run .*--stop-timeout (\d+)", DOCKERFILE)
    assert float(stop_s) > STOPS_WITHIN_S


def test_what_the_container_copies_is_there_and_nothing_else_is_sent() -> None:
    copied = [name for line in instructions("COPY") for name in line.split()[:-1]]
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert sorted(copied) == sorted(sent)
    assert all((ROOT / name).exists() for name in copied)


def test_only_a_container_makes_the_console_listen_beyond_loopback(tmp_path: Path) -> None:
    assert "LODESTAR_ADDRESS=0.0.0.0" in DOCKERFILE
    assert "--server.address=0.0.0.0" in argv_for("web", Settings(home=tmp_path, address="0.0.0.0"), port=9000)
    assert "LODESTAR_ADDRESS" not in UNIT.read_text(encoding="utf-8")
