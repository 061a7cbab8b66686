"""Everyone's slates, handed on in the caller's keys."""

import csv
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.ops.builds import current_build
from core.ops.feedback import Feedback, append
from core.ops.ledger import Ledger
from core.ops.runs import run_folder
from core.predict.recommend import SCORES
from dashboard.measuring import export_slates
from data.errors import InputError


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_an_export_holds_the_first_ranks_of_every_part_in_the_callers_keys(
    new_store: Callable[..., Any], tmp_path: Path, ending: str
) -> None:
    store = new_store()
    path = run_folder(store.home, store.run_id) / "scores.parquet"
    parts = [
        [(0, 3, 1, 0.9, 0.5, "model"), (0, 5, 2, 0.5, 0.2, "cold")],
        [(7, 4, 1, 0.8, 0.4, "model"), (9, 0, 1, 0.7, 0.3, "fallback"), (9, 1, 2, 0.1, 0.1, "model")],
    ]
    with pq.ParquetWriter(path, SCORES) as file:
        for rows in parts:
            columns = [
                pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), SCORES.types, strict=True)
            ]
            file.write_table(pa.table(columns, schema=SCORES))
    out = tmp_path / f"slates{ending}"
    with Ledger.open(store.home) as ledger:
        assert export_slates(ledger, store.home, store.run_id, out, k=1) == 3
        with pytest.raises(InputError):
            export_slates(ledger, store.home, store.run_id, out, k=3)
    if ending == ".csv":
        with out.open(newline="", encoding="utf-8") as written:
            told = list(csv.DictReader(written))
    else:
        told = pq.read_table(out).to_pylist()
    assert [(row["user"], row["item"], int(row["rank"]), row["source"]) for row in told] == [
        ("u0", "i3", 1, "model"),
        ("u7", "i4", 1, "model"),
        ("u9", "i0", 1, "fallback"),
    ]
    assert told[0]["title"] == store.titles["i3"]


def test_what_a_user_waved_away_is_not_exported_and_the_others_close_up(
    new_store: Callable[..., Any], tmp_path: Path
) -> None:
    store = new_store()
    rows = [(0, 3, 1, 0.9, 0.5, "model"), (0, 5, 2, 0.5, 0.2, "model"), (0, 1, 3, 0.4, 0.1, "model")]
    rows += [(7, 3, 1, 0.8, 0.4, "model"), (7, 4, 2, 0.8, 0.4, "model"), (7, 0, 3, 0.8, 0.4, "model")]
    with pq.ParquetWriter(run_folder(store.home, store.run_id) / "scores.parquet", SCORES) as file:
        for some in (rows[:2], rows[2:]):  # a user's rows may lie in two parts
            columns = [pa.array(c, kind) for c, kind in zip(zip(*some, strict=True), SCORES.types, strict=True)]
            file.write_table(pa.table(columns, schema=SCORES))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    acts = [Feedback("u0", "i3", "dismissal", at), Feedback("u7", "i4", "dismissal", at)]
    acts += [Feedback("u7", "i4", "favourite", at + timedelta(days=1)), Feedback("nobody", "i3", "dismissal", at)]
    out = tmp_path / "slates.parquet"
    with Ledger.open(store.home) as ledger:
        dataset = current_build(ledger).dataset
        append(ledger, dataset, acts, now=at + timedelta(days=2))
        assert export_slates(ledger, store.home, store.run_id, out, k=2) == 4
    told = [(row["user"], row["item"], row["rank"]) for row in pq.read_table(out).to_pylist()]
    assert told == [("u0", "i5", 1), ("u0", "i1", 2), ("u7", "i3", 1), ("u7", "i4", 2)]


def test_a_run_that_ranked_nobody_exports_nothing(new_store: Callable[..., Any], tmp_path: Path) -> None:
    store = new_store()
    pq.write_table(SCORES.empty_table(), run_folder(store.home, store.run_id) / "scores.parquet")
    with Ledger.open(store.home) as ledger:
        assert export_slates(ledger, store.home, store.run_id, tmp_path / "none.csv", k=1) == 0
    assert (tmp_path / "none.csv").read_text().startswith("user,item,title,rank")
