"""MovieLens-100K: one set of normalised files from either source, the official zip or the mirror's wheel.

Both hold the 100,000 ratings in the same order, which is kept: it breaks the many ties in time. Zip codes are
dropped here, so they never enter a store.
"""

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from data.errors import FetchFailed

_OFFICIAL = "ml-100k/"
_MIRROR = "recbole/dataset_example/ml-100k/ml-100k."
_GENRES = [  # the order of u.genre, which is that of the flags in u.item
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *(
        "Fantasy",
        "Film-Noir",
        "Horror",
        "Musical",
        "Mystery",
        "Romance",
        "Sci-Fi",
        "Thriller",
        "War",
        "Western",
    ),
]
_ARTICLES = r"The|An|A|La|Les|Le|L'|Il|O|Das|Der|Die|Det"
_TRAILING_ARTICLE = re.compile(rf"^(.*), ({_ARTICLES})$")
_ALTERNATIVE = re.compile(r"^(.*?)\s*\((.*)\)$")
_YEAR = re.compile(r"\s*\((\d{4})\)(?:\s*\(V\))?\s*$")


def normalise(archive: Path, folder: Path) -> None:
    """Write events.tsv, items.tsv and users.tsv of either archive into `folder`. Raises FetchFailed."""
    try:
        with zipfile.ZipFile(archive) as bundle:
            names = set(bundle.namelist())
            read = _from_official if f"{_OFFICIAL}u.data" in names else _from_mirror
            events, items, users = read(lambda name: bundle.read(name))
    except (zipfile.BadZipFile, KeyError, OSError, ValueError) as error:
        raise FetchFailed(
            f"{archive.name} does not hold MovieLens-100K", remedy="remove it from the cache and fetch again"
        ) from error
    _write(folder / "events.tsv", ("user", "item", "rating", "ts"), events)
    _write(folder / "items.tsv", ("item", "title", "year", "genres"), items)
    _write(folder / "users.tsv", ("user", "age", "gender", "occupation"), users)


def natural_title(title: str) -> str:
    """A title as one says it: `Usual Suspects, The` -> `The Usual Suspects`; alternatives likewise."""
    title = " ".join(title.split())
    if found := _ALTERNATIVE.match(title):
        return f"{_article_first(found[1])} ({_article_first(found[2])})"
    return _article_first(title)


Rows = Iterable[Sequence[str]]
Read = Callable[[str], bytes]


def _from_official(read: Read) -> tuple[Rows, Rows, Rows]:
    events = [line.split("\t") for line in _lines(read(f"{_OFFICIAL}u.data"), "ascii")]
    users = [line.split("|")[:4] for line in _lines(read(f"{_OFFICIAL}u.user"), "ascii")]
    items = []
    for line in _lines(read(f"{_OFFICIAL}u.item"), "latin-1"):
        cells = line.split("|")
        genres = [name for name, flag in zip(_GENRES, cells[5:], strict=True) if flag == "1"]
        items.append(_item(cells[0], cells[1], genres))
    return events, items, users


def _from_mirror(read: Read) -> tuple[Rows, Rows, Rows]:
    events = [line.split("\t") for line in _lines(read(f"{_MIRROR}inter"), "utf-8")[1:]]
    users = [line.split("\t")[:4] for line in _lines(read(f"{_MIRROR}user"), "utf-8")[1:]]
    items = []
    for line in _lines(read(f"{_MIRROR}item"), "utf-8")[1:]:
        key, title, year, genres = line.split("\t")
        title = title if year == "V" else f"{title} ({year})"  # one film's year stands in its title there
        items.append(_item(key, title.replace("unkonwn (unkonwn)", "unknown"), genres.split()))
    return events, items, users


def _item(key: str, titled: str, genres: Iterable[str]) -> list[str]:
    """item, title with year, year, genres: `Usual Suspects, The (1995)` -> `The Usual Suspects (1995)`."""
    year = _YEAR.search(titled)
    title = natural_title(_YEAR.sub("", titled))
    known = sorted((name for name in genres if name != "unknown"), key=_GENRES.index)
    if year is None:
        return [key, title, "", "|".join(known)]
    return [key, f"{title} ({year[1]})", year[1], "|".join(known)]


def _article_first(title: str) -> str:
    found = _TRAILING_ARTICLE.match(title)
    if not found:
        return title
    return f"{found[2]}{'' if found[2].endswith(chr(39)) else ' '}{found[1]}"


def _lines(data: bytes, encoding: str) -> list[str]:
    return [line for line in data.decode(encoding).split("\n") if line]


def _write(path: Path, header: Sequence[str], rows: Rows) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
