"""The page Bring: from files to a build, and what is told where it cannot be."""

import io
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest

from core.ops import intake, jobs, roles
from core.ops.builds import builds
from core.ops.claims import claim
from core.ops.ledger import Ledger, utc_now
from core.ops.processes import Process, started_at
from core.ops.worker import work
from dashboard import trying
from dashboard.desk import actor
from dashboard.words import Words
from data import uploads
from data.errors import LodestarError
from data.rehearsal import rehearse
from data.spec import CleanSection, SessionsSection, parse_spec
from data.uploads import Limits, Upload
from tests.dashboard.opening import Opened

LIMITS = Limits(most_bytes=10_000_000, most_unpacked=10_000_000, kept_for=timedelta(days=7))
EN, ZH = Words("en"), Words("zh")
BEACON = "![x](http://203.0.113.9/b.png)"


@pytest.fixture
def opened(browse: Opened, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens the page and then its address; the supervisor is the test's business."""
    monkeypatch.setattr(trying, "ensure_supervisor", lambda *_: 1)

    def open_page(home: Path, page: str = "bring", **address: str) -> AppTest:
        test = browse(home, page, scored=False)
        test.query_params.update(address)
        return test.run() if address else test

    return open_page


def events(n: int = 200, *, bad: int = 0) -> bytes:
    times = ["2025-13-40T10:00:00Z" if bad and i % bad == 0 else f"2025-01-{i % 28 + 1:02}T10:00:00Z" for i in range(n)]
    rows = [f"c{i % 20},g{(i * 7 + i // 20) % 30},{time},{i % 5 + 1}" for i, time in enumerate(times)]
    return ("customer,sku,at,stars\n" + "\n".join(rows) + "\n").encode()


GOODS = (
    "sku,name,tags\n" + "\n".join(f"g{i},Thing {i} {BEACON},{'a|b' if i % 2 else 'b'}" for i in range(30))
).encode()


def bring(home: Path, *files: tuple[str, bytes]) -> Upload:
    with Ledger.open(home) as ledger:
        incoming: list[tuple[str, Any]] = [(name, io.BytesIO(data)) for name, data in files]
        return intake.receive(ledger, home, incoming, limits=LIMITS, by=actor(), now=utc_now())


@pytest.mark.parametrize("header", ["customer,sku,at,stars,,", "customer,sku,at,stars,sku,sku [5]"])
def test_columns_without_names_or_of_one_name_are_shown(opened: Opened, tmp_path: Path, header: str) -> None:
    rows = events().decode().splitlines()[1:]
    one = bring(tmp_path, ("log.csv", "\n".join([header, *(f"{row},," for row in rows)]).encode()))
    test = opened(tmp_path, upload=one.upload_id)
    assert not test.exception and "How should log" in test.title[0].value


def said(test: AppTest) -> str:
    kinds = (test.title, test.markdown, test.caption, test.error, test.warning)
    return "\n".join(str(one.value) for kind in kinds for one in kind)


def worked(home: Path) -> str:
    """The state of the job in line after a worker has run it in this process; its parent stands for the supervisor."""
    parent = os.getppid()
    supervisor = Process(host=Process.current().host, pid=parent, started=started_at(parent) or 0.0)
    with Ledger.open(home) as ledger:
        claimed = claim(ledger, supervisor=supervisor, lease_s=600, now=utc_now())
        assert claimed is not None
        body = partial(intake.ingest_job, threads=1, say=lambda _: None)
        with suppress(LodestarError):  # it is in the job's row, which is what is looked at
            work(ledger, home, claimed.job_id, {intake.KIND: body})
        return jobs.status(ledger, claimed.job_id).state


def test_an_empty_store_offers_the_way_in(opened: Opened, tmp_path: Path) -> None:
    test = opened(tmp_path, "datasets")
    assert not test.exception and test.title[0].value == EN("empty.title")
    test.switch_page("views/bring.py").run()
    assert not test.exception and test.title[0].value == EN("bring.title")
    assert test.button(key="bring-keep").disabled
    assert "Parquet" in said(test)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_from_an_upload_to_a_build(opened: Opened, tmp_path: Path, language: str) -> None:
    t = Words(language)
    one = bring(tmp_path, ("clicks.csv", events(bad=40)), ("goods.csv", GOODS))
    test = opened(tmp_path, upload=one.upload_id, lang=language)
    assert not test.exception and not test.error
    assert test.selectbox(key=f"map-{one.upload_id}-events.user").value == "customer"
    assert test.selectbox(key=f"map-{one.upload_id}-items.title").value == "name"
    assert {"en": "different values in", "zh": "个不同取值"}[language] in said(test), "the guess's reasons"
    assert [button.key for button in test.button if button.proto.type == "primary"] == ["bring-try"]
    test.button(key="bring-try").click().run()
    assert not test.exception and not test.error
    assert t("bring.outcome_whole", n=200) in said(test)
    assert t.name("reason", "unreadable-time") in said(test)
    refused = next(frame.value for frame in test.dataframe if "reason" in frame.value.columns)
    assert len(refused) == 5 and refused["line"].tolist()[0] == 2
    assert uploads.upload(tmp_path, one.upload_id).draft is not None
    with Ledger.open(tmp_path) as ledger:
        assert builds(ledger) == [] and jobs.jobs(ledger) == []
    test.button(key="bring-commit").click().run()
    assert not test.exception and not test.error
    assert test.title[0].value == t("bring.title_active", dataset="clicks")
    assert worked(tmp_path) == "succeeded"
    test.run()
    assert not test.exception and not test.error
    with Ledger.open(tmp_path) as ledger:
        (row,) = builds(ledger)
    assert row.build_id.removeprefix("b-") in test.title[0].value and row.facts["accepted"] == 195
    assert uploads.uploads(tmp_path) == []
    test.switch_page("views/datasets.py").run()
    assert "clicks" in test.title[0].value
    test = opened(tmp_path, upload=one.upload_id, lang=language)  # a link to it still tells what came of it
    assert not test.exception and not test.error


def test_a_chinese_reader_has_the_reasons_in_chinese(opened: Opened, tmp_path: Path) -> None:
    goods = "sku,name,tags,price\n" + "\n".join(f"g{i},Thing {i},{'a|b' if i % 2 else 'b'},dear" for i in range(30))
    one = bring(tmp_path, ("clicks.csv", events()), ("goods.csv", goods.encode()), ("empty.csv", b"a,b\n"))
    test = opened(tmp_path, upload=one.upload_id, lang="zh")
    assert not test.exception
    task = test.selectbox(key=f"map-{one.upload_id}-dataset.task")
    guessed = task.value
    task.set_value("next-any" if guessed != "next-any" else "next-new").run()
    assert f"推测值为“{ZH(f'task.{guessed}')}”：" in said(test)
    assert "“empty.csv”只有表头，没有数据" in test.warning[0].value.replace("\\", "")
    assert "“price”像是价格，但“dear”不是数" in test.warning[0].value
    notes = [*test.caption, *test.warning]
    lines = [line for note in notes for line in str(note.value).splitlines() if line.startswith(("推测", "- "))]
    helps = [note.proto.help for note in test.caption if note.proto.help]
    assert len(lines) > 8 and helps
    for line in (*lines, *helps):
        own = re.sub("“[^”]*”", "", line.replace("\\", ""))
        assert not re.search("[A-Za-z]", own.replace("ISO 8601", "")), line


@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_that_comes_from_files_is_read_as_markdown(opened: Opened, tmp_path: Path, language: str) -> None:
    head = f"customer,sku,at,{BEACON}\n"
    rows = "\n".join(f"c{i % 9}{BEACON},g{i % 11},2025-01-{i % 28 + 1:02},:red[x]{i % 3}" for i in range(120))
    one = bring(tmp_path, (f"{BEACON}.csv", (head + rows).encode()), ("goods.csv", GOODS))
    test = opened(tmp_path, upload=one.upload_id, lang=language)
    test.button(key="bring-try").click().run()
    assert not test.exception
    reader = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    assert "<img" not in reader.render(said(test)) and "203.0.113.9/b.png)" not in said(test)
    labels = [box.label for box in (*test.button, *test.selectbox, *test.multiselect, *test.expander)]
    assert not any("![" in label for label in labels)


@pytest.mark.parametrize(
    "data", [b"customer,sku,at\n", b"one\nx\ny\n", b"\xff\xfe\xfa,\xe9\n\xe9,\xe8\n", b"a,b\n1,2\n"]
)
def test_what_cannot_be_guessed_is_said_and_can_be_chosen_by_hand(opened: Opened, tmp_path: Path, data: bytes) -> None:
    one = bring(tmp_path, ("odd.csv", data))
    test = opened(tmp_path, upload=one.upload_id)
    assert not test.exception
    assert EN("bring.no_guess") in said(test)
    assert not [button for button in test.button if button.key == "bring-commit"]
    test = opened(tmp_path, upload=one.upload_id, lang="zh")
    assert ZH("bring.no_guess") in said(test) and "请提供" in said(test)
    assert "bring" not in said(test) and "encoding" not in said(test)


def test_a_file_that_cannot_be_read_is_told_once(opened: Opened, tmp_path: Path) -> None:
    titled = events().replace(b"customer", "Käufer".encode("latin-1"))
    one = bring(tmp_path, ("clicks.csv", titled))
    test = opened(tmp_path, upload=one.upload_id)
    assert not test.exception
    assert said(test).count("which encoding it is in cannot be told") == 1
    assert EN("bring.faults", n=3) not in said(test)
    test.selectbox(key=f"map-{one.upload_id}-events.encoding").set_value("cp1252").run()
    assert not test.exception and "cannot be told" not in said(test)
    assert test.selectbox(key=f"map-{one.upload_id}-events.user").options


def test_a_fault_stands_at_its_field_and_keeps_the_try_away(opened: Opened, tmp_path: Path) -> None:
    one = bring(tmp_path, ("clicks.csv", events()))
    test = opened(tmp_path, upload=one.upload_id)
    test.text_input(key=f"map-{one.upload_id}-dataset.name").set_value("not a name").run()
    assert EN("mapping_fault.dataset_name") in said(test)
    assert not [button for button in test.button if button.key == "bring-try"]
    test.text_input(key=f"map-{one.upload_id}-dataset.name").set_value("clicks").run()
    assert EN("mapping_fault.dataset_name") not in said(test)
    test.button(key="bring-try").click().run()
    assert [button.key for button in test.button if button.key == "bring-commit"]
    test.selectbox(key=f"map-{one.upload_id}-events.value").set_value(None).run()
    assert not [button for button in test.button if button.key == "bring-commit"], "another spec was tried"


def test_columns_that_are_swapped_are_told_by_the_try(opened: Opened, tmp_path: Path) -> None:
    one = bring(tmp_path, ("clicks.csv", events()), ("goods.csv", GOODS))
    test = opened(tmp_path, upload=one.upload_id)
    test.selectbox(key=f"map-{one.upload_id}-events.user").set_value("sku")
    test.selectbox(key=f"map-{one.upload_id}-events.item").set_value("customer").run()
    test.button(key="bring-try").click().run()
    assert not test.exception and "swapped" in test.error[0].value
    assert not [button for button in test.button if button.key == "bring-commit"]


def test_too_many_refused_rows_stop_it_before_and_in_the_job(opened: Opened, tmp_path: Path) -> None:
    one = bring(tmp_path, ("clicks.csv", events(1200, bad=3)))
    test = opened(tmp_path, upload=one.upload_id)
    test.button(key="bring-try").click().run()
    assert not test.exception and "400 of 1,200 rows cannot be used" in test.error[0].value
    assert test.button(key="bring-commit").disabled
    with Ledger.open(tmp_path) as ledger:  # whoever orders it all the same
        text = one.draft
        assert text is not None
        intake.submit_upload(ledger, tmp_path, one.upload_id, text, by=actor(), now=utc_now())
    assert worked(tmp_path) == "failed"
    test.run()
    assert not test.exception and f"### {EN('bring.stopped_by')}" in said(test)
    shown = max((frame.value for frame in test.dataframe if "reason" in frame.value.columns), key=len)
    assert isinstance(shown, pd.DataFrame) and len(shown) == 400
    told = opened(tmp_path, upload=one.upload_id, lang="zh").error[0].value
    assert "1,200 行中有 400 行无法使用" in told and "时间无法识别 400 行" in told and " rows" not in told
    test.number_input(key=f"map-{one.upload_id}-events.most_refused").set_value(40.0).run()
    test.button(key="bring-try").click().run()
    test.button(key="bring-commit").click().run()
    assert worked(tmp_path) == "succeeded"


def test_an_upload_that_is_gone_is_told(opened: Opened, tmp_path: Path) -> None:
    for name in ("u-00000000", "../../etc"):
        test = opened(tmp_path, upload=name)
        assert not test.exception and "There is no upload" in test.error[0].value


def test_an_upload_waits_and_can_be_dropped(opened: Opened, tmp_path: Path) -> None:
    one = bring(tmp_path, ("clicks.csv", events()))
    test = opened(tmp_path)
    assert "clicks" in said(test)
    test.button(key=f"open-{one.upload_id}").click().run()
    assert "How should" in test.title[0].value
    test.button(key="bring-back").click().run()
    test.button(key=f"drop-{one.upload_id}").click().run()
    assert not test.exception and uploads.uploads(tmp_path) == []
    assert EN("bring.waiting") not in said(test)


def test_a_spec_on_this_machine_is_run_as_it_is(opened: Opened, tmp_path: Path) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "clicks.csv").write_bytes(events())
    (specs / "shop.toml").write_text(
        '[dataset]\nname = "shop"\n[events]\nfiles = "clicks.csv"\nuser = "customer"\nitem = "sku"\nts = "at"\n'
    )
    test = opened(tmp_path, spec="shop.toml")
    assert not test.exception and "shop" in test.title[0].value
    test.button(key="bring-try").click().run()
    test.button(key="bring-commit").click().run()
    assert not test.exception and not test.error
    assert worked(tmp_path) == "succeeded"
    test.run()
    assert not test.exception and not test.error
    assert f"lodestar ingest {specs / 'shop.toml'}" in [block.value for block in test.code]
    (specs / "more.csv").write_bytes(events())
    text = (specs / "shop.toml").read_text().replace('"clicks.csv"', '["clicks.csv", "more.csv"]')
    (specs / "shop.toml").write_text(text)
    for unchanged in (False, True):
        again = opened(tmp_path, spec="shop.toml")
        again.button(key="bring-try").click().run()
        again.checkbox[0].check().run()
        again.button(key="bring-commit").click().run()
        assert not again.exception and worked(tmp_path) == "succeeded"
        again.run()
        assert not again.exception and not again.error
        assert (EN("bring.unchanged") in said(again)) == unchanged
    with Ledger.open(tmp_path) as ledger:
        assert len(builds(ledger)) == 2
    other = opened(tmp_path, spec="../../secret.toml")
    assert not other.exception and "There is no" in other.error[0].value


def test_a_full_disk_is_told_in_words(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    one = bring(tmp_path, ("clicks.csv", events()))
    test = opened(tmp_path, upload=one.upload_id)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("data.rehearsal._cut", full)
    test.button(key="bring-try").click().run()
    assert not test.exception and "No space left" in test.error[0].value


def test_only_operators_bring(opened: Opened, tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        roles.grant(ledger, "root-admin", "admin", by="root-admin", now=utc_now())
        roles.grant(ledger, actor(), "analyst", by="root-admin", now=utc_now())
    test = opened(tmp_path)
    assert not test.exception and "may not ingest" in test.error[0].value
    assert not test.button


def test_the_next_build_is_set_beside_the_one_before(
    opened: Opened, new_store: Callable[..., Any], tmp_path: Path
) -> None:
    made = new_store()
    base = next(path.parent for path in tmp_path.rglob("spec.toml"))
    specs = made.home / "specs"
    shutil.copytree(base, specs)
    text = (specs / "events.csv").read_text().replace("not a time", "2025-05-05")
    (specs / "events.csv").write_text(text + "newcomer,i1,2025-05-06,4\n")
    with Ledger.open(made.home) as ledger:
        seen = intake.digest_of((specs / "spec.toml").read_text())
        intake.submit_named(ledger, specs, "spec.toml", seen=seen, by=actor(), now=utc_now())
    assert worked(made.home) == "succeeded"
    test = opened(made.home, "datasets", dataset="tiny")
    assert not test.exception and not test.error
    came = next(frame.value for frame in test.dataframe if "gone" in frame.value.columns).set_index("what")
    assert came.loc["Users", "added"] == 1 and came.loc["Events", "added"] == 2 and came.loc["Events", "gone"] == 0
    assert EN("came.nothing") in said(test)


def rules_of(test: AppTest, one: Upload, name: str) -> Any:
    return test.number_input(key=f"map-{one.upload_id}-{name}")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_cleaning_rules_are_set_in_the_form_and_their_work_is_shown(
    opened: Opened, tmp_path: Path, language: str
) -> None:
    t = Words(language)
    rare = b"".join(b"once%d,g1,2025-01-05T10:00:00Z,3\n" % n for n in range(9))
    one = bring(tmp_path, ("clicks.csv", events(bad=40) + rare))
    test = opened(tmp_path, upload=one.upload_id, lang=language)
    assert not test.exception and rules_of(test, one, "clean.least_events_per_user").value is None
    rules_of(test, one, "clean.core_rounds").set_value(2).run()
    assert t("mapping_fault.clean_core_rounds") in said(test)
    assert not [button for button in test.button if button.key == "bring-try"]
    rules_of(test, one, "clean.core_rounds").set_value(None)
    rules_of(test, one, "clean.least_events_per_user").set_value(2)
    rules_of(test, one, "clean.repeats_within").set_value(2.5)
    rules_of(test, one, "sessions.gap_minutes").set_value(45.0).run()
    test.button(key="bring-try").click().run()
    assert not test.exception and not test.error
    removed = next(frame.value for frame in test.dataframe if "rule" in frame.value.columns)
    assert removed["rule"].tolist() == [t.name("reason", "clean-repeat"), t.name("reason", "clean-k-core")]
    assert removed[["events", "users", "items"]].to_numpy().tolist() == [[0, 0, 0], [9, 9, 0]]
    assert removed["example"].tolist()[1] == "clicks.csv:202  once0,g1,2025-01-05T10:00:00Z,3"
    assert t("cleaned.says") in said(test) and "--preview" not in said(test), "all of it was tried"
    spec = parse_spec(uploads.upload(tmp_path, one.upload_id).draft or "")
    assert spec.clean == CleanSection(repeats_within=2.5, least_events_per_user=2)
    assert spec.sessions == SessionsSection(gap_minutes=45)
    test.button(key="bring-commit").click().run()
    assert worked(tmp_path) == "succeeded"
    test.run()
    assert not test.exception
    with Ledger.open(tmp_path) as ledger:
        (row,) = builds(ledger)
    assert row.facts["cleaned"] == {"clean-k-core": 9} and row.facts["accepted"] == 195
    again = next(frame.value for frame in test.dataframe if "rule" in frame.value.columns)
    assert again[["reason", "events", "users", "items"]].equals(removed[["reason", "events", "users", "items"]])
    test.switch_page("views/datasets.py").run()
    assert [frame for frame in test.dataframe if "rule" in frame.value.columns]


def test_what_rules_do_to_a_part_is_said_to_be_of_a_part_and_stops_nothing(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.rehearsal.rehearse.__kwdefaults__", {**rehearse.__kwdefaults__, "rows": 50})
    one = bring(tmp_path, ("clicks.csv", events()))
    test = opened(tmp_path, upload=one.upload_id)
    rules_of(test, one, "clean.least_events_per_item").set_value(2).run()
    test.button(key="bring-try").click().run()
    assert not test.exception and EN.md("cleaned.part", n=50) in said(test)
    rules_of(test, one, "clean.least_events_per_item").set_value(None)
    rules_of(test, one, "clean.least_events_per_user").set_value(10).run()
    test.button(key="bring-try").click().run()
    assert "leave none of 50 rows" in test.error[0].value
    assert not test.button(key="bring-commit").disabled, "of all rows each user has ten"
    test.button(key="bring-commit").click().run()
    assert worked(tmp_path) == "succeeded"


def test_rules_that_leave_nothing_of_the_whole_cannot_be_committed(opened: Opened, tmp_path: Path) -> None:
    one = bring(tmp_path, ("clicks.csv", events()))
    test = opened(tmp_path, upload=one.upload_id)
    rules_of(test, one, "clean.least_events_per_user").set_value(11).run()
    test.button(key="bring-try").click().run()
    assert "leave none of 200 rows" in test.error[0].value and test.button(key="bring-commit").disabled


def test_a_draft_brings_its_rules_back(opened: Opened, tmp_path: Path) -> None:
    one = bring(tmp_path, ("clicks.csv", events()))
    test = opened(tmp_path, upload=one.upload_id)
    rules_of(test, one, "clean.most_events_per_user").set_value(7)
    test.text_input(key=f"map-{one.upload_id}-clean.drop_kinds").set_value("cart, view2, cart").run()
    test.button(key="bring-try").click().run()
    assert not test.exception
    test = opened(tmp_path, upload=one.upload_id)
    assert rules_of(test, one, "clean.most_events_per_user").value == 7
    assert test.text_input(key=f"map-{one.upload_id}-clean.drop_kinds").value == "cart, view2"
    assert rules_of(test, one, "clean.most_events_per_item").value is None


@pytest.mark.parametrize("name", ["clean.most_events_per_user", "events.most_refused", "positive.min_value"])
def test_a_number_that_is_emptied_is_none(opened: Opened, tmp_path: Path, name: str) -> None:
    one = bring(tmp_path, ("clicks.csv", events()))
    test = opened(tmp_path, upload=one.upload_id)
    before = test.code[0].value
    rules_of(test, one, name).set_value(3).run()
    assert test.code[0].value != before
    rules_of(test, one, name).set_value(None).run()
    if name == "positive.min_value":  # which the guess may have filled in
        assert "[positive]" not in test.code[0].value
    else:
        assert test.code[0].value == before
