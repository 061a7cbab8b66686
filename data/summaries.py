"""What pages ask of all events, counted once, when a build is made."""

import numpy as np

from data.spec import DatasetSpec
from data.statements import row_of, run_statements, sql
from data.warehouse import Connection

_MONDAY = 4  # of the days since 1970-01-01 by 7


def summarise(connection: Connection, spec: DatasetSpec) -> None:
    """Count beforehand, in the attached `build`, what pages ask of all its events, and of their sessions where the spec
    has any."""
    found = row_of(
        connection,
        "SELECT (SELECT count(*) FROM build.users) AS n_users, min(epoch_us(ts)) // 3600000000 AS first_hour,"
        " max(epoch_us(ts)) // 3600000000 AS last_hour FROM build.events",
    )
    cells = cells_of_hours(found["first_hour"], found["last_hour"])
    params = {"n_users": found["n_users"], "first_hour": found["first_hour"], "cells": cells}
    run_statements(connection, sql("summaries"), params)
    if spec.sessions is not None:
        run_statements(connection, sql("sessions"), {"gap_us": round(spec.sessions.gap_minutes * 60e6)})


def cells_of_hours(first: int, last: int) -> list[int]:
    """For each hour since 1970 from `first` to `last`, the last hour until it at which a week or a month begins in some
    zone of whole hours (UTC-12 to UTC+14); `first` where there is none."""
    days = np.arange(first // 24 - 1, last // 24 + 2)
    dates = days.astype("datetime64[D]")
    begins = days[(days % 7 == _MONDAY) | (dates == dates.astype("datetime64[M]"))]
    edges = (begins[:, None] * 24 + np.arange(-14, 13)).ravel()
    hours = np.arange(first, last + 1)
    cells: list[int] = np.maximum.accumulate(np.where(np.isin(hours, edges), hours, first)).tolist()
    return cells
