"""Each measure against a table small enough to work out by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data.ingest import IngestResult
from data.kpis import UNITS, kpis
from data.spec import parse_spec
from data.warehouse import Warehouse

SPEC = """
[dataset]
name = "kiosk"
[events]
files = "events.csv"
user = "who"
item = "what"
ts = "at"
kind = "kind"
value = "value"
[weights]
view = 1.0
cart = 3.0
buy = 10.0
"""
# ann: two visits in one day, a basket of two; bob: one visit of two views on each of two days; cid only looks.
EVENTS = """who,what,at,kind,value
ann,tea,2024-01-01T10:00:00Z,view,
ann,tea,2024-01-01T10:10:00Z,cart,
ann,tea,2024-01-01T10:20:00Z,buy,4
ann,jam,2024-01-01T10:20:00Z,buy,6
ann,tea,2024-01-01T18:00:00Z,buy,2
bob,tea,2024-01-01T12:00:00Z,view,
bob,jam,2024-01-01T12:05:00Z,view,
bob,jam,2024-01-09T12:00:00Z,buy,8
bob,pot,2024-01-09T12:30:00Z,view,
cid,pot,2024-01-08T09:00:00Z,view,
cid,tea,2024-01-08T12:00:00Z,view,
"""
Ingest = Callable[..., IngestResult]


@pytest.fixture
def measured(bring: Ingest) -> Callable[[str], dict[str, object]]:
    """The row of one figure, told as TOML."""

    def measure(told: str) -> dict[str, object]:
        made = bring(EVENTS, spec=parse_spec(f"{SPEC}[kpis.it]\n{told}\n"))
        with Warehouse.open(made.path) as warehouse:
            (row,) = kpis(warehouse).to_pylist()
        return dict(row)

    return measure


@pytest.mark.parametrize(
    ("told", "estimate", "users", "units"),
    [
        # visits: ann 1 + 3 + 10 + 10 and 10, bob 1 + 1 and 10 + 1, cid 1 and 1
        ('measure = "engagement"', (24 + 10 + 2 + 11 + 1 + 1) / 6, 3, 6),
        # viewed: ann tea, bob tea, jam, pot, cid pot, tea; bought later: ann's tea and bob's jam
        ('measure = "conversion"\nof = "view"\nto = "buy"', 2 / 6, 3, 6),
        ('measure = "rate"\nof = ["view"]\nto = ["buy"]', 4 / 6, 3, 6),
        ('measure = "completion"\nof = "buy"\nmin_value = 5', 2 / 4, 2, 4),
        ('measure = "basket_value"\nof = "buy"', (10 + 2 + 8) / 3, 2, 3),
        ('measure = "basket_size"\nof = "buy"', (2 + 1 + 1) / 3, 2, 3),
        ('measure = "repeats"\nof = "buy"', 1 / 4, 2, 4),
        ('measure = "returning"', 1 / 3, 3, 3),
        # tea is first seen on 1 January at 10:00, jam at 10:20, pot on 8 January at 9:00
        ('measure = "item_age"\nof = "buy"', (20 / 60 + 0 + 8 + (8 * 24 + 1 + 40 / 60)) / 4, 2, 4),
        ('measure = "mean_value"\nof = "buy"', 5.0, 2, 4),
    ],
)
def test_a_measure_is_what_it_says(
    measured: Callable[[str], dict[str, object]], told: str, estimate: float, users: int, units: int
) -> None:
    row = measured(told)
    assert row["estimate"] == pytest.approx(estimate)
    assert (row["n"], row["units"]) == (users, units)
    assert row["unit"] == UNITS[str(row["measure"])]
    assert row["low"] <= row["estimate"] <= row["high"]  # type: ignore[operator]


def test_the_interval_is_that_of_a_ratio_over_users(measured: Callable[[str], dict[str, object]]) -> None:
    row = measured('measure = "mean_value"\nof = "buy"')
    # ann 12 in 3, bob 8 in 1: residuals 12 - 3 * 5 = -3 and 8 - 5 = 3; 2 / 1 * (9 + 9) = 36
    half = 1.959964 * 36**0.5 / 4
    assert (row["low"], row["high"]) == (pytest.approx(5 - half), pytest.approx(5 + half))


def test_an_interval_of_values_may_reach_below_zero(
    measured: Callable[[str], dict[str, object]], bring: Ingest
) -> None:
    refunds = "who,what,at,kind,value\n" + "".join(
        f"{who},tea,2024-01-0{n + 1}T10:00:00Z,buy,{value}\n"
        for n, (who, value) in enumerate(zip("aabbc", (100, -90, 80, -85, 5), strict=True))
    )
    spec = parse_spec(f'{SPEC}[kpis.value]\nmeasure = "mean_value"\n[kpis.size]\nmeasure = "basket_size"\n')
    with Warehouse.open(bring(refunds, spec=spec).path) as warehouse:
        value, size = kpis(warehouse).to_pylist()
    assert value["low"] < 0 < value["estimate"] == 2.0
    assert size["low"] >= 0


def test_what_is_of_both_kinds_leads_not_to_itself(measured: Callable[[str], dict[str, object]]) -> None:
    # ann bought tea twice, and jam once; bob jam
    assert measured('measure = "conversion"\nof = "buy"\nto = "buy"')["estimate"] == pytest.approx(1 / 3)
    # ann put tea into the cart and bought it; an item seen and put there at one moment counts
    assert measured('measure = "conversion"\nof = ["cart", "buy"]\nto = ["buy"]')["estimate"] == pytest.approx(1 / 3)


def test_of_many_users_some_are_drawn_but_an_item_is_as_old_as_it_is(
    measured: Callable[[str], dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.kpis.MOST_USERS", 2)
    row = measured('measure = "item_age"\nof = "buy"')
    ann, bob = [20 / 60, 0.0, 8.0], [8 * 24 + 1 + 40 / 60]
    by_drawn = {2: [sum(ann + bob) / 4], 1: [sum(ann) / 3, bob[0]]}
    assert any(row["estimate"] == pytest.approx(age) for age in by_drawn[row["n"]])  # type: ignore[index]
    assert measured('measure = "returning"')["n"] == 2


def test_what_nobody_did_has_no_figure_and_one_user_no_interval(measured: Callable[[str], dict[str, object]]) -> None:
    nobody = measured('measure = "conversion"\nof = "play"\nto = "buy"')
    assert (nobody["estimate"], nobody["low"], nobody["n"], nobody["units"]) == (None, None, 0, 0)
    rate = measured('measure = "rate"\nof = "play"\nto = "buy"')
    assert (rate["estimate"], rate["n"]) == (None, 0)
    alone = measured('measure = "repeats"\nof = "cart"')
    assert (alone["estimate"], alone["low"], alone["high"], alone["n"]) == (0.0, None, None, 1)


def test_figures_asked_together_are_those_asked_alone(
    bring: Ingest, measured: Callable[[str], dict[str, object]]
) -> None:
    told = (
        'measure = "basket_value"\nof = "buy"',
        'measure = "rate"\nof = "view"\nto = "buy"',
        'measure = "engagement"',
        'measure = "rate"\nof = "view"\nto = "cart"',
        'measure = "completion"\nmin_value = 5',
    )
    named = "\n".join(f"[kpis.figure_{place}]\n{one}" for place, one in enumerate(told))
    with Warehouse.open(bring(EVENTS, spec=parse_spec(f"{SPEC}{named}")).path) as warehouse:
        together = kpis(warehouse).to_pylist()
    assert [row.pop("name") for row in together] == [f"figure_{place}" for place in range(len(told))]
    assert together == [{name: value for name, value in measured(one).items() if name != "name"} for one in told]


def test_a_build_without_figures_has_an_empty_table(bring: Ingest, tmp_path: Path) -> None:
    with Warehouse.open(bring(EVENTS, spec=parse_spec(SPEC)).path) as warehouse:
        assert kpis(warehouse).num_rows == 0
