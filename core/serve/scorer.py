"""The scorer: one process that holds a few runs in memory and answers over loopback HTTP, with a token.

It listens on a free port and writes its address and a fresh token to `scorer.json` in the store, readable by its owner
alone. Runs are kept by last use; a promoted champion is another run and so loads by itself. While a champion has a
challenger, a user is answered by the run of their arm (`core.ops.traffic`). What people do with what they are shown
comes back here too, and is on disk when the answer says so.
"""

import json
import os
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from starlette.requests import Request

from core.ops.feedback import MOST_ROWS
from core.ops.ledger import Ledger, utc_now
from core.predict.rules import rules_from
from core.serve import answers
from core.serve.client import SCORER_FILE
from core.serve.responses import Intake, as_row
from data.acts import typed
from data.errors import Conflict, DiskFull, InputError, LodestarError, NotAllowed, NotFound, StoreError

KEPT_RUNS = 3

# The narrower kind first.
_STATUSES: tuple[tuple[type[LodestarError], int], ...] = (
    (NotFound, 404),
    (NotAllowed, 403),
    (Conflict, 409),
    (InputError, 422),
    (DiskFull, 507),
    (StoreError, 503),
    (LodestarError, 500),
)


class Question(BaseModel):
    """About which run."""

    model_config = ConfigDict(extra="forbid")
    run: str = "champion"
    dataset: Annotated[str, Field(min_length=1)] | None = None


class RecommendQuestion(Question):
    """A slate for a user's key or a history of item keys. rules: as `core.predict.rules.rules_from` takes them."""

    user: str | None = None
    history: list[str] | None = None
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    explain: bool = False
    rules: dict[str, Any] = {}
    log: Annotated[bool, Field(description="note the list as shown to the user, under the slate's name")] = False
    again: Annotated[bool, Field(description="also what the user has waved away, by the feedback")] = False


Text = StrictStr | StrictInt
Number = StrictInt | StrictFloat | StrictStr


class Act(BaseModel):
    """One act, read as a line of a file is (`data.acts`): at is ISO 8601, UTC where no zone is said, or seconds since
    1970."""

    model_config = ConfigDict(extra="forbid")
    user: Text
    item: Text
    kind: str
    at: Number
    value: Number | None = None
    slate: str | None = None
    rank: Number | None = None
    propensity: Number | None = None
    run_id: str | None = None
    key: str | None = None


class Acts(BaseModel):
    """What people did. Each row is named by its key, or by itself where it has none, and is written once however often
    it is sent; one that cannot be read is refused, and the others are taken."""

    model_config = ConfigDict(extra="forbid")
    dataset: str | None = None
    rows: Annotated[list[Act], Field(min_length=1, max_length=MOST_ROWS)]


class SimilarQuestion(Question):
    """What is like an item."""

    item: str
    k: Annotated[int, Field(ge=1, le=1000)] = 10


class ExplainQuestion(Question):
    """Why one item."""

    user: str | None = None
    history: list[str] | None = None
    item: str


class PredictQuestion(Question):
    """What a user, or a history of item keys, does next."""

    user: str | None = None
    history: list[str] | None = None
    k: Annotated[int, Field(ge=1, le=1000)] = 10
    again: Annotated[bool, Field(description="also of what the user has waved away, by the feedback")] = False


class Target(BaseModel):
    """Where a path should lead."""

    model_config = ConfigDict(extra="forbid")
    category: str


class GuideQuestion(Question):
    """A whole path."""

    user: str
    target: Target
    steps: Annotated[int, Field(ge=1, le=50)] = 10


class StepQuestion(Question):
    """One more step of a path."""

    user: str
    target: Target
    accepted: list[str] = []
    skipped: list[str] = []


class Shelf:
    """The runs in memory, at most `KEPT_RUNS`, the least recently used put away first. One question at a time: the
    models' threads are few, and two forward passes at once finish no sooner."""

    def __init__(self, ledger: Ledger, home: Path) -> None:
        self.ledger, self.home = ledger, home
        self._open: OrderedDict[str, answers.OpenRun] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, question: Question, answer: Callable[[answers.OpenRun], dict[str, Any]]) -> dict[str, Any]:
        """Load the question's run if need be and answer it; what `champion` answers says by which `arm` it did."""
        user: str | None = getattr(question, "user", None)
        with self._lock:
            run_id, arm = answers.routed(self.ledger, self.home, question.run, dataset=question.dataset, user=user)
            if run_id not in self._open:
                self._open[run_id] = answers.open_run(self.ledger, self.home, run_id)
            self._open.move_to_end(run_id)
            while len(self._open) > KEPT_RUNS:
                self._open.popitem(last=False)[1].close()
            told = answer(self._open[run_id])
            return told if arm is None else told | {"arm": arm}

    def warm(self) -> None:
        """Load the champion and answer once, so that the first reader does not wait for what loads lazily."""
        with suppress(LodestarError):  # no champion yet, say
            self.ask(
                Question(), lambda run: answers.recommend(run, history=[run.served.catalogue.keys[0]], explain=True)
            )

    def close(self) -> None:
        """Put every run away."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()


def status_of(error: LodestarError) -> int:
    """The HTTP status that an error is told by: 4xx is the asker's to mend, 5xx the operator's."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def make_app(shelf: Shelf, *, token: str) -> FastAPI:
    """The HTTP face. Every path but /health and the description at /openapi.json wants `Authorization: Bearer
    <token>`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        shelf.close()

    app = FastAPI(
        title="Lodestar scorer", version=version("lodestar"), lifespan=lifespan, docs_url=None, redoc_url=None
    )

    def allowed(authorization: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(status_code=401, detail="a token is needed")

    @app.exception_handler(LodestarError)
    async def _told(_: Request, error: LodestarError) -> JSONResponse:
        return JSONResponse(error.as_answer(), status_code=status_of(error))

    @app.exception_handler(RequestValidationError)
    async def _malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        return _refused(f"{where}: {first['msg']}")

    @app.exception_handler(UnicodeEncodeError)
    async def _no_text(_: Request, error: UnicodeEncodeError) -> JSONResponse:
        return _refused("half a character (a lone surrogate) is no text")

    @app.get("/health")
    def health() -> dict[str, bool]:
        return {"ok": True}

    intake = Intake(shelf.ledger)
    app.include_router(_questions(shelf, intake), dependencies=[Depends(allowed)])
    app.include_router(_responses(intake), dependencies=[Depends(allowed)])
    return app


def _refused(what: str) -> JSONResponse:
    """A question that cannot be read, told as other errors are, and without the question: it may hold what no JSON
    has."""
    error = InputError(
        what.encode("utf-8", "backslashreplace").decode(), remedy="see /openapi.json for what a question holds"
    )
    return JSONResponse(error.as_json(), status_code=status_of(error))


def _responses(intake: Intake) -> APIRouter:
    """The path by which people's acts come back."""
    router = APIRouter()

    @router.post("/feedback")
    def feedback(acts: Acts) -> dict[str, Any]:
        rows = [as_row(typed(act.model_dump())) for act in acts.rows]
        return intake.take(rows, dataset=acts.dataset, now=utc_now()).as_json()

    return router


def _questions(shelf: Shelf, intake: Intake) -> APIRouter:
    """The paths that a model answers."""
    router = APIRouter()

    @router.post("/recommend")
    def recommend(q: RecommendQuestion) -> dict[str, Any]:
        rules = rules_from(q.rules)
        if q.log and q.user is None:
            raise InputError("a list is noted as shown to a user", remedy="name the user, or leave `log` out")

        def answer(run: answers.OpenRun) -> dict[str, Any]:
            told = answers.recommend(
                run, user=q.user, history=q.history, k=q.k, explain=q.explain, rules=rules, again=q.again
            )
            return intake.take_slate(told, dataset=run.row.dataset, now=utc_now()) if q.log else told

        return shelf.ask(q, answer)

    @router.post("/similar")
    def similar(q: SimilarQuestion) -> dict[str, Any]:
        return shelf.ask(q, lambda run: answers.similar(run, item=q.item, k=q.k))

    @router.post("/explain")
    def explain(q: ExplainQuestion) -> dict[str, Any]:
        return shelf.ask(q, lambda run: answers.explain(run, user=q.user, history=q.history, item=q.item))

    @router.post("/predict")
    def predict(q: PredictQuestion) -> dict[str, Any]:
        return shelf.ask(q, lambda run: answers.predict(run, user=q.user, history=q.history, k=q.k, again=q.again))

    @router.post("/guide")
    def guide(q: GuideQuestion) -> dict[str, Any]:
        return shelf.ask(q, lambda run: answers.guide(run, user=q.user, category=q.target.category, steps=q.steps))

    @router.post("/guide/next")
    def guide_next(q: StepQuestion) -> dict[str, Any]:
        return shelf.ask(
            q,
            lambda run: answers.guide_next(
                run, user=q.user, category=q.target.category, accepted=q.accepted, skipped=q.skipped
            ),
        )

    return router


def serve(ledger: Ledger, home: Path) -> None:
    """Listen on a free loopback port until told to stop, the address noted in the store meanwhile.

    One thread: an answer is many small operations, which wait for each other when split over busy cores.
    """
    torch.set_num_threads(1)
    token = secrets.token_urlsafe(32)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    note = home / SCORER_FILE
    _write_private(
        note, {"address": f"http://127.0.0.1:{listener.getsockname()[1]}", "token": token, "pid": os.getpid()}
    )
    shelf = Shelf(ledger, home)
    app = make_app(shelf, token=token)
    threading.Thread(target=shelf.warm, name="warm", daemon=True).start()
    try:
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])
    finally:
        if note.exists() and json.loads(note.read_text()).get("pid") == os.getpid():
            note.unlink()


def _write_private(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        json.dump(content, file)
    temporary.replace(path)
