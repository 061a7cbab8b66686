"""Both archives, in miniature: their formats are the published ones, the films and people are made up."""

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from data import movielens
from data.errors import FetchFailed
from data.ingest import ingest
from data.movielens import natural_title, normalise
from data.presets import preset
from data.warehouse import Warehouse

RATINGS = [
    ("2", "3", "5", "881250949"),
    ("1", "1", "3", "881250949"),
    ("2", "4", "1", "891717742"),
    ("1", "2", "4", "878887116"),
]
PEOPLE = [("1", "17", "M", "technician", "85711"), ("2", "55", "F", "other", "94043")]
FILMS = [
    ("1", "Usual Makers, The", "1995", ["Crime", "Film-Noir"]),
    ("2", "Été, L' (Summer, The)", "1963", ["Children's", "Sci-Fi"]),
    ("3", "unknown", "", ["unknown"]),
    ("4", "Great Giving", "V", ["Animation"]),
]


def official(path: Path) -> Path:
    films = []
    for key, title, year, genres in FILMS:
        named = {"": title, "V": f"{title} (1995) (V)"}.get(year, f"{title} ({year})")
        flags = ["1" if genre in genres else "0" for genre in movielens._GENRES]
        films.append("|".join([key, named, "01-Jan-1995" if year else "", "", "http://x", *flags]))
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("ml-100k/u.data", "".join("\t".join(row) + "\n" for row in RATINGS))
        bundle.writestr("ml-100k/u.user", "".join("|".join(row) + "\n" for row in PEOPLE))
        bundle.writestr("ml-100k/u.item", ("\n".join(films) + "\n").encode("latin-1"))
    return path


def mirror(path: Path) -> Path:
    def table(header: str, rows: list[tuple[str, ...]]) -> str:
        return "\n".join([header, *("\t".join(row) for row in rows)]) + "\n"

    films = [
        (key, f"{title} (1995)" if year == "V" else title if year else "unkonwn", year or "unkonwn", " ".join(genres))
        for key, title, year, genres in FILMS
    ]
    with zipfile.ZipFile(path, "w") as bundle:
        stem = "recbole/dataset_example/ml-100k/ml-100k."
        bundle.writestr(f"{stem}inter", table("user_id:token\titem_id:token\trating:float\ttimestamp:float", RATINGS))
        bundle.writestr(
            f"{stem}user", table("user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token", PEOPLE)
        )
        bundle.writestr(
            f"{stem}item", table("item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq", films)
        )
    return path


def test_both_archives_give_the_same_files(tmp_path: Path) -> None:
    for name, archive in (("a", official(tmp_path / "o.zip")), ("b", mirror(tmp_path / "m.whl"))):
        (tmp_path / name).mkdir()
        normalise(archive, tmp_path / name)
    for file in ("events.tsv", "items.tsv", "users.tsv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / "items.tsv").read_text(encoding="utf-8").splitlines() == [
        "item\ttitle\tyear\tgenres",
        "1\tThe Usual Makers (1995)\t1995\tCrime|Film-Noir",
        "2\tL'Été (The Summer) (1963)\t1963\tChildren's|Sci-Fi",
        "3\tunknown\t\t",
        "4\tGreat Giving (1995)\t1995\tAnimation",
    ]
    assert "85711" not in (tmp_path / "a" / "users.tsv").read_text()


def test_the_preset_ingests_them_in_the_original_order(tmp_path: Path) -> None:
    normalise(official(tmp_path / "o.zip"), tmp_path)
    now = datetime(2024, 1, 1, tzinfo=UTC)
    result = ingest(preset("movielens-100k"), base=tmp_path, home=tmp_path / "home", now=now)
    with Warehouse.open(result.path) as warehouse:
        events = warehouse.run(
            "SELECT users.key AS user, items.key AS item, value FROM events JOIN users USING (user_id)"
            " JOIN items USING (item_id) ORDER BY event_id"
        ).to_pylist()
        assert [(row["user"], row["item"], row["value"]) for row in events] == [
            (user, item, float(rating)) for user, item, rating, _ in RATINGS
        ]
        assert warehouse.run("SELECT text FROM items ORDER BY item_id")["text"].to_pylist() == [
            "The Usual Makers (1995). Crime, Film-Noir",
            "L'Été (The Summer) (1963). Children's, Sci-Fi",
            "unknown",
            "Great Giving (1995). Animation",
        ]
        assert warehouse.run("SELECT age_group, gender FROM users ORDER BY user_id").to_pylist() == [
            {"age_group": "under 18", "gender": "M"},
            {"age_group": "55+", "gender": "F"},
        ]


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("Usual Suspects, The", "The Usual Suspects"),
        ("Good, The Bad and The Ugly, The", "The Good, The Bad and The Ugly"),
        ("Kid in King Arthur's Court, A", "A Kid in King Arthur's Court"),
        ("Enfer, L'", "L'Enfer"),
        ("Horseman on the Roof, The (Hussard sur le toit, Le)", "The Horseman on the Roof (Le Hussard sur le toit)"),
        ("Bye Bye, Love", "Bye Bye, Love"),
        ("Paris, Texas", "Paris, Texas"),
        ("  Marlene   Dietrich ", "Marlene Dietrich"),
    ],
)
def test_titles_read_as_one_says_them(listed: str, said: str) -> None:
    assert natural_title(listed) == said


def test_an_archive_of_something_else_is_a_stated_error(tmp_path: Path) -> None:
    blank = io.BytesIO()
    with zipfile.ZipFile(blank, "w") as bundle:
        bundle.writestr("other.txt", "x")
    for content in (blank.getvalue(), b"no zip at all"):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(FetchFailed, match="does not hold MovieLens"):
            normalise(tmp_path / "x.zip", tmp_path)
