"""The one error tree. Every error a user can meet is a `LodestarError` that carries its remedy.

    LodestarError
    |- InputError            what the caller brought cannot be used
    |  |- MissingColumn          a spec names a column that its file lacks
    |  |- UnreadableFile         a file is absent, empty, or not what its name says
    |  |- TooManyRefused         more rows cannot be used than the spec allows
    |  |- InvalidSpec            a dataset spec is malformed
    |  |- InvalidConfig          a training configuration is malformed
    |  |- CannotGuess            files whose values and names do not tell what they are
    |- NotFound              a name that nothing answers to
    |  |- UnknownUser, UnknownItem, UnknownCategory, UnknownRun, UnknownDataset, UnknownBuild, UnknownJob, UnknownSearch
    |  |- UnknownStatement, UnknownCohort, UnknownUpload
    |- StoreError            what lies in the store cannot be used
    |  |- SchemaMismatch         a build of another version; `lodestar ingest` makes it anew
    |  |- RunUnfinished          a run without a manifest: its job died or still runs
    |  |- NothingPredicted       a run from before there were behaviour heads
    |  |- DamagedArtefact        a file's hash is not its manifest's
    |  |- DiskFull               nothing was published; what stood before still stands
    |- FetchFailed           no address gave the bytes that the hash names
    |- QueryError            a statement of the SQL console gave no result
    |  |- QueryRefused           it is not one that only reads, or it asked for what the sandbox withholds
    |  |- QueryFailed            the database could not run it: a mistake in it, or too much asked at once
    |  |- QueryTimeout           it was ended because it took too long
    |  |- QueryBusy              it was not begun: as many as may run at once were running
    |- WeightsMissing        a language model that is neither here nor to be had
    |- PortInUse             another process listens there
    |- ScorerUnavailable     the scorer does not answer
    |- JobFailed             a supervised job ended without its result
    |- Conflict              someone else changed the same thing first
    |- NotAllowed            the actor's role does not allow it
    |- GateFailed            the evidence speaks against a promotion, and nobody overrode it

Edges (the command line, the pages, the HTTP face) catch `LodestarError` and nothing wider.
"""

from collections.abc import Mapping
from typing import Any, Self

from data.phrases import LANGUAGES, Phrase, Said, as_json, clauses, from_json


class LodestarError(Exception):
    """An error with a remedy; `str()` is one line, fit for a terminal or a page. Where both are phrases, `told` has
    them in the reader's language."""

    def __init__(self, message: Said, *, remedy: Said) -> None:
        super().__init__(str(message))
        self._said = (message, remedy)
        self.message = str(message)
        self.remedy = str(remedy)

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), *self._said))

    @property
    def parts(self) -> tuple[Said, Said]:
        """Message and remedy, as they were given."""
        return self._said

    @property
    def said(self) -> Phrase:
        """What `str()` says, as part of another sentence."""
        return clauses(self._said)

    def told(self, language: str) -> tuple[str, str]:
        """Message, as a sentence, and remedy in a language; in English where they are no phrases."""
        message, remedy = self._said
        return (
            message if isinstance(message, str) else message.sentence(language),
            remedy if isinstance(remedy, str) else remedy.said(language),
        )

    def advising(self, more: Said) -> Self:
        """The same error with a further remedy."""
        message, remedy = self._said
        return type(self)(message, remedy=clauses((remedy, more)))

    def as_json(self) -> dict[str, dict[str, str]]:
        """The `error` object of every command's `--json` and of the HTTP face."""
        return {"error": {"type": type(self).__name__, "message": self.message, "remedy": self.remedy}}

    def as_answer(self) -> dict[str, dict[str, Any]]:
        """What `as_json` holds, and `said`, of which `from_answer` makes the same error again."""
        return {"error": self.as_json()["error"] | {"said": as_json(self._said)}}

    def as_row(self) -> dict[str, Any]:
        """The `error` of a job's row in the ledger, whose readers do not have this object: what `as_json` holds, and
        `told`, message and remedy by language where they are said otherwise than in English."""
        others = {language: self.told(language) for language in LANGUAGES}
        told = {
            language: {"message": message, "remedy": remedy}
            for language, (message, remedy) in others.items()
            if (message, remedy) != (self.message, self.remedy)
        }
        return self.as_json()["error"] | ({"told": told} if told else {})


def from_answer(fault: Mapping[str, Any]) -> LodestarError | None:
    """The error of the `error` object of another process's answer; None where it tells of none of this tree."""
    kind = globals().get(str(fault.get("type")))
    if not (isinstance(kind, type) and issubclass(kind, LodestarError)):
        return None
    message, remedy = from_json(fault["said"]) if "said" in fault else (str(fault["message"]), str(fault["remedy"]))
    return kind(message, remedy=remedy)


def _rebuild(kind: type[LodestarError], message: Said, remedy: Said) -> LodestarError:
    return kind(message, remedy=remedy)


class InputError(LodestarError):
    """What the caller brought cannot be used."""


class MissingColumn(InputError):
    """A spec names a column that its file lacks."""


class UnreadableFile(InputError):
    """A file is absent, empty, or not what its name says."""


class TooManyRefused(InputError):
    """More rows cannot be used than the spec allows; nothing is published."""


class InvalidSpec(InputError):
    """A dataset spec is malformed."""


class InvalidConfig(InputError):
    """A training configuration is malformed."""


class CannotGuess(InputError):
    """Files whose values and names do not tell what they are."""


class NotFound(LodestarError):
    """A name that nothing answers to."""


class UnknownUser(NotFound):
    """No user has this key."""


class UnknownItem(NotFound):
    """No item has this key."""


class UnknownEvent(NotFound):
    """No event has this number, or none came of this line."""


class UnknownCategory(NotFound):
    """No item carries this category."""


class UnknownRun(NotFound):
    """No run has this id."""


class UnknownDataset(NotFound):
    """No dataset has this name."""


class UnknownBuild(NotFound):
    """No build has this id, or its file is gone."""


class UnknownJob(NotFound):
    """No job has this id."""


class UnknownSearch(NotFound):
    """No search has this id."""


class UnknownStatement(NotFound):
    """No saved statement has this id."""


class UnknownCohort(NotFound):
    """No saved cohort has this id."""


class UnknownUpload(NotFound):
    """No upload has this id: it was committed, dropped, or too old."""


class StoreError(LodestarError):
    """What lies in the store cannot be used."""


class SchemaMismatch(StoreError):
    """A build of another schema version."""


class RunUnfinished(StoreError):
    """A run without a manifest."""


class NothingPredicted(StoreError):
    """A run that holds no behaviour heads."""


class DamagedArtefact(StoreError):
    """A file's hash is not the one in its manifest."""


class DiskFull(StoreError):
    """No space left; nothing was published."""


class FetchFailed(LodestarError):
    """No address gave the bytes that the hash names."""


class QueryError(LodestarError):
    """A statement of the SQL console gave no result."""


class QueryRefused(QueryError):
    """A statement that does more than read, or that asked for what the sandbox withholds."""


class QueryFailed(QueryError):
    """The database could not run a statement."""


class QueryTimeout(QueryError):
    """A statement took too long and was ended."""


class QueryBusy(QueryError):
    """A statement was not begun, since as many as may run at once were running."""


class WeightsMissing(LodestarError):
    """A language model that is neither here nor to be had."""


class PortInUse(LodestarError):
    """Another process listens on the port."""


class ScorerUnavailable(LodestarError):
    """The scorer does not answer."""


class JobFailed(LodestarError):
    """A supervised job ended without its result."""


class Conflict(LodestarError):
    """Someone else changed the same thing first."""


class NotAllowed(LodestarError):
    """The actor's role does not allow it."""


class GateFailed(LodestarError):
    """The evidence speaks against a promotion."""
