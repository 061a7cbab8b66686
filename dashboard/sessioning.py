"""Pulse's sessions, where a build has them: how long people stay, what they do in one go, and when they come."""

from dashboard import charts, findings, loaders, parts
from dashboard.parts import Card
from dashboard.scene import Scene


def section(s: Scene) -> None:
    """Nothing where the spec asks for no sessions."""
    told, t = s.facts.spec.sessions, s.t
    if told is None:
        return
    found = loaders.session_facts(s.build.path)
    n, alone = found["sessions"], found["alone"]
    parts.section(t("sessions.section"))
    parts.note(t("sessions.gap", gap=told.gap_minutes))
    low, high = findings.wilson(alone, n)
    per_user = n / found["users"] if found["users"] else float("nan")
    parts.cards(
        [
            Card(t("sessions.sessions"), t.count(n), t("sessions.per_user", n=per_user, users=found["users"])),
            Card(
                t("sessions.length"),
                t("sessions.lasting", seconds=found["median_s"]),
                t("sessions.half_last", low=found["low_s"], high=found["high_s"], n=n),
            ),
            Card(
                t("sessions.events"),
                t.figure(found["median_events"]),
                t("sessions.half", low=found["low_events"], high=found["high_events"], n=n),
            ),
            Card(
                t("sessions.alone"),
                t.percent(alone / n if n else float("nan")),
                t("sessions.between", low=low, high=high, n=n),
            ),
        ],
        name="sessions",
    )
    grain = findings.grain(s.facts.first_ts, s.facts.last_ts)
    by_period = loaders.session_activity(s.build.path, s.tz, grain)
    top, begun = findings.peak(by_period.rename(columns={"sessions": "events"}))
    title = t(f"sessions.peak_{grain}", top=top, n=begun)
    parts.figure(charts.sessions(by_period, title=title, look=s.look, tz=s.tz, grain=grain), key="sessions")
