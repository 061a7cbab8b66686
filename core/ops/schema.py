"""The ledger's tables and the steps that bring an older ledger to them.

Only shapes live here; what a row means is said by the module that writes it: builds in `ledger`, jobs in
`jobs`, runs in `runs`, promotions and readings of a test set in `registry`, a champion's challengers in `traffic`,
feedback in `feedback`, the chain of what people did in `trail`, who may do it in `roles`, free SQL in `statements`,
what has a name in `saved`. Nothing here is for one database only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

SCHEMA_VERSION = 4


class UtcTime(sa.types.TypeDecorator[datetime]):
    """A moment. Naive datetimes are refused; what comes back is aware and UTC on every database."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "the ledger holds UTC moments: pass an aware datetime"
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()

versions = sa.Table(
    "schema_versions",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("applied", UtcTime, nullable=False, server_default=sa.func.current_timestamp()),
)
datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("current_build", sa.String, nullable=False),
    sa.Column("ingested", UtcTime, nullable=False),
)
builds = sa.Table(
    "builds",
    metadata,
    sa.Column("build_id", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False, index=True),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("created", UtcTime, nullable=False),
    sa.Column("pruned", UtcTime),
    sa.Column("feedback_to", sa.Integer, nullable=False, server_default="0"),
)
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("dataset", sa.String),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("rank", sa.Float, nullable=False),
    sa.Column("run_id", sa.String),
    sa.Column("progress", sa.Float, nullable=False, default=0.0),
    sa.Column("stage", sa.String),
    sa.Column("eta_s", sa.Float),
    sa.Column("attempt", sa.Integer, nullable=False, default=0),
    sa.Column("deaths", sa.Integer, nullable=False, default=0),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("owner", sa.String),
    sa.Column("host", sa.String),
    sa.Column("lease_until", UtcTime),
    sa.Column("pid", sa.Integer),
    sa.Column("pid_created", sa.Float),
    sa.Column("supervisor_pid", sa.Integer),
    sa.Column("supervisor_created", sa.Float),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("pause_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("submitted", UtcTime, nullable=False),
    sa.Column("started", UtcTime),
    sa.Column("ended", UtcTime),
    sa.Column("gpu", sa.Boolean, nullable=False, server_default=sa.false()),
)
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False, index=True),
    sa.Column("build_id", sa.String, nullable=False),
    sa.Column("job_id", sa.String),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("summary", sa.JSON(none_as_null=True)),
    sa.Column("created", UtcTime, nullable=False),
    sa.Column("finished", UtcTime),
    sa.Column("pruned", UtcTime),
)
promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("before", sa.Integer),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("evidence", sa.JSON(none_as_null=True)),
)
test_reads = sa.Table(
    "test_reads",
    metadata,
    sa.Column("read_id", sa.Integer, primary_key=True),
    sa.Column("run_id", sa.String, nullable=False, index=True),
    sa.Column("protocol", sa.String, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)
feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("feedback_id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String, nullable=False, unique=True),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("user", sa.String, nullable=False),
    sa.Column("item", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("value", sa.Float),
    sa.Column("slate", sa.String),
    sa.Column("rank", sa.Integer),
    sa.Column("propensity", sa.Float),
    sa.Column("run_id", sa.String),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("received", UtcTime, nullable=False),
    sa.Index("feedback_of_dataset", "dataset", "feedback_id"),
    sa.Index("feedback_of_user", "dataset", "user"),
    sqlite_autoincrement=True,  # a number is never used again, also where the newest rows were erased
)
trail = sa.Table(
    "trail",
    metadata,
    sa.Column("entry", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("act", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("before", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
roles = sa.Table(
    "roles",
    metadata,
    sa.Column("actor", sa.String, primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("granted_by", sa.String, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)
splits = sa.Table(
    "splits",
    metadata,
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.String, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("salt", sa.String, nullable=False),
    sa.Column("champion_version", sa.Integer, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
)
statements = sa.Table(
    "statements",
    metadata,
    sa.Column("statement_id", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("build_id", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("text", sa.String),
    sa.Column("salt", sa.String(64)),
    sa.Column("explained", sa.Boolean, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("rows", sa.Integer),
    sa.Column("cut", sa.Boolean, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Index("statements_of_actor", "dataset", "actor", "at"),
)
saved_statements = sa.Table(
    "saved_statements",
    metadata,
    sa.Column("saved_id", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.UniqueConstraint("dataset", "name"),
)
saved_cohorts = sa.Table(
    "saved_cohorts",
    metadata,
    *(sa.Column(c.name, c.type, primary_key=c.primary_key, nullable=False) for c in saved_statements.columns),
    sa.UniqueConstraint("dataset", "name"),
)
_SINCE_2 = (feedback, trail, roles, splits)
_SINCE_3 = (statements, saved_statements)
_SINCE_4 = (saved_cohorts,)


@dataclass(frozen=True)
class Migration:
    """One step of the schema, from `version - 1` to `version`, inside the caller's transaction."""

    version: int
    apply: Callable[[Connection], None]


def _to_2(connection: Connection) -> None:
    """Feedback, the trail, roles and splits; builds say what feedback they hold, jobs whether they want a GPU,
    promotions what spoke for them."""
    metadata.create_all(connection, tables=_SINCE_2)
    for column in (builds.c.feedback_to, jobs.c.gpu, promotions.c.evidence):
        told = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {told}")


def _to_3(connection: Connection) -> None:
    """Free SQL: what was asked, and what was saved under a name."""
    metadata.create_all(connection, tables=_SINCE_3)


def _to_4(connection: Connection) -> None:
    """Cohorts that were saved under a name."""
    metadata.create_all(connection, tables=_SINCE_4)


# A fresh ledger is created at SCHEMA_VERSION; these steps bring an older one there.
MIGRATIONS: tuple[Migration, ...] = (Migration(2, _to_2), Migration(3, _to_3), Migration(4, _to_4))
