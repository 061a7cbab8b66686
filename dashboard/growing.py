"""Pulse's growth and stickiness: who comes, stays, comes back and goes, and how often people are there."""

from dashboard import charts, findings, loaders, parts
from dashboard.scene import Scene

LEAST = 2  # whole periods: one before, and one that can be compared with it


def section(s: Scene) -> None:
    """Both figures, of whole weeks or months alone, or how many the log has where these are too few."""
    t, path = s.t, s.build.path
    first, last = (moment.date() for moment in s.span)
    grain = findings.slow_grain(s.facts.first_ts, s.facts.last_ts)
    moves = loaders.growth(path, s.tz, grain)
    told = findings.whole(moves, first=first, last=last, grain=grain)
    parts.section(t("growth.section"))
    if len(told) < LEAST:
        parts.note(t(f"growth.few_{grain}", n=len(told), least=LEAST))
        return
    latest, before = told.iloc[-1], told.iloc[-2]
    often = findings.stickiness(loaders.activity(path, s.tz, "day"), moves, grain=grain)
    often = findings.whole(often, first=first, last=last, grain=grain)
    left, right = parts.pair(level=True)
    with left:
        title = t(
            f"growth.title_{grain}",
            period=latest["period"],
            gained=int(latest["new"] + latest["back"]),
            lost=int(latest["lost"]),
            before=int(before["users"]),
        )
        parts.figure(charts.growth(told, title=title, look=s.look, tz=s.tz, grain=grain), key="growth")
    if len(often):  # else nobody came in any whole one
        with right:
            row = often.iloc[-1]
            title = t(f"growth.often_{grain}", period=row["period"], share=row["share"], users=int(row["users"]))
            parts.figure(charts.stickiness(often, title=title, look=s.look, tz=s.tz, grain=grain), key="stickiness")
    parts.note(t(f"growth.method_{grain}", n=len(told)))
