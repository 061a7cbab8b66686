"""Every page, through the frame, on an empty store and on a small real one, in both languages."""

import json
import shlex
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from markdown_it import MarkdownIt
from streamlit.testing.v1 import AppTest

from core.learn.config import PRESETS, TrainConfig, load_config
from core.ops import feedback, jobs, registry, roles, runs, traffic
from core.ops.builds import current_build, record_build
from core.ops.feedback import Feedback
from core.ops.ledger import Ledger
from core.ops.searches import BEST, TOLD, search_folder
from core.preflight import Size
from core.trust.outcomes import Outcomes, outcomes
from dashboard import charts, desk, queueing, searching, slate, training
from dashboard.words import Words, escape
from data import reads
from data.errors import NothingPredicted
from data.extend import extend
from data.ingest import ingest
from data.publish import staged
from data.spec import load_spec
from data.warehouse import Warehouse
from tests.dashboard.conftest import NOW, write_files
from tests.dashboard.opening import Opened, said

PAGES = ("pulse", "explore", "sql", "profile", "datasets", "studio", "models", "guide", "audit", "publish")
EN, ZH = Words("en"), Words("zh")


@pytest.fixture
def opened(browse: Opened) -> Opened:
    return browse


def picked(test: AppTest, key: str, *, typed: str | None = None, subject: str = "user") -> AppTest:
    """Chooses a user or an item as a reader does: types something of it, and clicks on what is found."""
    test.text_input(key=f"find-{subject}").input(typed or key).run()
    return next(one for one in test.button if one.key and one.key.endswith(f":{key}")).click().run()


def promote(store: Any, *, reason: str, version: int | None, run_id: str | None = None) -> None:
    """Someone else makes a run champion, the store's own unless told otherwise."""
    with Ledger.open(store.home) as ledger:
        now = datetime.now(UTC)
        registry.promote(
            ledger,
            dataset="tiny",
            run_id=run_id or store.run_id,
            actor="someone",
            reason=reason,
            expected_version=version,
            now=now,
            override=True,
        )


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_store_offers_the_demo(opened: Opened, tmp_path: Path, page: str) -> None:
    test = opened(tmp_path, page)
    assert not test.exception
    assert test.title[0].value == EN("empty.title")
    assert "lodestar demo" in [block.value for block in test.code]


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A store with a build and no run."""
    write_files(tmp_path / "files")
    made = ingest(load_spec(tmp_path / "files" / "spec.toml"), base=tmp_path / "files", home=tmp_path, now=NOW)
    with Ledger.open(tmp_path) as ledger:
        facts = made.facts.as_dict()
        record_build(ledger, build_id=made.build_id, dataset="tiny", path=made.path, facts=facts, now=NOW)
    return tmp_path


@pytest.mark.parametrize("page", ["models", "guide", "audit", "publish"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_without_a_model_a_page_of_models_says_how_to_get_one(
    opened: Opened, untrained: Path, page: str, language: str
) -> None:
    test = opened(untrained, page, lang=language)
    assert not test.exception and not test.error
    assert [title.value for title in test.title] == [Words(language)("empty.title_no_run")]
    assert [block.value for block in test.code] == ["lodestar train --dataset tiny"]


@pytest.mark.parametrize("subject", [{"user": "u7"}, {"item": "i3", "subject": "item"}])
def test_without_a_model_a_profile_shows_what_happened(
    opened: Opened, untrained: Path, subject: dict[str, str]
) -> None:
    test = opened(untrained, "profile", **subject)
    assert not test.exception and not test.error
    assert len(test.title) == 1 and len(test.dataframe) == 1 and len(test.get("plotly_chart")) == 1
    if "item" not in subject:
        assert test.title[0].value == EN.md("profile.title_bare", user="u7")
        assert [block.value for block in test.code] == ["lodestar train --dataset tiny"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_page_opens_in_both_languages(opened: Opened, store: Any, page: str, language: str) -> None:
    test = opened(store.home, page, lang=language)
    assert not test.exception
    assert not test.error
    assert len(test.title) == 1
    t = Words(language)
    assert t("header.champion", run=f"`{store.run_id}`") in said(test)
    question = {"en": "?", "zh": "？"}[language]
    assert test.title[0].value.endswith(question)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("subject", ["user", "item"])
def test_a_beacon_in_a_title_stays_text(opened: Opened, store: Any, page: str, subject: str) -> None:
    test = opened(store.home, page, subject=subject, item="i3", target="Drama")
    assert not test.exception
    reader = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    assert "<img" not in reader.render(said(test))
    labels = [box.label for box in (*test.button, *test.selectbox, *test.multiselect)]
    assert not any("![" in label for label in labels)


def test_a_link_opens_the_same_view(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    assert "u7" in test.title[0].value
    assert test.query_params["user"] in ("u7", ["u7"])


def test_choosing_a_user_changes_the_view_and_the_address(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile")
    picked(test, "u9")
    assert "u9" in test.title[0].value
    assert test.query_params["user"] in ("u9", ["u9"])
    test.switch_page("views/guide.py").run()
    assert "u9" in test.title[0].value


def test_another_data_set_is_begun_without_the_user_of_the_one_before(
    opened: Opened, new_store: Callable[..., Any], tmp_path: Path
) -> None:
    made, other = new_store(), tmp_path / "other"
    write_files(other, name="other")
    build = ingest(load_spec(other / "spec.toml"), base=other, home=made.home, now=NOW)
    with Ledger.open(made.home) as ledger:
        record_build(ledger, build_id=build.build_id, dataset="other", path=build.path, facts={}, now=NOW)
    test = opened(made.home, "profile", user="u7", dataset="tiny")
    assert "u7" in test.title[0].value
    test.selectbox(key="pick.dataset").set_value("other").run()
    assert not test.exception and not test.error and test.query_params.get("user") not in ("u7", ["u7"])


def found(test: AppTest) -> list[str]:
    """The keys that stand to be chosen under the field, best first."""
    return [one.key.split(":", 1)[1] for one in test.button if one.key and one.key.startswith("find-")]


def test_a_user_is_found_in_spite_of_a_slip(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    assert found(test) == []
    test.text_input(key="find-user").input("U4").run()
    assert found(test)[:2] == ["u4", "u40"]
    assert EN("find.found", n=9) in said(test)
    assert "u7" in test.title[0].value  # nobody was chosen yet
    test.button(key="find-user:u40").click().run()
    assert "u40" in test.title[0].value
    assert test.query_params["user"] in ("u40", ["u40"])
    assert test.text_input(key="find-user").value == ""
    assert found(test) == []


def test_an_item_is_found_by_its_title_misspelled(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", subject="item", lang="zh")
    test.text_input(key="find-item").input("flim 1971").run()
    assert found(test)[0] == "i11"
    assert ZH.md("find.like", text="flim 1971") in said(test)
    test.button(key="find-item-alike:i11").click().run()
    assert "Film 11" in test.title[0].value
    assert test.query_params["item"] in ("i11", ["i11"])


@pytest.mark.parametrize(
    "typed", ["😀", "\x00", "x" * 10_000, "'; DROP TABLE users --", "%", "_", "](javascript:alert(1))"]
)
@pytest.mark.parametrize("page", ["profile", "guide"])
def test_what_nobody_is_called_is_said_and_harmless(opened: Opened, store: Any, page: str, typed: str) -> None:
    test = opened(store.home, page, user="u7")
    before = test.title[0].value
    test.text_input(key="find-user").input(typed).run()
    assert not test.exception
    assert not test.error
    assert test.title[0].value == before
    told = said(test)
    assert any(EN(key, text="|").split("|")[0] in told for key in ("find.none", "find.nearest", "find.like"))
    assert "](javascript" not in told


def test_the_busiest_can_be_chosen_without_a_key(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    busiest = [one.key.split(":")[1] for one in test.button if one.key and one.key.startswith("busiest-user:")]
    counted = pd.read_csv(store.home.parent / "files" / "events.csv")["user"].value_counts()
    assert len(busiest) == 10
    assert counted[busiest[0]] >= counted.max() - 1  # u0 has a row that was refused
    test.button(key=f"busiest-user:{busiest[3]}").click().run()
    assert busiest[3] in test.title[0].value


def test_the_back_button_takes_away_what_was_chosen_last(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    first = test.title[0].value
    test.button(key="why-3").click().run()
    assert test.title[0].value != first
    del test.query_params["item"]  # the browser's way back to the address before
    test.run()
    assert test.title[0].value == first
    assert "item" not in test.query_params


def test_an_item_chosen_for_one_user_is_not_asked_of_the_next(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    test.button(key="why-3").click().run()
    picked(test, "u9")
    assert "item" not in test.query_params
    assert "Why does user u9 get" in test.title[0].value


def test_a_page_shows_one_users_data_only(opened: Opened, store: Any) -> None:
    with_data = {}
    for user in ("u4", "u5"):
        test = opened(store.home, "profile", user=user)
        with_data[user] = history_of(test)
    events = pd.read_csv(store.home.parent / "files" / "events.csv")
    events["ok"] = pd.to_datetime(events["ts"], errors="coerce", utc=True, format="ISO8601").notna()
    for user, shown in with_data.items():
        own = [store.titles[key] for key in events[(events["user"] == user) & events["ok"]]["item"]]
        assert sorted(shown["title"]) == sorted(own)


def test_no_session_sees_what_another_chose(opened: Opened, store: Any) -> None:
    first = opened(store.home, "profile", user="u4")
    second = opened(store.home, "profile", user="u5")
    first.run()
    assert "u4" in first.title[0].value
    assert "u5" in second.title[0].value
    assert not history_of(first).equals(history_of(second))


def test_an_unknown_user_gets_the_nearest_names(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u777")
    assert not test.exception
    assert "u7" in test.error[0].value


def test_the_language_can_be_switched_and_choices_stay(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    test.segmented_control(key="pick.lang").set_value("zh").run()
    assert test.title[0].value.startswith("为什么")
    assert "u7" in test.title[0].value


def test_another_card_can_be_explained(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    before = test.title[0].value
    test.button(key="why-2").click().run()
    assert not test.exception
    assert test.title[0].value != before
    assert test.query_params["item"]


def test_a_link_explains_an_item_that_is_not_on_the_slate(opened: Opened, store: Any, scorer: Any) -> None:
    history = set(history_of(opened(store.home, "profile", user="u7"))["key"])
    slate = {item["key"] for item in scorer(store.home).recommend("r", user="u7")["items"]}
    far = next(key for key in store.titles if key not in history | slate)
    test = opened(store.home, "profile", user="u7", item=far)
    assert not test.exception
    assert "not get" in test.title[0].value
    assert test.query_params["item"] in (far, [far])


def test_an_item_the_user_has_had_is_said_to_be_none_to_recommend(opened: Opened, store: Any) -> None:
    seen = history_of(opened(store.home, "profile", user="u7"))["key"].iloc[0]
    test = opened(store.home, "profile", user="u7", item=seen)
    assert not test.exception
    assert "is no candidate" in said(test)


def test_the_history_editor_ranks_anew(opened: Opened, store: Any, scorer: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    box = test.multiselect(key="whatif-remove-u7")
    kept = len(history_of(test)) - 1
    box.select(box.options[0]).run()
    assert not test.exception
    assert EN("whatif.said", n=kept + 1, m=kept) in said(test)
    assert len(scorer.asked[-1]["history"]) == kept


def test_what_is_found_joins_the_history_and_leaves_it(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7")
    n = len(history_of(test))
    for typed, key in (("film 28", "i28"), ("flim 1965", "i5")):
        test.text_input(key="whatif-find-u7").input(typed).run()
        next(one for one in test.button if one.key and one.key.endswith(f":{key}")).click().run()
        assert test.text_input(key="whatif-find-u7").value == ""
    assert EN("whatif.said", n=n, m=n + 2) in said(test)
    assert test.multiselect(key="whatif-add-u7").value == ["i28", "i5"]
    test.multiselect(key="whatif-add-u7").unselect("i28").run()
    assert EN("whatif.said", n=n, m=n + 1) in said(test)
    test.multiselect(key="whatif-add-u7").unselect("i5").run()
    assert EN("whatif.idle") in said(test)


def test_without_a_scorer_the_store_still_shows_its_slate_and_reasons(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", user="u7", scored=False)
    assert not test.exception
    assert not test.error
    assert "lodestar app" in test.info[0].value
    assert EN("profile.why") in [button.label for button in test.button]  # u7 is among the explained
    other = opened(store.home, "profile", user="u40", scored=False)
    assert not other.exception
    assert EN("profile.why") not in [button.label for button in other.button]


def test_a_scorer_that_takes_its_time_changes_nothing_of_the_page(
    opened: Opened, store: Any, scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = said(opened(store.home, "profile", user="u7"))
    prompt, draws, drawn = scorer.recommend, charts.timeline, threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        assert drawn.wait(30), "the page waited for the scorer before it drew what it knows"
        return prompt(*args, **options)

    def timeline(*args: Any, **options: Any) -> Any:
        drawn.set()
        return draws(*args, **options)

    monkeypatch.setattr(scorer, "recommend", slow)
    monkeypatch.setattr(charts, "timeline", timeline)
    assert said(opened(store.home, "profile", user="u7")) == at_once


def test_what_comes_next_is_told_with_what_the_run_cannot_tell(
    opened: Opened, store: Any, scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = said(opened(store.home, "profile", user="u7"))
    like_note, days = EN("outlook.like_note", n=10, low=0.3, high=0.75), EN("outlook.days", n=3.5)
    for text in ("75.0%", like_note, "viewed 70.0%", "rated 30.0%", days, EN("outlook.later", n=90)):
        assert escape(text) in page, text
    told = scorer.predict

    def less(*args: Any, **options: Any) -> Any:
        nothing = dict.fromkeys(("median", "low", "high"))
        notes = {"like": "too few", "kinds": "one kind", "return_days": "too few"}
        return told(*args, **options) | {"kinds": {"rate": 1.0}, "like": None, "return_days": nothing, "notes": notes}

    monkeypatch.setattr(scorer, "predict", less)
    page = said(opened(store.home, "profile", user="u7"))
    assert EN("outlook.no_like") in page and EN("outlook.no_return") in page
    assert EN("outlook.kind") not in page and EN("outlook.back") not in page
    monkeypatch.setattr(scorer, "predict", lambda *a, **o: told(*a, **o) | {"notes": {"return_days": "by chance"}})
    page = said(opened(store.home, "profile", user="u7"))
    assert EN("outlook.weak_return") in page and EN("outlook.no_return") not in page
    assert EN("outlook.back") in page


def test_a_run_without_heads_says_so_and_the_page_stands(
    opened: Opened, store: Any, scorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def old(*_: Any, **__: Any) -> Any:
        raise NothingPredicted("run 'r-1' predicts no behaviour", remedy="train again with `lodestar train`")

    monkeypatch.setattr(scorer, "predict", old)
    test = opened(store.home, "profile", user="u7")
    assert not test.exception
    assert "predicts no behaviour" in test.error[0].value
    assert EN("profile.history") in said(test)


def test_the_smallest_removal_is_not_told_twice() -> None:
    players = [{"key": f"k{phi}", "title": f"Film {phi}", "phi": phi} for phi in (0.1, 2.0, -1.0, 0.2)]
    found = {"players": [1], "remove": ["k2.0"], "verified": True, "rank_before": 1, "rank_after": 12}
    told = {
        "games": [{"game": "history", "players": players}],
        "counterfactual": [found],
        "words": {"en": "Heat is recommended mainly because of Film 2.0: without it, it would fall from rank 1 to 12."},
    }
    view, item = SimpleNamespace(t=EN), {"title": "Heat"}
    assert slate.removal(view, told, item) == EN("profile.removal_same", n=1)
    other = told | {"counterfactual": [found | {"players": [1, 3], "remove": ["k2.0", "k0.2"]}]}
    assert "rank 1 to 12" in slate.removal(view, other, item)


def test_an_item_has_a_page_of_its_own(opened: Opened, store: Any) -> None:
    test = opened(store.home, "profile", subject="item", item="i5")
    assert not test.exception
    assert "Film 5" in test.title[0].value.replace("\\", "")


def test_a_guided_walk_goes_on_from_what_was_accepted(opened: Opened, store: Any) -> None:
    test = opened(store.home, "guide", user="u7", target="Drama")
    test.button(key="guide-accept").click().run()
    test.button(key="guide-skip").click().run()
    assert not test.exception
    assert "Accepted so far" in said(test)
    assert "Skipped" in said(test)
    test.button(key="guide-again").click().run()
    assert "Accepted so far" not in said(test)


def test_starting_a_training_queues_the_job_that_the_command_would(
    opened: Opened, new_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = new_store()
    seen: list[Path] = []
    monkeypatch.setattr(training, "ensure_supervisor", lambda home, argv: seen.append(home))
    test = opened(own.home, "studio")
    test.segmented_control(key="studio-preset").set_value("fast").run()
    assert any("--preset fast" in block.value for block in test.code)
    test.button(key="studio-start").click().run()
    assert not test.exception
    with Ledger.open(own.home) as ledger:
        (job,) = jobs.jobs(ledger)
    assert (job.kind, job.state, job.dataset) == ("train", "queued", "tiny")
    assert job.payload["config"]["epochs"] == 8
    assert job.payload["build_id"] == own.build_id
    assert seen == [own.home]
    assert job.payload["estimate"]["seconds"]["runs"] == 0 and job.gpu
    test.button(key=f"cancel-{job.job_id}").click().run()
    with Ledger.open(own.home) as ledger:
        assert jobs.status(ledger, job.job_id).state == "cancelled"
    assert EN("queue.cancel_done", job=f"`{job.job_id}`") in said(test), "it is confirmed where it was asked"


@pytest.mark.parametrize("t", [EN, ZH])
def test_studio_tells_what_a_training_takes_before_it_is_ordered(opened: Opened, store: Any, t: Words) -> None:
    test = opened(store.home, "studio", lang=t.language)
    assert not test.exception
    page = said(test)
    for name in ("studio.memory", "studio.disk"):
        assert t(name) in page
    assert escape(t("studio.time", where=t("studio.on_cpu"))) in page
    guess = escape(t("studio.time_none", low="", high="")).lstrip()[-12:]
    assert guess in page, "no run has been timed in this store"
    assert not test.button(key="studio-start").disabled


def test_a_training_that_would_be_refused_cannot_be_started(
    opened: Opened, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = Size(10_000_000, 3_000_000, 100_000)
    monkeypatch.setattr(desk, "Size", lambda *_: huge)
    test = opened(store.home, "studio")
    assert test.button(key="studio-start").disabled
    assert escape(EN("studio.memory_over", most=12.0)) in said(test)


def test_the_queue_is_put_in_order_and_each_act_is_confirmed_where_it_happened(
    opened: Opened, new_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = new_store()
    monkeypatch.setattr(queueing, "ensure_supervisor", lambda home, argv: None)
    config = {"config": TrainConfig().model_dump(), "build_id": own.build_id}
    with Ledger.open(own.home) as ledger:
        now = datetime.now(UTC)
        a, b, c = (
            jobs.submit(ledger, kind="train", payload=config, dataset="tiny", now=now + timedelta(seconds=n))
            for n in range(3)
        )

        def line() -> list[str]:
            return [job.job_id for job in jobs.queue(ledger)]

        test = opened(own.home, "studio")
        assert not test.exception
        assert EN("queue.title", n=3) in said(test)
        assert test.button(key=f"queue-first-{a}").disabled and test.button(key=f"queue-last-{c}").disabled
        test.button(key=f"queue-first-{c}").click().run()
        assert line() == [c, a, b]
        assert EN("queue.first_done", job=f"`{c}`") in said(test)
        test.button(key=f"queue-pause-{a}").click().run()
        assert line() == [c, b] and EN("queue.title_paused", n=2, paused=1) in said(test)
        assert EN("queue.pause_done", job=f"`{a}`") in said(test)
        test.button(key=f"queue-resume-{a}").click().run()
        assert line() == [c, a, b], "it comes back to its own place"
        jobs.request_cancel(ledger, b, now=now)
        test.button(key=f"queue-first-{b}").click().run()
        assert not test.exception
        assert escape("does not wait: it is cancelled") in test.error[0].value
        test.button(key=f"queue-resume-{b}").click().run()
        assert line() == [c, a, b], "what was cancelled by mistake has its way back where it stood"


def test_a_runs_settings_fill_the_form_and_the_command(
    opened: Opened, new_store: Callable[..., Any], write_run: Callable[..., Any]
) -> None:
    own = new_store()
    config = load_config(overrides=[("epochs", 7), ("network.dim", 128), ("text.tune", "frozen"), ("seed", 3)])
    now = datetime.now(UTC)
    epochs = [
        {"type": "epoch", "stage": "frozen", "epoch": n, "loss": 5 - n, "ndcg@10": n / 100, "best": True}
        for n in (1, 2, 3)
    ]
    with Ledger.open(own.home) as ledger:
        run_id = runs.new_run(
            ledger,
            own.home,
            dataset="tiny",
            build_id=own.build_id,
            job_id=None,
            config=config.model_dump(),
            now=now,
        )
        folder = runs.run_folder(own.home, run_id)
        write_run(folder, build=current_build(ledger).path, build_id=own.build_id)
        (folder / "events.jsonl").write_text("\n".join(map(json.dumps, epochs)))
        runs.finish_run(ledger, run_id, summary={}, now=now)
        payload = {"config": TrainConfig().model_dump(), "build_id": own.build_id}
        job_id = jobs.submit(ledger, kind="train", payload=payload, dataset="tiny", now=now)
        events = jobs.events_path(own.home, job_id, None)
        events.parent.mkdir(parents=True)
        events.write_text("\n".join(json.dumps(e | {"ndcg@10": 0.05}) for e in epochs[:2]))
    test = opened(own.home, "studio")
    test.selectbox(key="studio-beside").select(run_id).run()
    assert not test.exception
    assert escape(EN("studio.best_beside", value=0.05, n=2, theirs=0.02, run=run_id)) in said(test)
    test.button(key="again-beside").click().run()
    assert not test.exception
    assert EN("studio.again_done") in said(test)
    words = shlex.split(next(block.value for block in test.code if block.value.startswith("lodestar train")))
    preset = words[words.index("--preset") + 1]
    given = [tuple(word.split("=", 1)) for word in words if "=" in word]
    assert load_config(overrides=[*PRESETS[preset].items(), *given]) == config
    assert test.number_input(key="studio-epochs").value == 7
    assert test.number_input(key="studio-seed").value == 3
    test.button(key="studio-forget").click().run()
    assert not any("network.dim" in block.value for block in test.code)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_recipe_is_told_by_the_preset_it_is_nearest_to(preset: str) -> None:
    config = training.settled(preset, {"seed": 4, "text.prefix": "item: "})
    assert training.named(config) == (preset, {"seed": 4, "text.prefix": "item: "})
    assert training.command("a b", *training.named(config)).startswith("lodestar train --dataset 'a b' --preset")


SPACE = {"lr": "5e-4..1e-2", "network.dim": [32, 64]}


def write_search(home: Path, build_id: str, *, best: dict[str, Any] | None, job_id: str = "j-1") -> Path:
    """A search's folder as its job leaves it, of the recipe and one trial that did better."""
    folder = search_folder(home, "s-1")
    folder.mkdir(parents=True)
    base = TrainConfig()
    told = {"epochs": 4, "seconds": 2.0, "hr@10": 0.2, "best_epoch": 3, "error": None, "state": "complete"}
    first = {"trial": 1, "ndcg@10": 0.1, "settings": {"lr": base.lr, "network.dim": base.network.dim}, **told}
    rows = [] if best is None else [first, {"trial": 2, "ndcg@10": 0.123, "settings": best, **told}]
    about = {"search_id": "s-1", "job_id": job_id, "dataset": "tiny", "build_id": build_id, "n_valid": 24}
    now = about | {"space": SPACE, "base": base.model_dump(), "trials": rows, "best": rows[-1] if rows else None}
    (folder / TOLD).write_text(json.dumps(now))
    return folder


@pytest.mark.parametrize("t", [EN, ZH])
def test_studio_tells_how_to_search_where_nobody_has(opened: Opened, store: Any, t: Words) -> None:
    test = opened(store.home, "studio", lang=t.language)
    assert not test.exception
    assert any(block.value.startswith("lodestar search --dataset tiny") for block in test.code)
    assert t("search.title") in said(test)


def test_studio_trains_with_what_a_search_found(
    opened: Opened, new_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = new_store()
    monkeypatch.setattr(searching, "ensure_supervisor", lambda home, argv: None)
    folder = write_search(own.home, own.build_id, best={"lr": 0.004, "network.dim": 32})
    test = opened(own.home, "studio")
    assert not test.exception
    finding = EN("search.finding_over", trial=2, value=0.123, first=0.1)
    assert escape(finding) in said(test)
    assert "24 validation questions" in said(test)
    assert test.dataframe[0].value["trial"].tolist() == [2, 1], "the best first"
    assert "search-train" not in [button.key for button in test.button], "it has not ended"
    (folder / BEST).write_text("")
    test.run()
    assert any(f"--config {folder / BEST}" in block.value for block in test.code)
    test.button(key="search-train").click().run()
    assert not test.exception
    with Ledger.open(own.home) as ledger:
        (job,) = jobs.jobs(ledger)
    config = job.payload["config"]
    assert (job.kind, config["lr"], config["network"]["dim"], config["text"]["tune"]) == ("train", 0.004, 32, "lora")


def test_studio_shows_a_search_at_work(opened: Opened, new_store: Callable[..., Any]) -> None:
    own = new_store()
    with Ledger.open(own.home) as ledger:
        job_id = jobs.submit(ledger, kind="search", payload={}, dataset="tiny", now=datetime(2026, 3, 1, tzinfo=UTC))
    write_search(own.home, own.build_id, best=None, job_id=job_id)
    test = opened(own.home, "studio")
    assert EN("search.no_trial") in said(test)
    test.button(key=f"cancel-{job_id}").click().run()
    with Ledger.open(own.home) as ledger:
        assert jobs.status(ledger, job_id).state == "cancelled"


def test_a_run_becomes_champion_with_a_reason(opened: Opened, new_store: Callable[..., Any]) -> None:
    own = new_store(promote=False)
    test = opened(own.home, "models")
    assert test.button(key="promote").disabled
    test.text_input(key="promote-reason").set_value("the first one").run()
    test.button(key="promote").click().run()
    assert not test.exception
    with Ledger.open(own.home) as ledger:
        (row,) = registry.promotions(ledger, "tiny")
    assert (row.run_id, row.reason) == (own.run_id, "the first one")
    assert "the first one" in said(opened(own.home, "models", lang="zh"))  # people's own words stay theirs


def test_lodestars_own_reason_is_told_in_the_pages_language(opened: Opened, new_store: Callable[..., Any]) -> None:
    own = new_store(promote=False)
    promote(own, reason=registry.FIRST, version=None)
    told = said(opened(own.home, "models", lang="zh"))
    assert ZH("models.first_run") in told and registry.FIRST not in told


def test_models_shows_the_leaderboard_or_how_to_have_it_made(opened: Opened, new_store: Callable[..., Any]) -> None:
    own = new_store()
    test = opened(own.home, "models")
    assert f"lodestar bench {own.run_id}" in [block.value for block in test.code]
    measure = {"estimate": 0.05, "low": 0.04, "high": 0.06, "n": 48}
    figures = {"hr@10": measure, "ndcg@10": measure, "seconds": 2.0, "too_much": None}
    rows = [
        {"model": "served", **figures, "gain": {}, "p": {}},
        {"model": "ials", **figures, "gain": {"ndcg@10": measure}, "p": {"ndcg@10": 0.0001}},
        {"model": "bert", "gain": {}, "p": {}, "seconds": None, "too_much": "there is no language model at hand"},
    ]
    with staged(runs.run_folder(own.home, own.run_id), "leaderboard") as made:
        (made / "leaderboard.json").write_text(json.dumps({"n": 48, "seeds": [0], "rows": rows}))
    test = opened(own.home, "models")
    assert not test.exception
    (table,) = [one.value for one in test.dataframe if "gain" in one.value.columns]
    assert table["model"].tolist() == ["served blend", "iALS"]
    assert table["gain"].tolist() == ["–", "+0.050 [+0.040, +0.060]"]
    assert table["p"].tolist() == ["–", "< 0.001"]
    assert EN("models.board_aside", names=EN.name("component", "bert")) in said(test)


def test_without_a_champion_the_newest_run_of_the_usual_protocol_is_in_view(
    opened: Opened, new_store: Callable[..., Any], write_run: Callable[..., Any], scorer: Any
) -> None:
    own = new_store(promote=False)
    twin_by_time(own, write_run)
    assert not opened(own.home, "profile").exception
    assert scorer.asked[-1]["run"] == own.run_id


def test_runs_of_different_protocols_are_told_apart(
    opened: Opened, new_store: Callable[..., Any], write_run: Callable[..., Any]
) -> None:
    own = new_store()
    twin = twin_by_time(own, write_run)
    apart = EN("models.protocols")
    labelled = EN.md("models.other_protocol", run=twin, protocol=EN.name("protocol", "time"))
    test = opened(own.home, "models")
    assert not test.exception
    (table,) = [one.value for one in test.dataframe if "protocol" in one.value.columns]
    assert table["protocol"].tolist() == ["last event", "split in time"]
    assert apart in notes(test)
    assert labelled not in notes(test)
    test = opened(own.home, "models", run=twin)
    assert labelled in notes(test)
    test.text_input(key="promote-reason").set_value("newer data").run()
    assert test.button(key="promote").disabled, "it was compared with nothing"
    test.checkbox(key="promote-override").check().run()
    test.button(key="promote").click().run()
    with Ledger.open(own.home) as ledger:
        assert registry.champion(ledger, "tiny") == twin
        assert registry.promotions(ledger, "tiny")[0].action == "override"


def twin_by_time(own: Any, write_run: Callable[..., Any]) -> str:
    """A newer run of the store, measured by a split in time."""
    now = datetime.now(UTC)
    with Ledger.open(own.home) as ledger:
        build = current_build(ledger)
        config = {"seed": 0, "protocol": "time"}
        twin = runs.new_run(
            ledger, own.home, dataset="tiny", build_id=build.build_id, job_id=None, config=config, now=now
        )
        write_run(runs.run_folder(own.home, twin), build=build.path, build_id=build.build_id, protocol="time")
        runs.finish_run(ledger, twin, summary={}, now=now)
    return twin


def notes(test: AppTest) -> list[str]:
    """What the page says beside its figures."""
    return [one.value for one in test.caption]


def test_a_promotion_that_came_second_changes_nothing_and_says_so(
    opened: Opened, new_store: Callable[..., Any], write_run: Callable[..., Any]
) -> None:
    own = new_store(rival=True)
    with Ledger.open(own.home) as ledger:
        (rival,) = [run.run_id for run in runs.runs(ledger, "tiny") if run.run_id != own.run_id]
    test = opened(own.home, "models", run=rival)
    assert test.button(key="promote").disabled, "48 users do not rule out a loss of 2%"
    test.text_input(key="promote-reason").set_value("mine").run()
    assert test.button(key="promote").disabled, "a reason alone is no override"
    test.checkbox(key="promote-override").check().run()
    third = twin_by_time(own, write_run)
    promote(own, reason="theirs", version=1, run_id=third)
    test.button(key="promote").click().run()
    assert not test.exception
    assert "changed meanwhile" in test.error[0].value
    with Ledger.open(own.home) as ledger:
        assert registry.champion(ledger, "tiny") == third


def test_the_evidence_is_overridden_knowingly_and_the_way_back_is_open(
    opened: Opened, new_store: Callable[..., Any]
) -> None:
    own = new_store(rival=True)
    with Ledger.open(own.home) as ledger:
        (rival,) = [run.run_id for run in runs.runs(ledger, "tiny") if run.run_id != own.run_id]
    test = opened(own.home, "models", run=rival)
    assert not test.exception
    assert EN.md("gate.whole_fails", run=rival, champion=own.run_id) in said(test)
    table = test.table[0].value
    assert table.index.tolist()[:3] == ["Accuracy", "Fairness", "Drift"]
    assert table[EN("column.verdict")].iloc[0].endswith("fails")
    test.text_input(key="promote-reason").set_value("they asked for it").run()
    test.checkbox(key="promote-override").check().run()
    test.button(key="promote").click().run()
    assert not test.exception and not test.error
    (history,) = [one.value for one in test.dataframe if "action" in one.value.columns]
    assert history["action"].tolist() == ["overridden", "promoted"]
    assert history["evidence"].tolist()[0].startswith("failed: accuracy")
    test.text_input(key="rollback-reason").set_value("it was no good").run()
    test.button(key="rollback").click().run()
    assert not test.exception and not test.error
    with Ledger.open(own.home) as ledger:
        assert registry.champion(ledger, "tiny") == own.run_id
        (last, *_) = registry.promotions(ledger, "tiny")
    assert (last.action, last.reason) == ("rollback", "it was no good")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_runs_are_set_beside_the_champion_and_carry_a_card(
    opened: Opened, new_store: Callable[..., Any], language: str
) -> None:
    own, t = new_store(rival=True), Words(language)
    test = opened(own.home, "models", lang=language)
    assert not test.exception and not test.error
    for key in ("contest.no_score", "card.limit_offline", "card.limit_person"):
        assert t(key) in said(test), key
    assert t("contest.level", n=1, m=1, run=own.run_id) in said(test).replace("\\", "")
    assert f"`{own.build_id}`" in said(test)


def test_a_split_is_told_of_with_the_way_to_end_it(opened: Opened, new_store: Callable[..., Any]) -> None:
    own = new_store(rival=True)
    with Ledger.open(own.home) as ledger:
        (rival,) = [run.run_id for run in runs.runs(ledger, "tiny") if run.run_id != own.run_id]
        now = datetime(2026, 3, 2, tzinfo=UTC)
        traffic.split(ledger, dataset="tiny", run_id=rival, share=0.1, actor="ann", reason="", now=now)
    test = opened(own.home, "models")
    assert EN.md("promotion.split", share=0.1, run=rival, at=now) in notes(test)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_people_did_with_what_they_were_shown_judges_a_challenger(
    opened: Opened, new_store: Callable[..., Any], language: str
) -> None:
    own, t = new_store(rival=True), Words(language)
    begun = datetime.now(UTC) - timedelta(days=20)
    with Ledger.open(own.home) as ledger:
        (rival,) = [run.run_id for run in runs.runs(ledger, "tiny") if run.run_id != own.run_id]
        traffic.split(ledger, dataset="tiny", run_id=rival, share=0.5, actor="ann", reason="", now=begun)
    assert t.md("outcome.none", at=begun) in notes(opened(own.home, "models", lang=language))
    with Ledger.open(own.home) as ledger:
        for n in range(120):
            run_id, at = (own.run_id, rival)[n % 2], begun + timedelta(days=1 + n / 10)
            rows = feedback.shown(
                f"s-{n}", f"u{n}", [{"key": "i1", "rank": 1, "propensity": 1.0}], run_id=run_id, at=at
            )
            if n % 2 or not n % 8:
                rows.append(feedback.Feedback(f"u{n}", "i1", "click", at, slate=f"s-{n}"))
            feedback.append(ledger, "tiny", rows, now=datetime.now(UTC))
    test = opened(own.home, "models", lang=language)
    assert not test.exception and not test.error
    told = outcomes_of(own.home)
    assert t.md("outcome.champion", at=begun, run=own.run_id, slates=60, **told.arms[0].share) in said(test)
    assert told.arms[1].gap is not None and told.arms[1].gap["low"] > 0.5
    assert t.md("outcome.better", run=rival, **told.arms[1].gap) in said(test)
    assert len(told.weeks) >= 2


def outcomes_of(home: Path) -> Outcomes:
    with Ledger.open(home) as ledger:
        told = outcomes(ledger, "tiny")
    assert told is not None
    return told


def test_a_run_without_a_rival_says_how_to_get_one(opened: Opened, store: Any) -> None:
    test = opened(store.home, "models")
    assert EN("contest.alone") in said(test)
    assert "lodestar train" in [block.value for block in test.code]


def test_a_page_that_a_role_forbids_is_not_offered_and_says_why_when_asked_for(
    opened: Opened, new_store: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = new_store()
    with Ledger.open(own.home) as ledger:
        roles.grant(ledger, "ann", "admin", by="ann", now=datetime.now(UTC))
        roles.grant(ledger, "zoe", "analyst", by="ann", now=datetime.now(UTC))
    for who, refused in (
        ("eve", {"explore", "sql", "profile", "datasets", "guide", "publish"}),
        ("zoe", {"datasets", "publish"}),
        ("ann", set()),
    ):
        monkeypatch.setattr(desk, "actor", lambda who=who: who)
        for page in PAGES:
            test = opened(own.home, page, user="u7")
            assert not test.exception
            told = [one.value for one in test.error]
            assert bool(told) == (page in refused), (who, page, told)
            assert all("may not" in one and "roles grant" in one for one in told)


def test_every_page_asks_one_thing_at_most(opened: Opened, store: Any) -> None:
    for page in PAGES:
        test = opened(store.home, page)
        primary = [b for b in test.button if b.proto.type == "primary"]
        assert len(primary) <= 1


def history_of(test: AppTest) -> pd.DataFrame:
    """The table of every event on a user's profile."""
    return next(table.value for table in test.dataframe if {"title", "ts", "kind"} <= set(table.value.columns))


def test_a_thumb_goes_to_the_ledger_once_and_stays(opened: Opened, new_store: Callable[..., Any]) -> None:
    own = new_store()
    test = opened(own.home, "profile", user="u7")
    assert not test.button(key="favourite-1").disabled and not test.button(key="dismissal-1").disabled
    test.button(key="favourite-1").click().run()
    assert not test.exception
    assert test.toast[0].value.startswith("Noted that user u7 likes")
    assert test.button(key="favourite-1").disabled and not test.button(key="dismissal-1").disabled
    test.button(key="dismissal-1").click().run()
    assert test.button(key="dismissal-1").disabled and not test.button(key="favourite-1").disabled
    with Ledger.open(own.home) as ledger:
        rows = pa.Table.from_batches(feedback.every(ledger, "tiny"), feedback.COLUMNS).to_pylist()
    assert [(row["user"], row["kind"], row["rank"], row["run_id"]) for row in rows] == [
        ("u7", "favourite", 1, own.run_id),
        ("u7", "dismissal", 1, own.run_id),
    ]


def test_pulse_says_what_moved_since_the_champion_learned(
    opened: Opened, new_store: Callable[..., Any], write_run: Callable[..., Any]
) -> None:
    own = new_store()
    test = opened(own.home, "pulse")
    assert EN("drift.same", run=own.run_id) in said(test)
    with Ledger.open(own.home) as ledger:
        build = current_build(ledger, "tiny")
        with Warehouse.open(build.path) as warehouse:
            last = warehouse.facts.last_ts
            users = reads.user_table(warehouse)["key"].to_pylist()
            items = reads.catalogue(warehouse)["key"].to_pylist()
        acts = [
            Feedback(user, items[place % 2], "favourite", last + timedelta(hours=1 + place))
            for user in users
            for place in range(1 + 200 // len(users))
        ]
        now = acts[-1].at + timedelta(days=30)
        upto = feedback.append(ledger, "tiny", acts, now=now).accepted
    assert EN("drift.waiting", n=len(acts)) in said(opened(own.home, "pulse"))
    with Ledger.open(own.home) as ledger:
        folded = feedback.events(ledger, "tiny", upto=feedback.watermark(ledger, "tiny"))
        made = extend(build.path, folded, home=own.home, now=now)
        record_build(
            ledger, build_id=made.build_id, dataset="tiny", path=made.path, facts={}, now=now, feedback_to=upto
        )
    moved = opened(own.home, "pulse")
    assert not moved.exception
    assert EN.md("drift.unmeasured", run=own.run_id) in notes(moved)
    assert "has shifted since then" in said(moved) and "kinds of behaviour" in said(moved)
    with Ledger.open(own.home) as ledger:
        newer = runs.new_run(
            ledger, own.home, dataset="tiny", build_id=made.build_id, job_id=None, config={"seed": 0}, now=now
        )
        folder = runs.run_folder(own.home, newer)
        write_run(folder, build=made.path, build_id=made.build_id)
        evaluation = json.loads((folder / "evaluation.json").read_text())
        m = {"estimate": 0.1, "low": 0.05, "high": 0.15, "n": 48}
        evaluation["rival"] = {"run_id": own.run_id, "metrics": {"ndcg@10": m}, "gain": {"ndcg@10": m}}
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
        runs.finish_run(ledger, newer, summary={}, now=now)
    measured = opened(own.home, "pulse")
    gain = EN("value.signed_interval", **m)
    assert EN.md("drift.newer", run=newer, gain=gain) in notes(measured)
    assert f"{own.run_id} has NDCG@10 0.100 [0.050, 0.150]" in said(measured).replace("\\", "")
    (table,) = [one.value for one in moved.dataframe if "psi" in one.value.columns]
    assert list(table["aspect"]) == [EN(f"aspect.{name}") for name in ("categories", "kinds", "values")][: len(table)]
