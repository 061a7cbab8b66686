"""The environment, read once and at the edge: where the store is, which zone and language people see, which
port.

Everything below the edge takes these as arguments; this is the only module of the project that looks at the
environment.
"""

import os
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

from platformdirs import user_cache_dir
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from data.uploads import Limits

Language = Literal["en", "zh"]
MOST_THREADS = 8  # more do not help operations as small as these models'


def processors() -> int:
    """How many processors this process may use, at most `MOST_THREADS`."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, MOST_THREADS)


class Settings(BaseSettings):
    """What `LODESTAR_*` variables may say; frozen, so that a command and its children agree."""

    model_config = SettingsConfigDict(env_prefix="LODESTAR_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".lodestar"), description="the store: warehouse, runs, ledger")
    cache: Path = Field(
        default_factory=lambda: Path(user_cache_dir("lodestar")), description="fetched data sets and weights"
    )
    ledger: str | None = Field(
        default=None,
        pattern="^postgres(ql)?(\\+psycopg)?://",
        description="the address of a PostgreSQL database for the ledger; None keeps it in the home folder",
    )
    tz: str = Field(default="UTC", description="the zone that dates and hours are shown in; stored times are UTC")
    language: Language | None = Field(default=None, description="the console's first language; None asks the browser")
    offline: bool = Field(default=False, description="never open a connection beyond this machine")
    hub: str | None = Field(
        default=None, pattern="^https?://", description="the address of a model hub; None is huggingface.co"
    )
    port: int = Field(default=8501, ge=1, le=65535, description="where the console listens")
    address: Literal["127.0.0.1", "0.0.0.0"] = Field(
        default="127.0.0.1",
        description="on loopback; or everywhere, for a container: the console asks nobody who they are",
    )
    threads: int = Field(
        default_factory=processors,
        ge=1,
        description="threads for the warehouse and the models; by default the processors that this process may use",
    )

    upload_mb: int = Field(default=200, ge=1, le=4000, description="that one upload on the page Data may have")
    unpacked_mb: int = Field(default=4000, ge=1, description="that one upload may have when it is decompressed")
    upload_days: float = Field(
        default=7, gt=0, description="after which an upload is removed that no build was made of"
    )
    specs: Path | None = Field(
        default=None, description="the folder whose specs the page Data offers; None is `specs` in the home folder"
    )

    slots: int = Field(
        default=1, ge=1, description="jobs that the supervisor runs at once; of those that use a GPU, one"
    )

    @property
    def ledger_at(self) -> str | Path:
        """Where `Ledger.open` finds this store's ledger."""
        return self.ledger or self.home

    @property
    def specs_at(self) -> Path:
        """The folder of specs that the console may run as they are."""
        return self.specs or self.home / "specs"

    @property
    def upload_limits(self) -> Limits:
        """What one upload may be."""
        kept_for = timedelta(days=self.upload_days)
        return Limits(self.upload_mb * 1_000_000, self.unpacked_mb * 1_000_000, kept_for)

    @field_validator("home", "cache")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @field_validator("tz")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError(f"{name!r} is no time zone; use a name such as Europe/Paris or Asia/Shanghai")
        return ZoneInfo(name).key


def share_processors() -> None:
    """Let torch's threads sleep while they wait for one another; to be called before torch is loaded.

    By default they spin. Where a processor has other work too, the thread that spins keeps the one that it waits for
    from running, and two threads take ten times as long as one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """This process's settings."""
    return Settings()
