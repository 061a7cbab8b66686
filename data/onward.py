"""What an older build of a data set leaves to read: sources of events that it has not, and those that have changed.

A source is known by its name and by its bytes. One of another name with the same bytes was only renamed; one of the
same name with other bytes was corrected, and takes the place of what the build has of it, unless those bytes are there
under another name, or its new ones were, as where logs are rotated. A source that is gone stays in the build: whoever
brings a file a day need not keep them all. It stays under its name, with the first digits of its hash behind where
another file has taken the name.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data import reads
from data.cleaning import reasons_of
from data.errors import Conflict, InvalidSpec
from data.making import Materials
from data.onto import Onto
from data.phrases import file_called, phrase
from data.quality import quality_of
from data.quarantine import SCHEMA
from data.reading.places import digests_of, lists_of, sources_of
from data.reading.staging import Source
from data.spec import DatasetSpec
from data.warehouse import Warehouse, verify_build

_FREE = frozenset(
    {"files", "most_refused", "encoding", "delimiter"}
)  # of a section: what may differ from build to build


def onward(path: Path, spec: DatasetSpec, base: Path, feedback: pa.Table | None, *, quarantine: Path) -> Materials:
    """What a build that goes on from the one at `path` is made of. quarantine: that one's refused rows.

    Raises InvalidSpec (the events come from a database, or the spec reads files otherwise than the build did, or either
    has cleaning rules), Conflict
    (a corrected source had rows that others were duplicates of, or were superseded by), and what `verify_build` does.
    """
    verify_build(path)
    if spec.events.database is not None:
        raise InvalidSpec(phrase("onward.database"), remedy=phrase("do.ingest_whole"))
    sources = sources_of(spec.events, base)
    digests = digests_of(sources)
    with Warehouse.open(path) as warehouse:
        before = warehouse.facts.spec
        _refuse_other(spec, before)
        _refuse_rules(spec, before)
        files = reads.files(warehouse).to_pylist()
    fresh, replaced, renamed = _unread(sources, digests, files)
    refused = pq.read_table(quarantine).cast(SCHEMA)
    if replaced and (n := _came_again_elsewhere(refused, replaced)):
        raise Conflict(phrase("onward.came_again", file=file_called(replaced[0]), n=n), remedy=phrase("do.ingest_anew"))
    quality, lists = quality_of(path), lists_of(spec, base)
    onto = Onto(
        path,
        refused,
        max((one["place"] + one["staged"] for one in files), default=0),
        tuple(replaced),
        renamed,
        order={source.name: place for place, source in enumerate(sources)},
        alike=spec == before and not renamed and lists is not None and lists == quality.get("lists"),
        ts_unit=quality.get("ts_unit"),
    )
    return Materials(spec, base, fresh, digests, feedback, onto)


def _unread(
    sources: Sequence[Source], digests: dict[str, str], files: Sequence[dict[str, Any]]
) -> tuple[list[Source], list[str], dict[str, str]]:
    """The sources that have to be read; the names of those among them that the build has otherwise; and what names
    that it has are now."""
    known = {one["source"]: one["sha256"] for one in files if one["sha256"] is not None}
    others = [source for source in sources if known.get(source.name) != digests[source.name]]
    kept = {source.name for source in sources} - {source.name for source in others}
    gone = {name: sha256 for name, sha256 in known.items() if name not in kept}
    fresh, renamed = list[Source](), dict[str, str]()
    for source in others:
        same = [name for name, sha256 in gone.items() if sha256 == digests[source.name]]
        if same:
            renamed[same[0]] = source.name
            del gone[same[0]]
        else:
            fresh.append(source)
    taken = [name for name in renamed.values() if name in known and name not in renamed]
    renamed |= {name: f"{name} ({known[name][:8]})" for name in taken}
    replaced = [source.name for source in fresh if source.name in known and source.name not in renamed]
    return fresh, replaced, renamed


def _refuse_other(spec: DatasetSpec, before: DatasetSpec) -> None:
    """Raise InvalidSpec where a row would be read otherwise than the build read it."""
    if spec.name != before.name:
        raise InvalidSpec(
            phrase("onward.other_dataset", before=before.name, now=spec.name), remedy=phrase("do.name_spec")
        )
    now, then = _reading(spec), _reading(before)
    for name in now:
        if now[name] != then[name]:
            raise InvalidSpec(
                phrase("onward.other_setting", section=name.partition(".")[0], name=name),
                remedy=phrase("do.ingest_anew"),
            )


def _refuse_rules(*specs: DatasetSpec) -> None:
    """Raise InvalidSpec where a cleaning rule is on, or was: who has too many events, or too few, is told by all of
    them, also by those that the older build does without."""
    if any(reasons_of(spec) for spec in specs):
        raise InvalidSpec(phrase("onward.rules"), remedy=phrase("do.ingest_anew"))


def _reading(spec: DatasetSpec) -> dict[str, Any]:
    """What decides how rows are read, by its name in the spec."""
    found: dict[str, Any] = {"kinds": spec.kinds, "derive": spec.derive}
    for name, section in (("events", spec.events), ("items", spec.items), ("users", spec.users)):
        told = {} if section is None else section.model_dump()
        found |= {f"{name}.{key}": value for key, value in told.items() if key not in _FREE}
        found[name] = section is not None and section.named
    return found


def _came_again_elsewhere(refused: pa.Table, replaced: Sequence[str]) -> int:
    again = pc.is_in(refused["reason"], pa.array(["duplicate", "superseded"]))
    twice = pc.and_(again, pc.equal(refused["table"], "events"))
    elsewhere = pc.invert(pc.is_in(refused["source"], pa.array(replaced, pa.string())))
    return pc.sum(pc.and_(twice, elsewhere)).as_py() or 0
