"""Checks a report: that the file agrees with itself, loads nothing, and says what its run says.

Three rings, each wider than the last:

1. *The file alone.* Its data have the sha256 it states; rendering them again gives the very page, and where it does
not, each `<data>` element is compared with the value it names; nothing in it is fetched from elsewhere or can run. 2.
*The run's artefacts*, when the store has the run: its files are those of its manifest, the manifest is the one the
report names, and every figure is the artefact's. 3. *The per-user table*: means and intervals are computed anew with
the run's seed, groups and gaps by the audit itself.

This module loads Fairlearn; only the command line and tests import it.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from core.learn.sequences import histories_from
from core.learn.splits import split_histories
from core.ops.builds import build_of
from core.ops.ledger import LEDGER_FILE, Ledger
from core.ops.runs import MANIFEST, finished_run, run_folder
from core.predict.effects import KNOWN, LANGUAGE_EFFECTS
from core.predict.intervals import bootstrap_mean, paired_gap
from core.trust.fairness import ACTIVITY, audit
from dashboard.reports import canonical, digest, look_up, report_html, users_digest, written
from dashboard.words import Words
from data import reads
from data.errors import LodestarError, UnreadableFile
from data.finite import finite
from data.publish import sha256_of, verify_manifest
from data.warehouse import Warehouse

TOLERANCE: Final = 1e-9
_LOADING = {
    "src",
    "srcset",
    "href",
    "xlink:href",
    "action",
    "formaction",
    "poster",
    "data",
    "background",
    "ping",
    "manifest",
}
_EMBEDDING = {"iframe", "object", "embed", "applet", "form", "base", "link", "audio", "video", "img", "source", "frame"}
_CUT = re.compile(r"(\w+)@(\d+)")


@dataclass
class VerifyResult:
    """What was checked and what was found. `ok` means no finding; `complete` that the run itself was at hand."""

    path: str
    run_id: str | None = None
    complete: bool = False
    checked: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """The command's JSON."""
        return {"ok": self.ok, **vars(self)}


def verify(path: Path, home: Path, *, address: str | None = None) -> VerifyResult:
    """Checks the report at `path`, against the store at `home` (its ledger at `address`, where it is not inside) where
    that has the run.

    Raises UnreadableFile for a file that is absent or no report of Lodestar; everything else is a finding.
    """
    try:
        html = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"cannot read {path}", remedy="name a report made by `lodestar report`") from error
    page = _Page()
    page.feed(html)
    if page.payload is None:
        raise UnreadableFile(f"{path} carries no data of a report", remedy="name a report made by `lodestar report`")
    result = VerifyResult(str(path))
    result.findings += page.remote
    try:
        payload = json.loads(page.payload)
        result.run_id = str(payload["provenance"]["run_id"])
        _check_file(html, page, payload, result)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        result.findings.append(f"its data are not those of a report: {type(error).__name__} {error}")
        return result
    _check_store(payload, home, address, result)
    return result


class _Page(HTMLParser):
    """Collects from a report: its payload, its `<data>` elements, and whatever would be fetched or run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.payload: str | None = None
        self.stated_sha256 = ""
        self.numbers: list[tuple[dict[str, str], str]] = []
        self.remote: list[str] = []
        self._open: tuple[dict[str, str], list[str]] | None = None
        self._in: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag == "script" and known.get("id") == "lodestar" and known.get("type") == "application/json":
            self.payload, self._in, self.stated_sha256 = "", "payload", known.get("data-sha256", "")
            return
        self.remote += _reaching_out(tag, known)
        if tag == "style":
            self._in = "style"
        if tag == "data":
            self._open = (known, [])

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._in = None
        if tag == "data" and self._open is not None:
            self.numbers.append((self._open[0], "".join(self._open[1])))
            self._open = None

    def handle_data(self, data: str) -> None:
        if self._in == "payload":
            self.payload = (self.payload or "") + data
        elif self._in == "style":
            self.remote += _loaded_by_css(data)
        elif self._open is not None:
            self._open[1].append(data)


def _reaching_out(tag: str, attributes: Mapping[str, str]) -> list[str]:
    """What a tag would fetch or run."""
    found = []
    if tag == "script":
        found.append("it holds a script that would run")
    elif tag in _EMBEDDING:
        found.append(f"it holds <{tag}>, which loads or embeds something: {_shown(attributes)}")
    elif tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
        found.append(f"it sends its reader elsewhere: {_shown(attributes)}")
    for name, value in attributes.items():
        if name.startswith("on"):
            found.append(f"<{tag}> runs code in {name}")
        elif name in _LOADING and not value.startswith(("#", "data:")):
            found.append(f"<{tag}> loads {value!r}")
        elif name == "style":
            found += _loaded_by_css(value)
    return found


def _loaded_by_css(css: str) -> list[str]:
    targets = re.findall(r"url\(\s*['\"]?([^'\")]*)", css, re.IGNORECASE)
    found = [f"its style loads {target[:80]!r}" for target in targets if not target.startswith(("data:", "#"))]
    return found + (["its style imports another"] if re.search(r"@import", css, re.IGNORECASE) else [])


def _shown(attributes: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value[:80]!r}" for name, value in attributes.items()) or "without attributes"


def _check_file(html: str, page: _Page, payload: Mapping[str, Any], result: VerifyResult) -> None:
    """Ring one: hash, numbers, and the page as a whole."""
    if digest(canonical(payload)) != page.stated_sha256:
        result.findings.append("the data in the file do not have the sha256 that it states")
    t = Words(str(payload["language"]))
    before = len(result.findings)
    for known, said in page.numbers:
        result.checked += 1
        value = look_up(payload, known.get("data-path", ""))
        right = written(value, known.get("data-kind", "m"), t)
        exact = "" if value is None else repr(value)
        if said != right or known.get("value", "") != exact:
            result.findings.append(f"{known.get('data-path')}: the page says {said}, its data {right}")
    if html != report_html(payload) and len(result.findings) == before:
        if payload["provenance"].get("version") == version("lodestar"):
            result.findings.append("the page is not what its data render to: some of its text was changed")
        else:
            result.notes.append("another version of Lodestar rendered the page; its numbers were compared one by one")


def _check_store(payload: Mapping[str, Any], home: Path, address: str | None, result: VerifyResult) -> None:
    """Rings two and three; without the run at hand, a note that they were left out."""
    if address is None and not (home / LEDGER_FILE).is_file():
        result.notes.append(f"no store at {home}: checked the file alone, not its run")
        return
    with Ledger.open(address or home, home=home) as ledger:
        try:
            run = finished_run(ledger, home, str(result.run_id))
            build = build_of(ledger, run.build_id)
        except LodestarError as error:
            result.notes.append(f"checked the file alone, not its run: {error.message}")
            return
    folder = run_folder(home, run.run_id)
    result.complete = True
    try:
        verify_manifest(folder)
    except LodestarError as error:
        result.findings.append(error.message)
    if sha256_of(folder / MANIFEST) != payload["provenance"]["manifest_sha256"]:
        result.findings.append("the run's manifest is not the one that the report names")
    users = pq.read_table(folder / "users.parquet").to_pandas()
    if users_digest(users) != payload["provenance"]["users_sha256"]:
        result.findings.append("the run's per-user metrics are not those that the report names")
    for name, file in (("evaluation", "evaluation.json"), ("audit", "audit.json"), ("lift", "judges/lift.json")):
        stored = json.loads((folder / file).read_text(encoding="utf-8")) if (folder / file).is_file() else None
        _same(payload.get(name), stored, name, result)
    _recompute(payload["evaluation"], users, result)
    if build.path.is_file():
        with Warehouse.open(build.path) as warehouse:
            anew, facts = _audit_anew(payload, users, warehouse), warehouse.facts
        _same(payload["audit"], anew, "audit", result, how="computed anew")
        told = {name: value for name, value in facts.as_dict().items() if name != "spec"}
        _same(payload["facts"], told, "facts", result)
    else:
        result.notes.append(
            f"build {run.build_id} is gone: groups were compared with the run's audit, not computed anew"
        )


def _audit_anew(payload: Mapping[str, Any], users: pd.DataFrame, warehouse: Warehouse) -> dict[str, Any]:
    """The run's audit from its per-user table and the build; with activity, where the run looked at it."""
    facts, activity = warehouse.facts, None
    if any(group["attribute"] == ACTIVITY for group in payload["audit"]["groups"]):
        kinds = tuple(reads.kind_counts(warehouse)["kind"].to_pylist())
        protocol = payload["evaluation"]["protocol"]
        split = split_histories(histories_from(reads.histories(warehouse), kinds), facts.spec.task, protocol)
        activity = pd.Series(split.train.lengths)
    people, seed = reads.user_table(warehouse).to_pandas(), int(payload["evaluation"]["seed"])
    return audit(users, people, attributes=list(facts.spec.sensitive), seed=seed, activity=activity).as_json()


def _recompute(evaluation: Mapping[str, Any], users: pd.DataFrame, result: VerifyResult) -> None:
    """Every mean and interval that the per-user table can give, against the report's."""
    seed = int(evaluation["seed"])
    told = {"evaluation/metrics": ("", evaluation["metrics"])}
    for name, metrics in (evaluation.get("components") or {}).items():
        told[f"evaluation/components/{name}"] = (f"{name}:", metrics)
    for place, (prefix, metrics) in told.items():
        for metric, measure in metrics.items():
            values = _per_user(users, prefix, metric)
            if values is None or "low" not in measure:
                continue
            _same(measure, dict(bootstrap_mean(values, seed=seed)), f"{place}/{metric}", result, how="computed anew")
    effects = evaluation.get("language_model") or {}
    if effects and f"{KNOWN}:ndcg@10" not in users:
        result.notes.append("the run keeps no per-user figures of what its language model adds: not computed anew")
    for effect, other in LANGUAGE_EFFECTS.items():
        for metric, gain in (effects.get(effect) or {}).items():
            own, without = _per_user(users, f"{KNOWN}:", metric), _per_user(users, f"{other}:", metric)
            if own is None or without is None:
                continue
            place = f"evaluation/language_model/{effect}/{metric}"
            _same(gain, dict(paired_gap(own, without, seed=seed)), place, result, how="computed anew")


def _per_user(users: pd.DataFrame, prefix: str, metric: str) -> np.ndarray | None:
    """A metric of each user: its column, or what the best target's rank says of it; None where neither does.

    HR and MRR follow from the best rank always, NDCG where each user has one target.
    """
    column = f"{prefix}{metric}"
    if column in users:
        return users[column].to_numpy(dtype=float)
    cut = _CUT.fullmatch(metric)
    rank_column = f"{prefix}rank"
    if cut is None or rank_column not in users:
        return None
    rank, k = users[rank_column].to_numpy(dtype=float), int(cut.group(2))
    gains = {"hr": np.ones_like(rank), "mrr": 1 / rank, "ndcg": 1 / np.log2(1 + rank)}
    single = np.allclose(users[f"{prefix}ndcg@10"], np.where(rank <= 10, gains["ndcg"], 0.0))
    if cut.group(1) not in gains or (cut.group(1) == "ndcg" and not single):
        return None
    return np.where(rank <= k, gains[cut.group(1)], 0.0)


def _same(told: Any, stored: Any, place: str, result: VerifyResult, *, how: str = "in the run") -> None:
    """Compares two trees of JSON values; each number that differs is a finding with its place."""
    for where, a, b in _pairs(told, stored, place):
        result.checked += 1
        if isinstance(a, int | float) and isinstance(b, int | float) and not isinstance(a, bool):
            if not math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                result.findings.append(f"{where}: the report says {a!r}, {how} it is {b!r}")
        elif a != b:
            result.findings.append(f"{where}: the report says {a!r}, {how} it is {b!r}")


def _pairs(a: Any, b: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in sorted({*a, *b}):
            yield from _pairs(a.get(name), b.get(name), f"{place}/{name}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from _pairs(left, right, f"{place}/{index}")
    else:
        yield place, finite(a), finite(b)
