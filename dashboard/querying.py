"""What the SQL page knows without drawing: examples that a build can answer, which columns of a result make a figure,
and the results that are still at hand.

Results are kept by the process, not by the reader's session, and only so many bytes of them: however many sessions ask,
the web's memory stays flat. Whoever comes back to a result that had to go runs the statement again.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dashboard.tables import legible
from data.free_sql.sandbox import Answer, Branch

KEPT_BYTES = 64 * 2**20
COUNTS = "sensitive_"  # how tables of counts begin, which stand behind those of rows
CELL_CHARACTERS = 500  # of a text on the page; the files hold it whole
MOST_POINTS = {"line": 2_000, "bar": 40, "scatter": 2_000}
KINDS = tuple(MOST_POINTS)
_IDS = ("id", "key")
_EXAMPLES = {
    "kinds": """SELECT kind, count(*) AS events, count(DISTINCT user_id) AS users
FROM events
GROUP BY kind
ORDER BY events DESC""",
    "months": """SELECT date_trunc('month', ts) AS month, count(*) AS events, count(DISTINCT user_id) AS users
FROM events
WHERE kind = {kind}
GROUP BY month
ORDER BY month""",
    "items": """SELECT title, count(*) AS events, count(DISTINCT user_id) AS users
FROM events JOIN items USING (item_id)
GROUP BY item_id, title
ORDER BY events DESC
LIMIT 20""",
    "categories": """SELECT category, count(*) AS events, avg(value) AS mean_value
FROM (SELECT item_id, unnest(categories) AS category FROM items)
JOIN events USING (item_id)
GROUP BY category
ORDER BY events DESC""",
    "activity": """SELECT events, count(*) AS users
FROM (SELECT count(*) AS events FROM events GROUP BY user_id)
GROUP BY events
ORDER BY events""",
    "both": """SELECT first AS did_one, other AS did_other, count(*) AS users
FROM (
  SELECT bool_or(kind = {kind}) AS first, bool_or(kind = {other}) AS other
  FROM events
  GROUP BY user_id
)
GROUP BY ALL
ORDER BY users DESC""",
    "attribute": """SELECT {attribute}, count(DISTINCT user_id) AS users, count(event_id) AS events
FROM users LEFT JOIN events USING (user_id)
GROUP BY ALL
ORDER BY users DESC""",
    "groups": """SELECT attribute, group_name, users_rounded
FROM sensitive_totals
ORDER BY attribute, users_rounded DESC""",
}

FIRST = _EXAMPLES["kinds"]  # what the editor holds before anything was written


class Results:
    """The latest results by their statement's id, at most so many bytes of them together; safe for all threads."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most, self._held, self._lock = most_bytes, OrderedDict[str, Answer](), threading.Lock()

    def put(self, statement_id: str, answer: Answer) -> None:
        """Keeps an answer; the oldest ones make room for it."""
        with self._lock:
            self._held[statement_id] = answer
            while len(self._held) > 1 and sum(one.table.nbytes for one in self._held.values()) > self._most:
                self._held.popitem(last=False)

    def get(self, statement_id: str) -> Answer | None:
        """The answer of a statement; None where it had to go."""
        with self._lock:
            return self._held.get(statement_id)


@dataclass(frozen=True)
class Example:
    """A statement to begin with; `name` is its key in the catalogue's `sql_example`."""

    name: str
    text: str


@dataclass(frozen=True)
class Axes:
    """Which columns of a result a figure may take, and which it takes unless told otherwise."""

    x: list[str]
    y: list[str]
    kind: str
    first_x: str
    first_y: str


def examples(tree: Sequence[Branch], kinds: Mapping[str, int]) -> list[Example]:
    """What a snapshot with these tables, of a build with these kinds of events, answers; the kinds by number."""
    tables = {branch.table: branch for branch in tree}
    often = sorted(kinds, key=lambda kind: kinds[kind], reverse=True)
    attributes = [name for name in tables["users"].columns if name not in ("user_id", "key")]
    there = {
        "months": bool(often),
        "both": len(often) > 1,
        "attribute": bool(attributes),
        "groups": tables["sensitive_totals"].n_rows > 0,
    }
    told = {
        "kind": _text(often[0]) if often else "",
        "other": _text(often[1]) if len(often) > 1 else "",
        "attribute": _name(attributes[0]) if attributes else "",
    }
    return [Example(name, text.format(**told)) for name, text in _EXAMPLES.items() if there.get(name, True)]


def axes(table: pa.Table) -> Axes | None:
    """What a figure of a result may be of: a line over moments, bars of names, points of two measures; points, too, of
    few rows whose moments or names repeat. None for what no figure helps: less than two rows, no measure (an id is
    none), many single rows.
    """
    plain = legible(table)
    columns = dict(zip(plain.column_names, plain.columns, strict=True))
    numbers = [name for name, column in columns.items() if _is_number(column.type) and len(_finite(column))]
    measures = [name for name in numbers if not _is_id(name)]
    if not measures:
        return None
    moments = [name for name, column in columns.items() if pa.types.is_temporal(column.type)]
    texts = [name for name, column in columns.items() if pa.types.is_string(column.type)]
    across = [*moments, *texts, *(name for name in columns if name not in (*moments, *texts))]
    different = {x: pc.count_distinct(columns[x], mode="only_valid").as_py() for x in (*moments, *texts, *measures)}
    texts.sort(key=lambda x: different[x] < table.num_rows)  # one that names each row, before others
    for x in (*moments, *texts, *measures):
        others = [name for name in measures if name != x]
        distinct = different[x]
        if not others or distinct < 2:
            continue
        if x in measures:
            rises = len(_finite(columns[x])) == table.num_rows and bool((np.diff(_finite(columns[x])) > 0).all())
            kind = "line" if rises else "scatter"
        elif distinct == table.num_rows:
            kind = "line" if x in moments else "bar"
        elif table.num_rows <= MOST_POINTS["scatter"]:
            kind = "scatter"
        else:
            continue
        rest = [name for name in numbers if name not in measures]
        return Axes(across, [*measures, *rest], kind, x, others[0])
    return None


def points(table: pa.Table, x: str, y: str, kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(x, y) of the rows that a figure draws, and of all that it could: y is a finite float, x not null. Drawn are only
    the first MOST_POINTS of them, in their order; a line goes through moments and numbers in theirs."""
    plain = legible(table.select([x, y] if x != y else [x]))
    heights = plain[y].cast(pa.float64()).to_pandas().to_numpy(dtype=float, na_value=math.nan)
    across = plain[x]
    if pa.types.is_date(across.type):
        across = across.cast(pa.timestamp("s"))
    if pa.types.is_boolean(across.type):
        across = across.cast(pa.string())
    data = pd.DataFrame({"x": across.to_pandas(), "y": heights})
    drawn = data[np.isfinite(data["y"]) & data["x"].notna()]
    if pd.api.types.is_float_dtype(drawn["x"]):
        drawn = drawn[np.isfinite(drawn["x"])]
    first = drawn.head(MOST_POINTS[kind])
    if kind == "line" and not pd.api.types.is_string_dtype(first["x"]):
        first = first.sort_values("x", kind="stable")
    return first.reset_index(drop=True), drawn


def first_line(text: str, *, limit: int = 90) -> str:
    """A statement on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _finite(column: pa.ChunkedArray) -> np.ndarray:
    values = column.cast(pa.float64()).to_pandas().to_numpy(dtype=float, na_value=math.nan)
    return values[np.isfinite(values)]


def _is_id(name: str) -> bool:
    return name.lower() in _IDS or name.lower().endswith(tuple(f"_{end}" for end in _IDS))


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
