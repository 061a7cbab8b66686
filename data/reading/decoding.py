"""From a file as it comes to lines of UTF-8: decompressed and transcoded, every line keeping its number.

What is plain UTF-8 is read where it lies. Anything else is written once into a folder of the ingest, so that every
reader after this one sees the same kind of file. Bytes that the encoding does not know become a byte that UTF-8 does
not know either: their line is refused there like any other that is no text, and no other line moves. What an encoding
is guessed from is told; where a guess could be wrong without anyone noticing, the caller is asked to say it.
"""

import codecs
import gzip
import re
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from charset_normalizer import from_bytes

from data.errors import UnreadableFile
from data.phrases import Phrase, file_called, phrase
from data.reading.faults import unreachable
from data.reading.textfile import refuse_foreign

SAMPLE_BYTES = 1 << 20  # that an encoding is guessed from
MOST_TIMES = 1_000  # that a file may grow when it is decompressed, once it is over MOST_FREE
MOST_FREE = 1 << 30
_CHUNK_BYTES = 1 << 22
_BINARY_BYTES = 1 << 13
_UNKNOWN = "\udcff"  # encodes (surrogateescape) as the byte FF, which no UTF-8 text holds
_OPENERS: dict[bytes, tuple[str, Callable[[Path], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.GzipFile),
    b"\x28\xb5\x2f\xfd": ("zstd", lambda path: pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")),
    b"BZh": ("bzip2", lambda path: pa.CompressedInputStream(pa.OSFile(str(path)), "bz2")),
}
_BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CHINESE = frozenset({"gb18030", "gbk", "gb2312", "hz"})  # all of which GB18030 reads
_CHINESE_HEADER = re.compile(
    "编号|时间|日期|用户|客户|会员|名称|类型|类别|分类|价格|金额|数量|成绩|评分|学号|订单|商品|产品|行为|代码|操作"
)
_CANDIDATES = ["gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254"]
_ERRORS = (EOFError, OSError, zlib.error, pa.ArrowInvalid)


@dataclass(frozen=True)
class Decoded:
    """A file of UTF-8 lines at `text`, and what was done to come there: the compression (None), and the encoding with
    why it was taken."""

    text: Path
    compression: str | None
    encoding: str
    why: Phrase

    @property
    def said(self) -> Phrase:
        """All of it but the place."""
        told = phrase("read.as", encoding=self.encoding, why=self.why)
        return phrase("read.unpacked", read=told, compression=self.compression) if self.compression else told


def decode(path: Path, *, into: Path, encoding: str | None = None) -> Decoded:
    """The lines of `path`, which is left as it is; a copy, where one is needed, lies in the folder `into`.

    encoding: what the caller says it is, one that Python knows. Raises UnreadableFile: no such file, a stream cut off
    or damaged, one that grows beyond belief, an encoding that cannot be told.
    """
    compression = compression_of(path)
    head = _head(path, compression)
    refuse_foreign(head, name=path.name)
    found, why = (
        guessed_encoding(path, head) if encoding is None else (codecs.lookup(encoding).name, phrase("read.spec"))
    )
    if compression is None and found == "utf-8":
        return Decoded(path, None, found, why)
    target = into / f"{uuid.uuid4().hex}.txt"
    with target.open("wb") as stream:
        for text in _texts(path, compression, found):
            stream.write(text)
    return Decoded(target, compression, found, why)


def decode_head(path: Path, *, into: Path, lines: int, most_bytes: int, encoding: str | None = None) -> bool:
    """Write the first lines of a file as UTF-8 to `into`, at most so many bytes of them; whether that is all of it.
    Raises what `decode` does."""
    compression = compression_of(path)
    head = _head(path, compression)
    refuse_foreign(head, name=path.name)
    found = guessed_encoding(path, head)[0] if encoding is None else codecs.lookup(encoding).name
    left, room = lines, most_bytes
    texts = _texts(path, compression, found)
    with into.open("wb") as out:
        for text in texts:
            taken = text
            if taken.count(b"\n") >= left:
                taken = b"".join(line + b"\n" for line in taken.split(b"\n", left)[:left])
            left -= taken.count(b"\n")
            if len(taken) > room:
                taken = taken[: taken.rfind(b"\n", 0, room) + 1]
                left = 0
            room -= len(taken)
            out.write(taken)
            if len(taken) < len(text):
                return False
            if left <= 0:
                return not any(texts)
    return True


def unpacked_bytes(path: Path, compression: str | None, *, most: int) -> tuple[int, bytes]:
    """How many bytes a file has when it is decompressed, and the first of them. Nothing is written, and not more than
    `most` are unpacked. Raises UnreadableFile beyond that, or for a stream that is damaged."""
    size, begins = 0, b""
    with _opened(path, compression) as stream:
        while True:
            with _damage_told(path):
                chunk = stream.read(_CHUNK_BYTES)
            if not chunk:
                return size, begins
            size, begins = size + len(chunk), begins or chunk[:SAMPLE_BYTES]
            if size > most:
                raise UnreadableFile(
                    phrase("file.unpacks_beyond", file=file_called(path.name), mb=most / 1e6),
                    remedy=phrase("do.fewer_rows"),
                )


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its ending or first bytes."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PAR1"
    except OSError:
        return False  # told by whoever reads it next


def is_binary(head: bytes) -> bool:
    """Whether the first bytes of a file hold what no text does: a NUL that is not half of a wide character."""
    begins = head[:_BINARY_BYTES]
    return b"\0" in begins and _wide(begins) is None and not begins.startswith(tuple(_BOMS))


def compression_of(path: Path) -> str | None:
    """gzip, zstd or bzip2 by the first bytes; None for all else. Raises UnreadableFile."""
    with _opened(path, None) as stream:
        first = stream.read(8)
    return next((name for magic, (name, _) in _OPENERS.items() if first.startswith(magic)), None)


def guessed_encoding(path: Path, head: bytes) -> tuple[str, Phrase]:
    """The encoding of a file by its first bytes, and why. Raises UnreadableFile where it cannot be told.

    UTF-8 where half of the lines with other than ASCII characters are: those that are not are refused one by one. Else
    GB18030 is taken when they read as Chinese in it, of a header alone when a word is in it that such headers have;
    another encoding has to be said.
    """
    for mark, name in _BOMS.items():
        if head.startswith(mark):
            return name, phrase("read.mark")
    if (wide := _wide(head)) is not None:
        return wide, phrase("read.wide")
    whole = head if len(head) < SAMPLE_BYTES else head[: head.rfind(b"\n") + 1]
    lines = [line for line in whole.split(b"\n") if not line.isascii()]
    if not lines:
        return "utf-8", phrase("read.ascii" if len(head) < SAMPLE_BYTES else "read.begins_ascii")
    if 2 * sum(_reads(line, "utf-8") for line in lines) >= len(lines):
        return "utf-8", phrase("read.lines")
    sound = [line for line in lines if _reads(line, "gb18030")]
    if len(sound) > 1 and 2 * len(sound) >= len(lines) and _likely(sound) in _CHINESE:
        return "gb18030", phrase("read.chinese", n=len(sound))
    if sound == [whole.partition(b"\n")[0]] and (word := _CHINESE_HEADER.search(sound[0].decode("gb18030"))):
        return "gb18030", phrase("read.header", word=word[0])
    raise UnreadableFile(phrase("file.encoding_unknown", file=file_called(path.name)), remedy=phrase("do.say_encoding"))


def _likely(lines: list[bytes]) -> str | None:
    best = from_bytes(b"\n".join(lines), cp_isolation=_CANDIDATES).best()
    return None if best is None else best.encoding


def _reads(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _wide(head: bytes) -> str | None:
    """UTF-16 without a mark: of a text in it, nearly every second byte of the ASCII characters is 0."""
    sample = head[: len(head) // 2 * 2]
    if len(sample) < 4:
        return None
    even, odd = (sample[start::2].count(0) / (len(sample) // 2) for start in (0, 1))
    if odd > 0.5 > 0.05 > even:
        return "utf-16-le"
    return "utf-16-be" if even > 0.5 > 0.05 > odd else None


def _head(path: Path, compression: str | None) -> bytes:
    with _opened(path, compression) as stream, _damage_told(path):
        return stream.read(SAMPLE_BYTES)


def _texts(path: Path, compression: str | None, encoding: str) -> Iterator[bytes]:
    """UTF-8 of the whole file, some megabytes at a time; decompressed bytes pass as they are where they are UTF-8."""
    most = max(MOST_FREE, MOST_TIMES * path.stat().st_size)
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)(errors="replace")
    seen = 0
    with _opened(path, compression) as stream:
        while True:
            with _damage_told(path):
                chunk = stream.read(_CHUNK_BYTES)
            seen += len(chunk)
            if seen > most:
                raise UnreadableFile(
                    phrase("file.unpacks_times", file=file_called(path.name), times=MOST_TIMES),
                    remedy=phrase("do.decompress"),
                )
            if decoder is None:
                yield chunk
            else:
                text = decoder.decode(chunk, final=not chunk).removeprefix("\ufeff" if seen == len(chunk) else "")
                yield text.replace("\ufffd", _UNKNOWN).encode("utf-8", errors="surrogateescape")
            if not chunk:
                return


def _opened(path: Path, compression: str | None) -> "closing[IO[bytes]]":
    try:
        if compression is None:
            return closing(path.open("rb"))
        return closing(next(opener for name, opener in _OPENERS.values() if name == compression)(path))
    except OSError as error:
        raise unreachable(path, error) from error


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turns what decompressors raise on damaged bytes into UnreadableFile."""
    try:
        yield
    except _ERRORS as error:
        raise UnreadableFile(
            phrase("file.damaged", file=file_called(path.name), error=str(error)), remedy=phrase("do.copy_again")
        ) from error
