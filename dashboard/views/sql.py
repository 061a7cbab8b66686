"""SQL: one's own question of a build. A statement that only reads, over what the reader's role may see, in a process of
its own.
"""

from dashboard import asking, parts, state
from dashboard.scene import Scene, scene
from data.free_sql.sandbox import LIMITS


def main() -> None:
    s = scene()
    t = s.t
    parts.heading(
        t.md("sql.title", dataset=s.dataset),
        t("sql.context", role=asking.role(s), seconds=LIMITS.seconds, rows=LIMITS.rows),
    )
    asking.follow_link(s)
    left, right = parts.pair()
    with left:
        asked = asking.editor(s)
    came_of_it(s, asked)
    state.link(dataset=state.chosen("dataset"), saved=state.chosen("saved"))
    with right:
        asking.panel(s)


def came_of_it(s: Scene, asked: str | None) -> None:
    """What the last statement gave; a skeleton while one runs."""
    room = parts.reserved(height=388, known=asked is None)
    if asked is not None:
        asking.ask(s, state.typed(asking.TEXT), explain=asked == "explain")
    said = state.recall("sql-said", None)
    with room():
        if said is not None and said["build_id"] == s.build.build_id:
            asking.result(s, said)


main()
