"""A model card says what its run's files say, in both languages, and lets no text of the data become markup."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from core.ops.builds import build_of
from core.ops.ledger import Ledger
from core.ops.runs import run_folder, run_of
from dashboard.modelcard import model_card
from dashboard.words import Words
from data.warehouse import Warehouse


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_card_holds_the_runs_own_figures_and_its_limits(store: Any, language: str) -> None:
    t, folder = Words(language), run_folder(store.home, store.run_id)
    with Ledger.open(store.home) as ledger:
        run = run_of(ledger, store.run_id)
        with Warehouse.open(build_of(ledger, run.build_id).path) as warehouse:
            facts = replace(warehouse.facts, licence="![x](http://203.0.113.9/beacon.png)")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    gaps = json.loads((folder / "audit.json").read_text())["gaps"]
    about = {"facts": facts, "evaluation": evaluation, "gaps": gaps, "reads": 7}
    card = model_card(t, run, **about, serves_since=None)
    m = evaluation["metrics"]["ndcg@10"]
    assert t("value.interval", **{**m, "value": m["estimate"]}) in card and f"| {m['n']} |" in card
    assert card.startswith(f"# {t('card.heading', run=f'`{run.run_id}`')}") and card.count("\n## ") == 5
    assert t("card.limit_reads", reads=7) in card and t("card.limit_offline") in card
    assert "![x](" not in card
    assert t("card.stands_by", dataset="tiny") in card
    serving = model_card(t, run, **about, serves_since=datetime(2026, 3, 1, tzinfo=UTC))
    assert t("card.serves", dataset="tiny", at=datetime(2026, 3, 1, tzinfo=UTC)) in serving
