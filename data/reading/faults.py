"""What is wrong with a file, where several readers find it."""

from pathlib import Path

from data.errors import UnreadableFile
from data.phrases import file_called, phrase


def unreachable(path: Path, error: OSError) -> UnreadableFile:
    """A file that the system does not open."""
    told = phrase("file.cannot_be_read", file=file_called(str(path)), error=error.strerror or str(error))
    return UnreadableFile(told, remedy=phrase("do.check_permissions"))


def empty_file(name: str) -> UnreadableFile:
    """A file without any text."""
    return UnreadableFile(phrase("file.empty", file=file_called(name)), remedy=phrase("do.export_rows"))


def no_parquet(name: str) -> UnreadableFile:
    """A file that should be Parquet and is not, or not whole."""
    return UnreadableFile(phrase("file.no_parquet", file=file_called(name)), remedy=phrase("do.export_parquet"))
