"""Text files as they come: what kind, which dialect, and every record of them with its line.

`shape_of` tells in one pass whether a file is *plain* (a record a line, nothing quoted); `exact_rows` reads any
other, and never lets one stray quote swallow what follows.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.errors import MissingColumn, UnreadableFile
from data.phrases import file_called, listed, phrase, quoted
from data.reading.faults import empty_file, unreachable

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]
Marks = tuple[tuple[int, int], ...]
MAX_LINE_BYTES = 2_000_000
MAX_LINES_IN_QUOTES = 50  # a quoted value may hold line ends, but an unclosed quote must not eat the file
RAW_CHARACTERS = 2_000  # of a refused record, kept for a person to see
_CHUNK_BYTES = 1 << 18  # so much stays in the processor's cache
_FOREIGN = {  # first bytes -> what the file is, as phrases call it
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"%PDF": "pdf",
    b"SQLite format 3": "sqlite",
    b"\xd0\xcf\x11\xe0": "old_spreadsheet",
    b"7z\xbc\xaf": "sevenz",
    b"Rar!": "rar",
    b"ARROW1": "arrow",
    b"Obj\x01": "avro",
    b"ORC": "orc",
}
_TAR = (257, b"ustar")  # where its mark stands


@dataclass(frozen=True)
class Reject:
    """One record that could not be split into the header's columns; `line` counts from 1, the header's."""

    line: int
    reason: str
    raw: str


def first_bytes(path: Path, *, name: str) -> bytes:
    """The first megabyte of a text file that people know as `name`. Raises UnreadableFile for what surely holds no
    rows."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1 << 20)
    except OSError as error:
        raise unreachable(path, error) from error
    if not head.strip():
        raise empty_file(name)
    refuse_foreign(head, name=name)
    return head


def refuse_foreign(head: bytes, *, name: str) -> None:
    """Raise UnreadableFile for the first bytes of what is no text of rows, though perhaps a kind that holds some."""
    found = [what for magic, what in _FOREIGN.items() if head.startswith(magic)]
    found += ["tar"] if head.startswith(_TAR[1], _TAR[0]) else []
    if found:
        raise UnreadableFile(
            phrase("file.foreign", file=file_called(name), what=phrase(f"foreign.{found[0]}")),
            remedy=phrase("do.bring_rows"),
        )
    if head.lstrip().startswith((b"[{", b"[\n", b"[\r")):
        raise UnreadableFile(phrase("file.json_array", file=file_called(name)), remedy=phrase("do.json_lines"))


def header_of(name: str, head: bytes, wanted: Sequence[str], *, delimiter: str | None = None) -> tuple[list[str], str]:
    """Column names and delimiter of a text file that people know as `name`; the delimiter that is given, or else the
    one that makes most of the first line. Raises UnreadableFile, and MissingColumn of those wanted."""
    line = head.split(b"\n", 1)[0].removesuffix(b"\r")
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFile(
            phrase("file.other_encoding", file=file_called(name)), remedy=phrase("do.save_again")
        ) from error
    if "\0" in text or "\r" in text or not text.strip():
        raise UnreadableFile(phrase("file.no_header", file=file_called(name)), remedy=phrase("do.save_line_feeds"))
    tabbed = {".tsv", ".tab"} & {suffix.lower() for suffix in Path(name).suffixes}
    headers = {mark: _split_header(text, mark) for mark in delimiter or ("\t" if tabbed else ",\t;|")}
    delimiter = max(headers, key=lambda mark: (set(wanted) <= set(headers[mark]), len(headers[mark])))
    header = headers[delimiter]
    check_columns(name, header, wanted)
    return header, delimiter


def _split_header(text: str, delimiter: str) -> list[str]:
    return [name.strip() for name in _cells(text, delimiter)]


def _cells(text: str, delimiter: str, *, strict: bool = False) -> list[str]:
    """The cells of one record. Raises csv.Error where `strict` and its quotes are wrong."""
    csv.field_size_limit(MAX_LINE_BYTES * (MAX_LINES_IN_QUOTES + 1))  # Python's own is 128 kB, lines' is larger
    return next(csv.reader([text], delimiter=delimiter, strict=strict), [])


def check_columns(source: str, header: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise MissingColumn, or UnreadableFile where a wanted name stands twice."""
    for name in wanted:
        if name not in header:
            there = listed((quoted(one) for one in header), most=20)
            raise MissingColumn(
                phrase("file.no_column", file=file_called(source), name=quoted(name), there=there),
                remedy=phrase("do.name_column"),
            )
    doubled = [name for name in wanted if header.count(name) > 1]
    if doubled:
        raise UnreadableFile(
            phrase("file.column_twice", file=file_called(source), name=quoted(doubled[0])),
            remedy=phrase("do.rename_column"),
        )


@dataclass(frozen=True)
class Shape:
    """What one pass over a text file tells. marks: places in it, a chunk apart, where lines begin, and their
    numbers."""

    plain: bool  # one record a line, and a reader that counts as many sees it alike
    newline: str
    records: int  # lines below the header, when plain
    quoted: bool = False
    marks: Marks = field(default=(), compare=False)


def shape_of(path: Path, *, delimiter: str, columns: int) -> Shape:
    """One pass over the bytes: quotes, line ends, blank lines, lines with a cell too many that is empty.

    A file with quotes is plain as well where each stands at the edge of a cell or doubled inside one, and every line
    closes what it opens: all readers see such cells alike. An empty cell too many makes a file not plain: DuckDB would
    not tell it.
    """
    mark = delimiter.encode()
    seen, marks = _Seen(), [(0, 1)]
    rest = b""  # of the line that the chunk before ended in
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            end = chunk.rfind(b"\n") + 1
            if end:
                seen.look(rest + chunk[:end], mark, columns=columns)
                marks.append((stream.tell() - len(chunk) + end, seen.feeds + 1))
                rest = b""
            rest += chunk[end:]
            if len(rest) > MAX_LINE_BYTES:  # it is refused whatever it holds
                seen.odd, rest = seen.odd + 1, b""
    unended = 1 if rest else 0
    if rest:
        seen.look(rest + b"\n", mark, columns=columns)
    alike = seen.returns == 0 or seen.returns == seen.pairs == seen.feeds - unended
    plain, newline = seen.odd == 0 and seen.blanks == 0 and alike, "\\r\\n" if seen.returns else "\\n"
    return Shape(plain, newline, seen.feeds - 1, seen.quoted, tuple(marks))


def marks_of(path: Path) -> Marks:
    """Places in a text file, about a chunk apart, where lines begin, and their numbers."""
    marks = [(0, 1)]
    with path.open("rb") as stream:
        while part := stream.read(_CHUNK_BYTES) + stream.readline():
            marks.append((stream.tell(), marks[-1][1] + part.count(b"\n")))
    return tuple(marks)


@dataclass
class _Seen:
    """What whole lines hold: line feeds, carriage returns, those of them that end a line, blank lines, oddities."""

    feeds: int = 0
    returns: int = 0
    pairs: int = 0
    blanks: int = 0
    odd: int = 0
    quoted: bool = False

    def look(self, lines: bytes, mark: bytes, *, columns: int) -> None:
        """Count what `lines` hold, the last of which ends."""
        text = np.frombuffer(lines, dtype=np.uint8)
        ends = np.flatnonzero(text == ord("\n"))
        lengths = np.diff(ends, prepend=-1) - 1
        before = text[ends - 1]  # of a line that is empty: no part of it
        returns = lines.count(b"\r")
        ended = (before == ord("\r")) & (lengths > 0) if returns else np.zeros(len(ends), dtype=np.bool_)
        quoted = b'"' in lines
        self.feeds, self.returns, self.pairs = (
            self.feeds + len(ends),
            self.returns + returns,
            self.pairs + int(ended.sum()),
        )
        self.blanks += int((lengths - ended == 0).sum())
        self.quoted |= quoted
        last = np.where(ended, text[ends - 2], before) if returns else before
        trailing = bool((last == mark[0]).any())
        trailing |= quoted and any(mark + end in lines for end in (b'""\n', b'""\r\n'))
        if quoted or trailing:
            self.odd += _oddities(text, ends, mark, columns=columns, quoted=quoted, trailing=trailing)


def _oddities(text: Bytes, ends: Places, mark: bytes, *, columns: int, quoted: bool, trailing: bool) -> int:
    """Of whole lines: quotes that do not stand at a cell's edge, lines that leave one open, and, where some line
    ends in an empty cell, lines with a cell too many."""
    delimits = text == mark[0]
    found, inside = 0, np.zeros(len(text), dtype=np.bool_)
    if quoted:
        quote = text == ord('"')
        inside = (np.cumsum(quote, dtype=np.uint8) & 1).astype(np.bool_)  # after each byte; overflow keeps parity
        edge = quote | delimits
        edge[ends] = True
        opens, closes = np.flatnonzero(quote & inside), np.flatnonzero(quote & ~inside)
        before = edge[opens - 1] | (opens == 0)
        follows = np.minimum(closes + 1, len(text) - 1)
        after = edge[follows] | (text[follows] == ord("\r"))
        found += int((~before).sum()) + int((~after).sum()) + int(inside[ends].sum())
    if trailing:
        so_far = np.cumsum(delimits & ~inside, dtype=np.int32)[ends]
        found += int((np.diff(so_far, prepend=0) >= columns).sum())
    return found


def exact_rows(
    stream: Iterable[bytes], *, columns: int, delimiter: str, rejects: list[Reject]
) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each record below the header; what cannot be split goes to `rejects`.

    Blank lines are no records. A quoted value may run over several lines; when it does not close within
    MAX_LINES_IN_QUOTES, or closes badly, only its first line is rejected and reading goes on with the next. What is
    wrong with one line of several is wrong with the record.
    """
    waiting: list[bytes] = []  # lines looked at in vain, to be read again
    source = iter(stream)
    next(source, None)
    number = 1
    while True:
        line = waiting.pop(0) if waiting else next(source, None)
        if line is None:
            return
        number += 1
        text = line.rstrip(b"\r\n").decode("utf-8", errors="replace")
        if not text:
            continue
        if (fault := _fault(line)) is not None:
            rejects.append(Reject(number, fault, shown(text)))
            continue
        if '"' not in text:
            cells: list[str] | None = text.split(delimiter)
            taken = 0
        else:
            cells, taken = _quoted(text, delimiter, columns, waiting, source)
        fault = next(filter(None, map(_fault, waiting[:taken])), None)
        if cells is None or fault is not None:
            reason = fault if fault is not None and cells is not None else "bad-quotes"
            rejects.append(Reject(number, reason, shown(text)))
            for after, line in enumerate(waiting[:taken], start=number + 1):
                if line.strip():
                    rejects.append(Reject(after, reason, shown(line.decode("utf-8", errors="replace"))))
        elif len(cells) != columns:
            rejects.append(Reject(number, "ragged-row", shown(text)))
        else:
            yield number, cells
        del waiting[:taken]
        number += taken


def _fault(line: bytes) -> str | None:
    if len(line) > MAX_LINE_BYTES:
        return "line-too-long"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "bad-encoding"
    return None


def _quoted(
    text: str, delimiter: str, columns: int, waiting: list[bytes], source: Iterator[bytes]
) -> tuple[list[str] | None, int]:
    """Cells of a record with quotes, and how many of the `waiting` lines after it belong to it.

    Cells are None when its quotes are wrong, or never close; then no further line belongs to it. Where a quote that
    was left open and closed by a later one would read the same, nobody can tell: all its lines are refused.
    """
    taken = 0
    while True:
        try:
            cells = _cells(text, delimiter, strict=True)
        except csv.Error as error:
            if "unexpected end of data" not in str(error) or taken == MAX_LINES_IN_QUOTES:
                return None, 0
        else:
            if taken and len(cells) != columns:
                return None, 0
            return (None if taken and _in_doubt(text, delimiter, columns) else cells), taken
        if taken == len(waiting):
            following = next(source, None)
            if following is None:
                return None, 0
            waiting.append(following)
        text += "\n" + waiting[taken].rstrip(b"\r\n").decode("utf-8", errors="replace")
        taken += 1


def _in_doubt(text: str, delimiter: str, columns: int) -> bool:
    """Whether the lines of one record look like records of their own, which a quote left open took along: each after
    the first has as many delimiters as a record. The last of a record whose first cell was quoted has so many anyway.
    """
    first, *others = text.split("\n")
    if len(_cells(first, delimiter)) == 1:
        others.pop()
    return bool(others) and all(line.count(delimiter) == columns - 1 for line in others)


def shown(text: str) -> str:
    """A record as a quarantine shows it."""
    return text.strip("\r\n")[:RAW_CHARACTERS]
