"""The evidence of a promotion in the reader's language: each check as a sentence made from its figures, the table of
them, and one line for the history. It reads the JSON that `core.trust.gate` gave, of today or as the ledger kept it.
"""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.words import Words, escape

MARKS = {"pass": ":material/check_circle:", "fail": ":material/cancel:", "unknown": ":material/help:"}


def whole(evidence: Mapping[str, Any]) -> str:
    """How the whole reads: fails, incomplete (nothing fails, but the two were not compared), first, better, passes."""
    if evidence["failed"]:
        return "fails"
    if "accuracy" in evidence["unknown"]:
        return "incomplete"
    if evidence["champion"] is None:
        return "first"
    return "better" if evidence["better"] else "passes"


def table(t: Words, evidence: Mapping[str, Any]) -> None:
    """The checks with their verdicts in words; sentences wrap and are never cut."""
    rows = [
        {
            t("column.check"): escape(t.name("check", check["name"])),
            t("column.verdict"): f"{MARKS[check['verdict']]} {escape(t.name('verdict', check['verdict']))}",
            t("column.found"): escape(sentence(t, check)),
        }
        for check in evidence["checks"]
    ]
    with st.container(key="evidence"):
        st.table(pd.DataFrame(rows).set_index(t("column.check")), border="horizontal")


def sentence(t: Words, check: Mapping[str, Any]) -> str:
    """What a check found, in one sentence; the ledger's own English for a finding this catalogue does not know."""
    key = f"gate.{check['name']}_{check['finding']}"
    if not t.has(key):
        key = f"gate.{check['finding']}"
    return t(key, **_values(t, check)) if t.has(key) else str(check["said"])


def _values(t: Words, check: Mapping[str, Any]) -> dict[str, Any]:
    figures = dict(check["figures"])
    if check["name"] == "accuracy" and "change" in figures:
        return {
            **figures["change"],
            "margin": figures["margin"],
            "share": figures["margin_share"],
            "value": figures["champion_value"],
            "hr": t("value.signed_range", **figures["shown"]["hr@10"]),
        }
    if check["name"] == "fairness" and figures.get("gaps"):
        told = [
            t(
                "gate.gap",
                a=t.name("group", gap["a"]),
                b=t.name("group", gap["b"]),
                attribute=t.name("attribute", gap["attribute"]),
                before=gap["before"],
                after=gap["after"],
                low=gap["change"]["low"],
                high=gap["change"]["high"],
            )
            for gap in figures["grown"]
        ]
        least, most = figures["detectable"]
        return {"gaps": t.listing(told), "m": len(figures["gaps"]), "n": figures["n"], "least": least, "most": most}
    if check["name"] == "drift" and figures.get("aspects"):
        told = [
            t("gate.aspect", name=t.name("aspect", one["name"]), psi=one["psi"], chance=one["chance"])
            for one in figures["aspects"]
        ]
        return {"n": figures["n"], "aspects": t.listing(told), "launched": figures["launched"]["estimate"]}
    return figures


def summary(t: Words, evidence: Mapping[str, Any] | None) -> str:
    """One line for the history: passed or not, and what failed or was not known."""
    if evidence is None:
        return t("gate.none")
    failed, unknown = (t.listing([_inside(t, name) for name in evidence[key]]) for key in ("failed", "unknown"))
    said = t("gate.failed", names=failed) if failed else t("gate.better" if evidence["better"] else "gate.passed")
    return f"{said}{t('gate.not_known', names=unknown)}" if unknown else said


def _inside(t: Words, check: str) -> str:
    """A check's name as it stands inside a sentence."""
    name = t.name("check", check)
    return name[:1].lower() + name[1:]


def as_text(evidence: Mapping[str, Any] | None) -> str | None:
    """The evidence whole, for a file of the history."""
    return None if evidence is None else json.dumps(evidence, ensure_ascii=False)
