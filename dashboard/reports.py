"""The report: one HTML file that opens offline and can be checked. Pure: measurements in, text out.

Everything the page says is rendered from one payload, which the file carries as JSON beside its sha256;
`dashboard/verify.py` renders that payload again and compares, so that no visible number can be edited unnoticed.
Every number stands in a `<data>` element with its path in the payload. The file holds no script that runs and loads
nothing: fonts and figures are inline, and a content security policy forbids the rest.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from dashboard import svg, words
from dashboard.charts.evidence import POLICIES, gap_rows, group_rows, model_rows, reference_at
from dashboard.charts.frame import Look
from dashboard.findings import gaps_in_order, groups_in_order, guide_against_push, visible_gaps
from dashboard.theme import DARK, LIGHT, RADIUS_PX, policy_colours
from dashboard.words import Words
from data.finite import finite

FORMAT: Final = 1
METRICS: Final = ("ndcg@10", "hr@10")
COLUMNS: Final = ("hr@10", "ndcg@10", "mrr@10")
_HERE = Path(__file__).parent


def report_payload(
    evaluation: Mapping[str, Any],
    audit: Mapping[str, Any],
    facts: Mapping[str, Any],
    *,
    lift: Mapping[str, Any] | None,
    provenance: Mapping[str, str],
    language: str,
) -> dict[str, Any]:
    """All that a report says, as JSON values; what is not a number (NaN) becomes null.

    `evaluation`, `audit` and `lift` are the run's own JSON artefacts, `facts` the build's (`BuildFacts.as_dict`).
    `provenance` names `run_id`, `manifest_sha256`, `users_sha256` (the digest of the per-user metrics), `made`
    (ISO 8601, UTC), `version` and `tz`.
    """
    return finite(
        {
            "format": FORMAT,
            "language": language,
            "provenance": dict(provenance),
            "facts": {name: value for name, value in facts.items() if name != "spec"},
            "evaluation": dict(evaluation),
            "audit": dict(audit),
            "lift": None if lift is None else dict(lift),
        }
    )


def report_html(payload: Mapping[str, Any]) -> str:
    """The report of a payload; the same payload always gives the same text."""
    text = canonical(payload)
    payload = json.loads(text)  # the order of names is the file's own, so that a reader renders the very same page
    t = Words(str(payload["language"]))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            t=t,
            p=payload,
            num=_Numbers(payload, t),
            figures=_figures(payload, t),
            components=_ranked(payload["evaluation"].get("components") or {}),
            gaps=visible_gaps(payload["audit"].get("gaps") or [], metric="ndcg@10"),
            metrics=[m for m in COLUMNS if m in payload["evaluation"]["metrics"]],
            targets=sorted((payload["lift"] or {}).get("targets") or {}),
            verdicts=guide_against_push((payload["lift"] or {}).get("targets") or {}),
            policies=POLICIES,
            cuts=_cuts(payload["evaluation"]["metrics"]),
            style=_style(),
            payload_text=Markup(text.replace("<", "\\u003c")),
            payload_sha256=digest(text),
        )
    )


def canonical(payload: Mapping[str, Any]) -> str:
    """A payload as the one JSON text that is hashed."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """The sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def users_digest(users: pd.DataFrame) -> str:
    """The sha256 of a run's per-user metrics: names, users in order, values as little-endian doubles."""
    ordered = users.sort_values("user_id", kind="stable")
    whole = hashlib.sha256(json.dumps(sorted(ordered.columns)).encode())
    for column in sorted(ordered.columns):
        whole.update(ordered[column].to_numpy(dtype="<f8", na_value=math.nan).tobytes())
    return whole.hexdigest()


def look_up(payload: Mapping[str, Any], path: str) -> Any:
    """The value at a path such as `evaluation/metrics/ndcg@10/low` or `audit/groups/3/n`; None where there is none.

    A slash inside a name is written ~1, a tilde ~0, as in JSON Pointer (RFC 6901).
    """
    value: Any = payload
    for step in (part.replace("~1", "/").replace("~0", "~") for part in path.split("/")):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def written(value: float | None, kind: str, t: Words) -> str:
    """A number of the report as its reader sees it: `n` a count, `p` a percentage, `m` a metric, `g` a signed gap."""
    if value is None:
        return "–"
    if kind == "n":
        return t.count(value)
    if kind == "p":
        return t.percent(value)
    return words.metric(value, signed=kind == "g")


class _Numbers:
    """Writes payload numbers into the page, each with its path, for the template."""

    def __init__(self, payload: Mapping[str, Any], t: Words) -> None:
        self._payload, self._t = payload, t

    def __call__(self, path: str, kind: str = "m") -> Markup:
        value = look_up(self._payload, path)
        said = escape(written(value, kind, self._t))
        exact = "" if value is None else repr(value)
        return Markup(f'<data value="{exact}" data-path="{escape(path)}" data-kind="{kind}">{said}</data>')

    def interval(self, path: str, kind: str = "m") -> Markup:
        """An estimate with its interval, from the path of an M."""
        low, high = self(f"{path}/low", kind), self(f"{path}/high", kind)
        return Markup(f"{self(f'{path}/estimate', kind)} <span class=ci>[{low}, {high}]</span>")


def _ranked(components: Mapping[str, Any]) -> dict[str, Any]:
    """Components in the order of their figure: best first by the first metric."""
    order = sorted(components, key=lambda name: -(components[name][METRICS[0]]["estimate"] or 0.0))
    return {name: components[name] for name in order}


def _cuts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The served model's metrics as a table: `rows` a family (`hr`) with the names at each of `heads` (5, 10, 20), and
    `slate` the names of those without an interval, which describe all slates together."""
    cuts = {name.partition("@")[2] for name, measure in metrics.items() if "low" in measure}
    heads = sorted(int(at) for at in cuts if at.isdigit())
    rows = {
        family: [f"{family}@{at}" for at in heads]
        for family in ("hr", "ndcg", "mrr")
        if all(f"{family}@{at}" in metrics for at in heads)
    }
    slate = [name for name, measure in metrics.items() if "low" not in measure]
    return {"heads": heads, "rows": rows, "slate": slate}


def _figures(payload: Mapping[str, Any], t: Words) -> dict[str, Any]:
    """The report's drawings, light colours in their marks; the stylesheet turns them in the dark."""
    look = Look(scheme="light", t=t)
    evaluation, audit, lift = payload["evaluation"], payload["audit"], payload["lift"]
    everyone = {"champion": evaluation["metrics"], **(evaluation.get("components") or {})}
    found: dict[str, Any] = {"models": {}, "groups": {}, "gaps": {}, "lift": {}}
    for metric in METRICS:
        served = evaluation["metrics"][metric]["estimate"]
        found["models"][metric] = svg.dots(
            model_rows(everyone, metric=metric, look=look),
            look=look,
            axis=t.name("metric_axis", metric),
            reference=reference_at(served, t("chart.served")),
        )
    for attribute in dict.fromkeys(g["attribute"] for g in audit.get("groups") or []):
        of = [g for g in audit["groups"] if g["attribute"] == attribute and g["metric"] == METRICS[0]]
        gaps = [g for g in audit.get("gaps") or [] if g["attribute"] == attribute and g["metric"] == METRICS[0]]
        gaps = [g for g in gaps if g["gap"] is not None]
        found["groups"][attribute] = svg.dots(
            group_rows(groups_in_order(pd.DataFrame(of)), look=look),
            look=look,
            axis=t.name("metric_axis", METRICS[0]),
            reference=reference_at(evaluation["metrics"][METRICS[0]]["estimate"], t("chart.all_users")),
        )
        if gaps:
            found["gaps"][attribute] = svg.dots(
                gap_rows(gaps_in_order(pd.DataFrame(gaps)), look=look),
                look=look,
                axis=t("chart.gap_axis", metric=t.name("metric", METRICS[0])),
                reference=(0.0, t("chart.no_gap")),
            )
    for target, judged in ((lift or {}).get("targets") or {}).items():
        rows = judged["curves"]["shown"]
        found["lift"][target] = svg.lines(
            {
                policy: [(r["step"], r["estimate"], r["low"], r["high"]) for r in rows if r["policy"] == policy]
                for policy in dict.fromkeys(row["policy"] for row in rows)
            },
            names={policy: t.name("policy", policy) for policy in judged["lift"]},
            colours=policy_colours("light"),
            x_axis=t("chart.steps_shown"),
            y_axis=t("guide.lift_axis", target=target),
        )
    return found


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["step"] = lambda name: name.replace("~", "~0").replace("/", "~1")
    return environment


@cache
def _style() -> Markup:
    """The stylesheet, with the tokens of both schemes and the typeface inside."""
    font = base64.b64encode((_HERE / "static" / "inter-latin.woff2").read_bytes()).decode()
    names = ("background", "raised", "text", "muted", "hairline", "accent", "counter", "reference")
    schemes = [
        "".join(f"--{name}:{getattr(scheme, name)};" for name in names)
        + "".join(f"--s{i}:{tone};" for i, tone in enumerate(scheme.series))
        for scheme in (LIGHT, DARK)
    ]
    recolour = "".join(
        f'[stroke="{light}"]{{stroke:var(--s{i})}}[fill="{light}"]{{fill:var(--s{i})}}'
        for i, light in enumerate(LIGHT.series)
    )
    css = (_HERE / "templates" / "report.css").read_text(encoding="utf-8")
    return Markup(
        f"@font-face{{font-family:Inter;font-weight:100 900;src:url(data:font/woff2;base64,{font}) format('woff2')}}"
        f":root{{color-scheme:light dark;--radius:{RADIUS_PX}px;{schemes[0]}}}"
        f"@media screen and (prefers-color-scheme:dark){{:root{{{schemes[1]}}}{recolour}}}{css}"
    )
