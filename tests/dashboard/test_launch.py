"""`lodestar app` starts three processes, keeps them up, and leaves none behind."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.ops.jobs import status, submit
from core.ops.ledger import Ledger, utc_now
from core.ops.processes import started_at
from core.ops.supervisor import ensure_supervisor, supervisor_pid
from dashboard.launch import argv_for, child_environment, launch, port_is_free, require_free_port
from dashboard.settings import Settings
from dashboard.spare import Spare
from data.errors import Conflict, JobFailed, PortInUse

SMALL_WORKER = str(Path(__file__).parents[1] / "core" / "small_worker.py")

# `lodestar app` with a small web (it lists its folder) and scorer (it sleeps), but the real supervisor.
SMALL_APP = """
import sys
from pathlib import Path
from dashboard import launch as launcher
from dashboard.launch import launch
from dashboard.settings import Settings
from data.errors import DiskFull

whole = launcher.write_whole
def full_at_times(path, data):
    if (path.parent / "full").exists():
        raise DiskFull("no space", remedy="make some")
    whole(path, data)
launcher.write_whole = full_at_times

home, port, small_worker, web_up = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4] == "up"
serve = f"import http.server as h; h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
ARGV = {
    "web": [sys.executable, "-c", serve if web_up else "import sys; sys.exit('no web today')"],
    "spare": [sys.executable, "-c", "input()"],
    "supervisor": [sys.executable, small_worker, "supervise", str(home), "0", "1", "5"],
    "scorer": [sys.executable, "-c", "import time; time.sleep(600)"],
}
sys.exit(launch(Settings(home=home), port=port, argv_of=ARGV.__getitem__))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class App:
    """A running small app, and what is known of its processes from outside."""

    def __init__(self, home: Path, port: int, *, nth: int, web: str = "up") -> None:
        self.home, self.port, self.nth = home, port, nth
        self.out = home / "app.out"
        home.mkdir(exist_ok=True)
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SMALL_APP, str(home), str(port), SMALL_WORKER, web],
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def noted(self) -> dict[str, int]:
        try:
            noted = json.loads((self.home / "app.json").read_text())
        except FileNotFoundError:
            return {}
        return {name: noted[name][0] for name in ("launcher", "web", "supervisor", "scorer") if name in noted}

    def up(self) -> dict[str, int]:
        until(lambda: self.noted().get("launcher") == self.process.pid)
        until(lambda: self.out.read_text().count("Lodestar is at") == self.nth)
        until(lambda: {"web", "scorer"} <= set(self.noted()) and supervisor_pid(self.home) is not None)
        return self.noted()

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(timeout=30)


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[Callable[..., App]]:
    """Starts the small app of one home; afterwards whatever a test left of it is ended."""
    apps: list[App] = []

    def start_one(**how: str) -> App:
        apps.append(App(tmp_path / "home", port, nth=len(apps) + 1, **how))
        return apps[-1]

    yield start_one
    for app in apps:
        left = [*app.noted().values(), app.process.pid, supervisor_pid(app.home)]
        for pid in filter(None, left):
            if started_at(pid) is not None:
                os.kill(pid, signal.SIGKILL)
        app.process.wait()


def until(true: Callable[[], object], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def all_gone(pids: dict[str, int]) -> bool:
    return all(started_at(pid) is None for pid in pids.values())


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_three_processes_come_up_and_none_stays(start: Callable[..., App], port: int, signum: signal.Signals) -> None:
    app = start()
    pids = app.up()
    assert f"http://localhost:{port}" in app.out.read_text()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
        assert page.status == 200
    began = time.monotonic()
    assert app.stop(signum) == 0
    assert time.monotonic() - began < 10
    assert all_gone(pids)
    assert port_is_free(port)
    assert not (app.home / "app.json").exists()


def test_a_dead_child_is_started_again_and_the_others_do_not_notice(start: Callable[..., App]) -> None:
    app = start()
    before = app.up()
    for name in ("web", "scorer", "supervisor"):
        os.kill(before[name], signal.SIGKILL)
    until(lambda: len(app.noted()) == 4 and not set(app.noted().values()) & set(list(before.values())[1:]))
    assert app.noted()["launcher"] == before["launcher"]
    until(lambda: supervisor_pid(app.home) == app.noted()["supervisor"])
    assert "the scorer ended with status -9 and is started again" in app.out.read_text()
    after = app.noted()
    assert app.stop() == 0 and all_gone(after)


def test_behind_the_web_another_waits_and_serves_when_told(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    spare = Spare([sys.executable, "-c", "print(input(), flush=True); input()"], log, os.environ, after_s=0.0)
    assert spare.take() is None, "none waits yet"
    spare.tend()
    taken = spare.take()
    assert taken is not None and spare.take() is None
    assert taken.wait(timeout=30) == 1, "after the word its input is at its end"
    assert log.read_text().startswith("serve\n")
    spare.close()


def test_a_waiting_web_ends_with_its_launcher(tmp_path: Path) -> None:
    holds = """
import os, signal, sys
from pathlib import Path
from dashboard.spare import Spare

spare = Spare([sys.executable, "-m", "dashboard.web", "--spare"], Path(sys.argv[1]), os.environ, after_s=0.0)
spare.tend()
print(spare._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    holder = subprocess.run([sys.executable, "-c", holds, str(tmp_path / "log")], capture_output=True, check=False)
    assert holder.returncode == -signal.SIGKILL
    until(lambda: started_at(int(holder.stdout)) is None)


def test_a_spare_that_died_is_not_taken(tmp_path: Path) -> None:
    spare = Spare([sys.executable, "-c", ""], tmp_path / "log", os.environ, after_s=0.0)
    spare.tend()
    process = spare._process
    assert process is not None
    until(lambda: started_at(process.pid) is None)
    assert spare.take() is None
    assert process.returncode is not None, "it was reaped"


def test_a_full_disk_ends_no_console(start: Callable[..., App]) -> None:
    app = start()
    before = app.up()
    (app.home / "full").touch()
    os.kill(before["scorer"], signal.SIGKILL)
    until(lambda: "tried again until it works" in app.out.read_text())
    assert app.process.poll() is None and started_at(before["web"]) is not None
    (app.home / "full").unlink()
    until(lambda: app.noted().get("scorer", before["scorer"]) != before["scorer"])
    assert app.out.read_text().count("tried again until it works") == 1, "said once, not in every round"
    assert app.stop() == 0


def test_a_job_survives_the_end_of_the_web_and_saves_at_the_end_of_the_app(start: Callable[..., App]) -> None:
    app = start()
    pids = app.up()
    with Ledger.open(app.home) as ledger:
        job_id = submit(ledger, kind="counting", payload={"to": 10_000}, dataset=None, now=utc_now())
        until(lambda: status(ledger, job_id).progress > 0)
        worker = status(ledger, job_id).pid
        os.kill(pids["web"], signal.SIGKILL)
        reached = status(ledger, job_id).progress
        until(lambda: status(ledger, job_id).progress > reached)
        assert status(ledger, job_id).pid == worker
        assert app.stop() == 0
        assert worker is not None and started_at(worker) is None
        assert (status(ledger, job_id).state, status(ledger, job_id).attempt) == ("interrupted", 1)


def test_a_supervisor_that_was_there_before_is_used_and_stopped(start: Callable[..., App], tmp_path: Path) -> None:
    home = tmp_path / "home"
    earlier = ensure_supervisor(home, [sys.executable, SMALL_WORKER, "supervise", str(home), "0", "1", "5"])
    app = start()
    until(lambda: "Lodestar is at" in app.out.read_text())
    time.sleep(1.5)
    assert supervisor_pid(home) == earlier
    assert app.stop() == 0
    assert started_at(earlier) is None


def test_what_a_killed_launcher_left_is_ended_by_the_next_one(start: Callable[..., App]) -> None:
    first = start()
    left = first.up()
    first.process.kill()
    first.process.wait()
    assert started_at(left["web"]) is not None
    second = start()
    after = second.up()
    assert started_at(left["web"]) is None and started_at(left["scorer"]) is None
    assert supervisor_pid(second.home) in (left["supervisor"], after.get("supervisor"))
    assert second.stop() == 0
    assert all_gone({**left, **after})


def test_one_home_has_one_console(start: Callable[..., App], port: int) -> None:
    app = start()
    app.up()
    with pytest.raises(Conflict, match=f"already runs at http://localhost:{port}"):
        launch(Settings(home=app.home), port=port + 1)
    assert app.stop() == 0


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(PortInUse, match=rf"port {port} is taken.*lodestar app --port \d+"):
            launch(Settings(home=tmp_path / "home"), port=port)
        assert not port_is_free(port)
    require_free_port(port)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["app.lock"], "nothing was started"


def test_a_web_that_does_not_come_up_ends_the_app_with_its_last_words(start: Callable[..., App]) -> None:
    app = start(web="down")
    assert app.process.wait(timeout=60) == 1
    said = app.out.read_text()
    assert JobFailed.__name__ in said and "the web did not come up: no web today" in said
    assert supervisor_pid(app.home) is None


def test_the_children_get_the_settings_and_a_secret_that_stays(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, cache=tmp_path / "cache", tz="Asia/Shanghai", offline=True)
    environment = child_environment(settings, port=9000)
    assert environment["LODESTAR_HOME"] == str(tmp_path)
    assert environment["LODESTAR_PORT"] == "9000" and "PATH" in environment
    assert "LODESTAR_LANGUAGE" not in environment or os.environ.get("LODESTAR_LANGUAGE")
    secret = tmp_path / "cookie.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and len(secret.read_text()) == 64
    again = child_environment(settings, port=9000)["STREAMLIT_SERVER_COOKIE_SECRET"]
    assert again == environment["STREAMLIT_SERVER_COOKIE_SECRET"] == secret.read_text()
    told = {name: environment[name] for name in environment if name.startswith("LODESTAR_")}
    child = subprocess.run(
        [sys.executable, "-c", "from dashboard.settings import settings; print(settings().model_dump_json())"],
        env={"PATH": environment["PATH"], **told},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Settings.model_validate_json(child.stdout) == settings.model_copy(update={"port": 9000})


def test_the_web_listens_on_loopback_and_watches_no_files(tmp_path: Path) -> None:
    argv = argv_for("web", Settings(home=tmp_path), port=9000)
    assert {"--server.port=9000", "--server.address=127.0.0.1", "--server.fileWatcherType=none"} <= set(argv)
    assert not [part for part in argv if "ecret" in part], "everyone can read arguments"
