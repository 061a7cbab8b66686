"""Data: which builds are set beside each other."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.ops.builds import record_build
from core.ops.ledger import Ledger
from data.ingest import ingest
from data.spec import parse_spec
from tests.dashboard.opening import Opened

NOW = datetime(2025, 6, 1, tzinfo=UTC)
SPEC = '[dataset]\nname = "log"\n[events]\nfiles = "events.csv"\nuser = "user"\nitem = "item"\nts = "ts"\n'


def test_the_earlier_build_of_a_link_is_shown_and_a_choice_stays(browse: Opened, tmp_path: Path) -> None:
    made = []
    for n in range(3):
        rows = [f"u{user},i,2025-01-0{user + 1}\n" for user in range(n + 1)]
        (tmp_path / "events.csv").write_text("user,item,ts\n" + "".join(rows))
        now = NOW + timedelta(days=n)
        made.append(ingest(parse_spec(SPEC), base=tmp_path, home=tmp_path / "home", now=now))
        with Ledger.open(tmp_path / "home") as ledger:
            told = {"build_id": made[-1].build_id, "dataset": "log", "path": made[-1].path}
            record_build(ledger, facts=made[-1].facts.as_dict(), now=now, **told)
    first, second, _ = (one.build_id for one in made)
    test = browse(tmp_path / "home", "datasets", scored=False, lang="en", before=first)
    assert not test.exception
    assert test.selectbox(key="pick.before").value == first
    test.selectbox(key="pick.before").set_value(second).run()
    test.run()
    assert test.selectbox(key="pick.before").value == second
