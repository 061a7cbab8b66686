"""What Studio orders: a recipe, as the form says it or as an earlier run had it, the command line that does the same,
and what it will take. It asks the ledger; it never trains.
"""

import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Any

import streamlit as st

from core.learn.config import PRESETS, TrainConfig, load_config
from core.ops.supervisor import ensure_supervisor
from core.preflight import Amount, Preflight, Seconds
from dashboard import parts, state
from dashboard.desk import foresee, submit_training, supervisor_argv
from dashboard.parts import Card
from dashboard.recipes import recipe
from dashboard.scene import Scene
from dashboard.words import Words

KIND = "train"
TOLD_FOR_S = 60.0  # so long it is said that something was done
FIELDS = {"seed": "studio-seed", "epochs": "studio-epochs", "text.model": "studio-model"}  # settings with a widget


def presets() -> Mapping[str, Mapping[str, Any]]:
    """The named recipes of the training configuration."""
    return PRESETS


def settled(preset: str, own: Mapping[str, Any]) -> TrainConfig:
    """The whole configuration of a form. Raises InvalidConfig."""
    return load_config(overrides=[*PRESETS[preset].items(), *own.items()])


def named(config: TrainConfig) -> tuple[str, dict[str, Any]]:
    """The preset that a configuration is nearest to, and the settings in which it differs."""
    mine, found = dict(_leaves(config.model_dump())), {}
    for preset in PRESETS:
        its = dict(_leaves(settled(preset, {}).model_dump()))
        found[preset] = {name: value for name, value in mine.items() if value != its[name]}
    # the default first: among equals it is the one that people know
    nearest = min(found, key=lambda preset: (len(found[preset]), preset != "balanced"))
    return nearest, found[nearest]


def command(dataset: str, preset: str, own: Mapping[str, Any]) -> str:
    """The command line that does the same."""
    settings = " ".join(f"--set {name}={shlex.quote(str(value))}" for name, value in own.items())
    return f"lodestar train --dataset {shlex.quote(dataset)} --preset {preset} {settings}".rstrip()


def told(t: Words, config: Any) -> str:
    """A recipe in few words: its preset, and what is its own."""
    known = recipe(config)
    if known is None:
        return t("studio.other_version")
    preset, own = named(known)
    return " · ".join([t(f"preset.{preset}"), *(f"{name}={value}" for name, value in own.items())])


def take_over(config: TrainConfig, key: str) -> None:
    """Fills the form with a run's recipe, for a button's `on_click`: the widgets show it on the next run."""
    preset, own = named(config)
    state.fill(**{"studio-preset": preset})
    state.fill(**{field: own.pop(name, None) for name, field in FIELDS.items()})
    state.keep("studio-more", own)
    state.keep("studio-taken", (key, time.monotonic()))
    state.keep("studio-stale", True)


def again(s: Scene, config: Any, *, key: str, label: str = "studio.again") -> None:
    """The button that does so, and says that it was done; nothing for a recipe of another version."""
    known = recipe(config)
    if known is None:
        return
    st.button(s.t(label), key=key, type="tertiary", icon=":material/replay:", on_click=take_over, args=(known, key))
    taken, at_s = state.recall("studio-taken", ("", 0.0))
    if taken == key and time.monotonic() - at_s < TOLD_FOR_S:
        st.caption(f":material/check: {s.t('studio.again_done')}", width="content")


def start(s: Scene, preset: str, own: Mapping[str, Any]) -> str:
    """Queues the training and sees to a supervisor; returns the job's id. Raises InvalidConfig, JobFailed."""
    job_id = submit_training(s.ledger, s.home, s.build, settled(preset, own))
    ensure_supervisor(s.home, supervisor_argv(s.home))
    st.toast(s.t("studio.queued", job=job_id))
    return job_id


def will_take(s: Scene, config: TrainConfig) -> Preflight:
    """What a training takes here, as three cards."""
    t, found = s.t, foresee(s.ledger, s.home, s.facts, config)
    where = t("studio.on_gpu" if found.on_gpu else "studio.on_cpu")
    parts.cards(
        [
            Card(
                t("studio.time", where=where),
                t("value.about", value=t.rough(found.seconds.estimate)),
                rests(t, found.seconds),
            ),
            Card(t("studio.memory"), t("value.gb", value=found.memory.gb), _memory(t, found)),
            Card(t("studio.disk"), t("value.gb", value=found.disk.gb), _disk(t, found.disk)),
        ],
        name="preflight",
    )
    return found


def rests(t: Words, seconds: Seconds) -> str:
    """The range of a time, and how many runs speak for it."""
    key = "studio.time_runs" if seconds.runs else "studio.time_none"
    return t(key, low=t.rough(seconds.low), high=t.rough(seconds.high), n=seconds.runs)


def _memory(t: Words, found: Preflight) -> str:
    return t(f"studio.memory_{found.memory.verdict}", free=found.memory.free_gb, most=found.memory_gb)


def _disk(t: Words, disk: Amount) -> str:
    return t(f"studio.disk_{disk.verdict}", free=disk.free_gb)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
