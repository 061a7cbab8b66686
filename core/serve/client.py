"""The scorer's client: what a page or another program asks, over loopback, without loading a model."""

import json
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from data.errors import LodestarError, ScorerUnavailable, from_answer

SCORER_FILE = "scorer.json"
TIMEOUT_S = 30.0


class ScorerClient:
    """Asks the scorer of one store. Every call raises ScorerUnavailable when none answers, and else the error that
    the scorer itself met (UnknownRun, UnknownUser, ...)."""

    def __init__(self, home: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self.home, self.timeout_s = home, timeout_s

    def alive(self) -> bool:
        """Whether a scorer answers."""
        try:
            self._call("GET", "/health", None)
        except ScorerUnavailable:
            return False
        return True

    def recommend(
        self,
        run: str,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 10,
        explain: bool = False,
        rules: Mapping[str, Any] | None = None,
        log: bool = False,
        again: bool = False,
    ) -> dict[str, Any]:
        """`recommend`'s JSON for a user's key, or for a history of item keys, oldest first. rules: any of only, never
        (lists of categories), pins (a list of KEY@RANK), caps (a list of CATEGORY=N, or N for each), diversity (0-1).
        log: the list is noted as shown to the user; then `slate` and each item's `propensity` are there. again: what
        the user has waved away is not left out.
        """
        asked = {"run": run, "k": k, "explain": explain, "rules": dict(rules or {}), "log": log, "again": again}
        return self._call("POST", "/recommend", {**asked, **_subject(user, history)})

    def feedback(self, rows: Sequence[Mapping[str, Any]], *, dataset: str | None = None) -> dict[str, Any]:
        """{accepted, repeated, refused[{row, reason}]} of acts {user, item, kind, at, ...}: what is accepted or
        repeated is on disk, once."""
        told = [{**row, "at": row["at"].isoformat()} for row in rows]
        return self._call("POST", "/feedback", {"dataset": dataset, "rows": told})

    def similar(self, run: str, *, item: str, k: int = 10) -> dict[str, Any]:
        """`similar`'s JSON: what is like an item, by its key."""
        return self._call("POST", "/similar", {"run": run, "item": item, "k": k})

    def explain(
        self, run: str, *, item: str, user: str | None = None, history: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """`explain`'s JSON for one item."""
        return self._call("POST", "/explain", {"run": run, "item": item, **_subject(user, history)})

    def predict(
        self,
        run: str,
        *,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 10,
        again: bool = False,
    ) -> dict[str, Any]:
        """`predict`'s JSON: the next kinds, P(like) of the k items recommended, days until the return."""
        return self._call("POST", "/predict", {"run": run, "k": k, "again": again, **_subject(user, history)})

    def guide(self, run: str, *, user: str, target: Mapping[str, str], steps: int) -> dict[str, Any]:
        """`guide`'s JSON: the whole planned path."""
        return self._call("POST", "/guide", {"run": run, "user": user, "target": dict(target), "steps": steps})

    def next_step(
        self, run: str, *, user: str, target: Mapping[str, str], accepted: Sequence[str], skipped: Sequence[str]
    ) -> dict[str, Any]:
        """One more step of a path, after what was accepted and skipped (item keys)."""
        asked = {"run": run, "user": user, "target": dict(target)}
        return self._call("POST", "/guide/next", {**asked, "accepted": list(accepted), "skipped": list(skipped)})

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            noted = json.loads((self.home / SCORER_FILE).read_text())
            # Loopback is plain HTTP; a context that trusts nobody spares reading the certificates, 20 ms a question.
            nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            with httpx.Client(
                base_url=noted["address"], timeout=self.timeout_s, trust_env=False, verify=nobody
            ) as client:
                answer = client.request(method, path, json=body, headers={"Authorization": f"Bearer {noted['token']}"})
            told = answer.json()
        except (OSError, ValueError, KeyError, httpx.HTTPError) as error:
            raise ScorerUnavailable("the scorer does not answer", remedy="start it with `lodestar app`") from error
        if answer.is_success:
            return dict(told)
        raise _as_error(told)


def _subject(user: str | None, history: Sequence[str] | None) -> dict[str, Any]:
    return {"user": user} if history is None else {"history": list(history)}


def _as_error(told: Any) -> LodestarError:
    """The error object of an answer, as the class it was."""
    fault = told.get("error") if isinstance(told, dict) else None
    error = from_answer(fault) if isinstance(fault, dict) else None
    return error or ScorerUnavailable("the scorer refused the question", remedy="restart it with `lodestar app`")
