"""Accidents, and what has to be there after them. The tests use it, and `python -m tests.bench.crashes` at full size.

A scene is a list of acts on a folder, each with the state that it leads to, and a reader of that state, which raises
where something that the ledger or a manifest names is damaged. A crash may show the state before the act or the one
after, nothing else; once the act has returned, only the one after.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from core.learn.checkpoints import load_checkpoint, save_checkpoint
from core.ops.builds import builds, current_build, record_build
from core.ops.intake import Order, bring
from core.ops.ledger import Ledger, utc_now
from core.ops.prune import prune, remove_leftovers
from core.ops.registry import champion, promote
from core.ops.runs import finish_run, finished_run, new_run, run_folder, runs
from core.ops.trail import trail
from data.errors import StoreError
from data.ingest import ingest
from data.publish import (
    TEMPORARY,
    full_disk_reported,
    move_whole,
    sha256_of,
    staged,
    verify_manifest,
    write_manifest,
    write_whole,
)
from data.spec import DatasetSpec, parse_spec
from data.warehouse import Warehouse, verify_build
from tests.durable import WORLDS, Disk

TEXT = (
    '[dataset]\nname = "log"\n[events]\nfiles = "events.csv"\n'
    'user = "user"\nitem = "item"\nts = "ts"\nvalue = "value"\n'
)
SPEC, DAYS = parse_spec(TEXT), parse_spec(TEXT.replace("events.csv", "day-*.csv"))
EVENTS = (
    "user,item,ts,value\n" + "".join(f"u{n % 7},i{n % 11},{1704103200 + n},{n % 5}\n" for n in range(60)) + "u,,,\n"
)
HOME = Path("srv", "lodestar")  # below a root: its own folders have to last too

Act = tuple[object, Callable[[], object]]


@dataclass(frozen=True)
class Scene:
    """`acts` on a root, `state` of a root (the same one, or what a crash left of it), `begun` what that says first."""

    begun: object
    acts: Sequence[Act]
    state: Callable[[Path], object]


@dataclass
class Seen:
    """What was injected into a scene: crash points looked at, refusals of a full disk, acts that went well after."""

    points: int = 0
    refused: int = 0
    done: int = 0
    said: list[str] = field(default_factory=list)


def ingests(root: Path, files: Path) -> Scene:
    """Two ingests into a home that is not there yet; the state is how many builds there are, all of them whole."""
    (files / "events.csv").write_text(EVENTS)

    def bring() -> None:
        with Ledger.open(root / HOME) as ledger:
            bring_build(ledger, root / HOME, files)

    return Scene(0, [(1, bring), (2, bring)], lambda world: whole_builds(world / HOME))


def appends(root: Path, files: Path) -> Scene:
    """A day's file, then another that is appended; the state is how many builds there are, all of them whole, the
    newest of which has the events of so many days."""

    def day(number: int) -> Callable[[], object]:
        def act() -> None:
            rows = "".join(f"v{n % 7},i{n % 11},{1704103200 + 86400 * number + n},\n" for n in range(60))
            text = EVENTS if number == 1 else "user,item,ts,value\n" + rows
            (files / f"day-{number}.csv").write_text(text)
            with Ledger.open(root / HOME) as ledger:
                older = current_build(ledger).path if builds(ledger) else None
                bring_build(ledger, root / HOME, files, spec=DAYS, onto=older)

        return act

    def state(world: Path) -> object:
        days = whole_builds(world / HOME)
        if days:
            with Ledger.open(world / HOME) as ledger, Warehouse.open(current_build(ledger).path) as warehouse:
                assert warehouse.facts.n_events == 60 * days
        return days

    return Scene(0, [(1, day(1)), (2, day(2))], state)


def resumes(root: Path, files: Path) -> Scene:
    """The work of an ingest job; the state is whether its build is recorded. Whatever a crash left, the job is done
    again then, and there is one build, whole, and one entry in the trail."""
    (files / "events.csv").write_text(EVENTS)

    def work(home: Path) -> int:
        with Ledger.open(home) as ledger:
            before = len(builds(ledger))
            bring(ledger, home, Order(SPEC, files, "ann"), build_id="b-000000aa", threads=1)
            return before

    def state(world: Path) -> object:
        before = work(world / HOME)
        assert whole_builds(world / HOME) == 1
        with Ledger.open(world / HOME) as ledger:
            assert [entry.act for entry in trail(ledger)] == ["ingest"]
        return before

    return Scene(0, [(1, lambda: work(root / HOME))], state)


def publishes(root: Path, files: Path) -> Scene:
    """A run is published and promoted, then another: the state is (finished runs, which of them is champion)."""
    (files / "events.csv").write_text(EVENTS)
    home = root / HOME
    with Ledger.open(home) as ledger:
        bring_build(ledger, home, files)

    def publish() -> None:
        with Ledger.open(home) as ledger:
            publish_run(ledger, home)

    def crown() -> None:
        with Ledger.open(home) as ledger:
            promote_run(ledger, runs(ledger)[0].run_id)

    acts = [((1, None), publish), ((1, 1), crown), ((2, 1), publish), ((2, 2), crown)]
    return Scene((0, None), acts, lambda world: whole_runs(world / HOME))


def checkpoints(root: Path, _files: Path) -> Scene:
    """Checkpoints of a stage, one of them again under its own name; the state is the one that would be taken up."""
    place = Path("runs", "r-1", "checkpoints")

    def save(number: int, label: float) -> Callable[[], object]:
        tensors = {"x": torch.full((64,), label)}
        return lambda: save_checkpoint(root / place, "frozen", number, tensors=tensors, values={"n": label})

    def state(world: Path) -> object:
        found = load_checkpoint(world / place, "frozen")
        if found is None:
            return None
        assert float(found[0]["x"].unique()) == found[1]["n"]
        return found[1]["n"]

    again = [(1.5, save(1, 1.5)), (2.0, save(2, 2.0)), (2.5, save(2, 2.5)), (3.0, save(3, 3.0)), (4.0, save(4, 4.0))]
    return Scene(None, [(1.0, save(1, 1.0)), *again], state)


def files_whole(root: Path, _files: Path) -> Scene:
    """A small file written again and again; the state is its bytes."""
    path = root / "search.json"
    acts = [(data, lambda data=data: write_whole(path, data)) for data in (b"first", b"second, longer", b"3")]
    return Scene(None, acts, lambda world: _bytes_of(world / path.name))


def moves(root: Path, files: Path) -> Scene:
    """Finished files moved to names in folders that are not there yet; the state is how many are, whole."""

    def move(name: str) -> Callable[[], object]:
        (root / f"{TEMPORARY}{name}").write_bytes(name.encode() * 1000)
        return lambda: move_whole(root / f"{TEMPORARY}{name}", root / "cache" / "archives" / name)

    def state(world: Path) -> object:
        found = sorted(path.name for path in (world / "cache" / "archives").glob("*"))
        assert all(_bytes_of(world / "cache" / "archives" / name) == name.encode() * 1000 for name in found)
        return found

    return Scene([], [(["a"], move("a")), (["a", "b"], move("b"))], state)


def replacements(root: Path, _files: Path) -> Scene:
    """An artefact of several folders put in the place of an older one, twice; the state is which one is there."""

    def put(label: str) -> Callable[[], object]:
        def act() -> None:
            with staged(root / "datasets", "films", extra={"label": label}, replace=True) as folder:
                (folder / "deep" / "below").mkdir(parents=True)
                (folder / "deep" / "below" / "events.csv").write_text(label * 100)
                (folder / "spec.toml").write_text(label)

        return act

    def state(world: Path) -> object:
        folder = world / "datasets" / "films"
        return verify_manifest(folder)["label"] if folder.exists() else None

    return Scene(None, [(label, put(label)) for label in ("old", "new", "newest")], state)


SCENES = {
    "ingest": ingests,
    "append": appends,
    "ingest, done again": resumes,
    "publish and promote": publishes,
    "checkpoint": checkpoints,
    "write_whole": files_whole,
    "move_whole": moves,
    "staged, replacing": replacements,
}


# A rename takes no space: what is only moved is never refused. What is done again to see its state changes it.
NEEDING_SPACE = {name: scene for name, scene in SCENES.items() if scene not in (moves, resumes)}


def replay(scene_of: Callable[[Path, Path], Scene], folder: Path) -> Seen:
    """Plays a scene and looks at every world after every step. Raises where one shows neither old nor new."""
    root, files, world = (folder / name for name in ("disk", "files", "after"))
    root.mkdir(parents=True)
    files.mkdir()
    scene, seen = scene_of(root, files), Seen()
    allowed: tuple[object, ...] = (scene.begun,)
    last: dict[str, tuple[str, object]] = {}  # by kind of accident: what there was, and the state that it showed

    def look(step: str) -> None:
        for kind in WORLDS:
            disk.materialise(world, kind)
            there, (before, found) = _fingerprint(world), last.get(kind, ("", None))
            if there != before:
                found = scene.state(world)
                last[kind] = (there, found)
            seen.points += 1
            assert found in allowed, f"{step}, {kind}: {found!r} is none of {allowed!r}"

    with closing(Disk(root)) as disk:
        for target, act in scene.acts:
            allowed = (allowed[-1], target)
            with disk.watched(look):
                act()
            allowed = (target,)
            look(f"after the act that leads to {target!r}")
            seen.done += 1
    left = [path for path in root.rglob(f"{TEMPORARY}*")]
    assert not left, "what went well leaves nothing lying about"
    return seen


def fill(scene_of: Callable[[Path, Path], Scene], folder: Path, files: Path, *, growth: float = 1.8) -> Seen:
    """Plays a scene on the small disk that `folder` is, each act with nothing free, then ever more, until it fits.

    Each refusal must be a StoreError with a remedy and leave the state as it was.
    """
    root, filler = folder / "disk", folder / "filler"
    root.mkdir()
    files.mkdir()
    scene, seen = scene_of(root, files), Seen()
    state = scene.begun
    for target, act in scene.acts:
        left = 0
        while state != target:
            leave(filler, left)
            try:
                with full_disk_reported(root):  # as every command and every worker does
                    act()
                state = target
                seen.done += 1
            except StoreError as error:
                assert error.remedy
                seen.refused += 1
                seen.said.append(f"{type(error).__name__}: {error}")
            filler.unlink()
            assert scene.state(root) == state, f"{left} bytes were free"
            left = int(max(left * growth, 8 << 10))
    return seen


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """`folder` as a disk of its own of 24 MB; None where one may not be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leave(filler: Path, free: int) -> None:
    """Fills the disk that `filler` is on, but for so many bytes."""
    with filler.open("wb", buffering=0) as stream:
        there = os.statvfs(filler)
        os.posix_fallocate(stream.fileno(), 0, max(there.f_bavail * there.f_frsize - free, 1))


def killed(*asked: object) -> dict[str, Any]:
    """What a process of `tests.kills` says that it did; its own checks have passed then."""
    command = [sys.executable, "-m", "tests.kills", *map(str, asked)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def bring_build(ledger: Ledger, home: Path, files: Path, *, spec: DatasetSpec = SPEC, onto: Path | None = None) -> str:
    """The id of a build that was made of the files of a spec and is current now, as `lodestar ingest` does it."""
    now = utc_now()
    made = ingest(spec, base=files, home=home, now=now, threads=1, memory_limit="200MB", onto=onto)
    record_build(ledger, build_id=made.build_id, dataset=made.dataset, path=made.path, facts={}, now=now)
    return made.build_id


def publish_run(ledger: Ledger, home: Path) -> str:
    """The id of a run that was written and closed, as a training job does it."""
    build = current_build(ledger)
    given = {"dataset": build.dataset, "build_id": build.build_id, "job_id": None, "config": {}}
    run_id = new_run(ledger, home, **given, now=utc_now())
    folder = run_folder(home, run_id)
    (folder / "pretrained" / "pooling").mkdir(parents=True)
    for name in ("model.safetensors", "pretrained/pooling/config.json"):
        (folder / name).write_bytes(os.urandom(3000))
    write_manifest(folder, extra={"run_id": run_id, "build_id": build.build_id})
    finish_run(ledger, run_id, summary={}, now=utc_now())
    return run_id


def promote_run(ledger: Ledger, run_id: str) -> None:
    """Makes a run of `publish_run` the champion."""
    told = {"dataset": SPEC.name, "run_id": run_id, "actor": "ann", "reason": "its turn"}
    promote(ledger, **told, expected_version=None, now=utc_now(), override=True)


def whole_builds(home: Path) -> int:
    """How many builds there are, each of them whole; and nothing stays that no row claims."""
    with Ledger.open(home) as ledger:
        rows = builds(ledger)
        for row in rows:
            verify_build(row.path)
            with Warehouse.open(row.path) as warehouse:
                assert (warehouse.facts.build_id, warehouse.facts.quarantined) == (row.build_id, 1)
            assert pq.read_metadata(home / "quarantine" / f"{row.build_id}.parquet").num_rows == 1
        assert not rows or current_build(ledger).path.exists()
        remove_leftovers(home)
        prune(ledger, home, now=utc_now() + timedelta(hours=2))
        parts = [path for name in ("warehouse", "quarantine") for path in (home / name).glob("*")]
        assert {path.stem for path in parts} <= {row.build_id for row in rows}, "no orphan outlives the next start"
    return len(rows)


def whole_runs(home: Path) -> tuple[int, int | None]:
    """How many runs are finished, each of them whole, and which of them is champion, counting from one."""
    with Ledger.open(home) as ledger:
        whole = [row.run_id for row in reversed(runs(ledger)) if row.state == "finished"]
        for run_id in whole:
            finished_run(ledger, home, run_id)
            told = verify_manifest(run_folder(home, run_id))
            assert set(told["files"]) == {"model.safetensors", "pretrained/pooling/config.json"}
        best = champion(ledger, SPEC.name)
    return len(whole), None if best is None else whole.index(best) + 1


def _fingerprint(folder: Path) -> str:
    told = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        told.update(f"{path.relative_to(folder)}\n{path.is_file() and sha256_of(path)}\n".encode())
    return told.hexdigest()


def _bytes_of(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
