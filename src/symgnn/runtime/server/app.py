"""The service as an application: its endpoints, and what they share."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from symgnn.errors import InputError
from symgnn.models.checkpoint import Described
from symgnn.runtime.clips import frames_in_use
from symgnn.runtime.predict import Prediction, predict
from symgnn.runtime.server.batching import Batcher
from symgnn.runtime.server.limits import GOING_AWAY, TRY_LATER, Limits, RefusedError
from symgnn.runtime.server.manual import DESCRIPTION, PREDICT, STYLE, manual_page
from symgnn.runtime.server.metrics import Metrics
from symgnn.runtime.server.outbox import Outbox
from symgnn.runtime.server.playback import Playback, Programme
from symgnn.runtime.server.security import Access, Guard
from symgnn.runtime.server.sessions import Session
from symgnn.runtime.server.watching import Hub
from symgnn.runtime.server.wire import Question, Shape, model_to_dict, prediction_to_dict, read_question

_logger = logging.getLogger("symgnn.server")

WEB = Path(__file__).parents[1] / "web"
"""The page's built files."""

LEAST_HORIZON = 100
"""Frames that any client may ask for."""

LEAVING = "the service is going away: connect again later"


class Service:
    """A model at the service of many clients.

    Args:
        model: who answers.
        limits: what a client may ask.
        horizon: frames predicted where a client does not say; by default the preset's.
        clips: what is played where nobody streams.
    """

    def __init__(
        self,
        model: Described,
        limits: Limits,
        *,
        horizon: int | None = None,
        clips: Programme = (),
    ):
        horizon = model.preset.data.future if horizon is None else horizon
        if horizon < 1:
            raise InputError(f"--horizon: found {horizon}, expected a number of frames of at least 1")
        self.model = model
        self.limits = limits
        self.shape = Shape.of(model)
        self.card = model_to_dict(model, horizon, max(LEAST_HORIZON, horizon))
        self.metrics = Metrics(model)
        self.batcher = Batcher(model, limits.batch, self.metrics)
        self.hub = Hub(model, self.card, playable=bool(clips))
        self.draining = False
        self.sessions: set[Session] = set()
        self._clips = clips
        self._names = count(1)
        self._asked = 0
        self._talks: set[Outbox] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The tasks behind the endpoints."""
        playback = Playback(self._clips, self.model, self.batcher, self.hub)
        tasks = [asyncio.create_task(task.run()) for task in (self.batcher, self.hub, playback)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def drain(self) -> None:
        """Let what is under way be answered, then send everybody away; bounded in time."""
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain):
                await self.batcher.finish()
        for talk in self._talks:
            talk.end(GOING_AWAY, LEAVING)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain):
                while self._talks or self._asked:
                    await asyncio.sleep(0.02)

    async def stream(self, websocket: WebSocket) -> None:
        """``/v1/stream``: frames in, answers out."""
        await websocket.accept()
        with self._talk(websocket) as outbox:
            if len(self.sessions) >= self.limits.sessions:
                await self._refuse(outbox, "streams", self.limits.sessions)
                return
            session = Session(self, websocket, outbox, f"s{next(self._names)}")
            self.sessions.add(session)
            self.metrics.sessions.inc()
            try:
                ended = await session.run()
            finally:
                self.sessions.discard(session)
                self.metrics.sessions.dec()
        self._ended(session, websocket, ended)

    async def watch(self, websocket: WebSocket) -> None:
        """``/v1/watch``: what is seen, drawn, for pages."""
        await websocket.accept()
        with self._talk(websocket) as outbox:
            if len(self.hub.viewers) >= self.limits.viewers:
                await self._refuse(outbox, "viewers", self.limits.viewers)
                return
            self.metrics.viewers.inc()
            try:
                ended = await self.hub.watch(websocket, outbox, websocket.query_params.get("session"))
            finally:
                self.metrics.viewers.dec()
        self._ended("a viewer", websocket, ended)

    async def predict(self, body: bytes) -> list[Prediction]:
        """``/v1/predict``: clips, a few at a time between the batches of streams.

        Raises:
            RefusedError: the body is not a request, or there are too many; ``code`` is an HTTP status.
        """
        limits, model = self.limits, self.model
        if self.draining or self._asked >= limits.requests:
            raise RefusedError(503, f"{limits.requests} requests are at work: ask again later")
        self._asked += 1
        try:
            question = await asyncio.to_thread(self._question, body)
            horizon = question.horizon or self.card["horizon"]
            found: list[Prediction] = []
            for start in range(0, len(question.clips), limits.chunk):
                clips = question.clips[start : start + limits.chunk]
                names = [f"clip {start + place}" for place in range(len(clips))]
                found += await self.batcher.work(partial(predict, model, clips, horizon, len(clips), names=names))
        except (RefusedError, InputError) as error:
            raise RefusedError(422, str(error)) from None
        finally:
            self._asked -= 1
        self.metrics.predictions.inc(len(found))
        return found

    def _question(self, body: bytes) -> Question:
        limits = self.limits
        question = read_question(body, self.shape, clips=limits.clips, frames=limits.frames, horizon=self.card["max_horizon"])
        for number, clip in enumerate(question.clips):
            # All are looked at before the first is answered.
            frames_in_use(clip, self.model, f"clip {number}")
        return question

    @contextmanager
    def _talk(self, websocket: WebSocket) -> Iterator[Outbox]:
        outbox = Outbox(websocket, self.limits.send)
        self._talks.add(outbox)
        if self.draining:
            outbox.end(GOING_AWAY, LEAVING)
        try:
            yield outbox
        finally:
            self._talks.discard(outbox)

    async def _refuse(self, outbox: Outbox, what: str, most: int) -> None:
        outbox.end(TRY_LATER, f"{most} {what} are open, as many as may be: connect again later")
        await outbox.run()
        self.metrics.errors.labels(str(TRY_LATER)).inc()

    def _ended(self, who: object, websocket: WebSocket, ended: tuple[int, str] | None) -> None:
        address = websocket.client.host if websocket.client else "?"
        if ended is None:
            _logger.info("%s of %s: went", who, address)
        else:
            code, sentence = ended
            self.metrics.errors.labels(str(code)).inc()
            _logger.info("%s of %s: closed with %d, %s", who, address, code, sentence)


def create_app(service: Service, access: Access) -> FastAPI:
    """The endpoints of a service, guarded."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="symgnn",
        version=version("symgnn"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        openapi_tags=[{"name": "model", "description": "Both answers."}, {"name": "service", "description": "How it is."}],
    )
    app.add_middleware(Guard, access=access, limits=service.limits, metrics=service.metrics)
    if access.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=sorted(access.origins), allow_methods=["GET", "POST"], allow_headers=["Authorization"]
        )

    @app.get("/v1/model", tags=["model"], summary="What the model takes and answers")
    async def model() -> dict[str, Any]:
        """Its classes, its joints in the order of a frame, its rate, and how its body is drawn."""
        return service.card

    @app.post("/v1/predict", tags=["model"], summary="Answer for whole clips", openapi_extra=PREDICT)
    async def predictions(request: Request) -> Response:
        try:
            found = await service.predict(await request.body())
        except RefusedError as refusal:
            return JSONResponse({"detail": refusal.sentence}, refusal.code)
        return JSONResponse({"clips": [prediction_to_dict(one) for one in found]})

    @app.get("/healthz", tags=["service"], summary="Whether it serves", responses={503: {"description": "It is going away."}})
    async def health() -> JSONResponse:
        """`{"status": "ok"}`; 503 once it was told to stop."""
        return JSONResponse({"status": "draining" if service.draining else "ok"}, 503 if service.draining else 200)

    @app.get("/metrics", tags=["service"], summary="What it counts", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus text: sessions, frames, answers, what was dropped and why, batch sizes, times."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.websocket("/v1/stream")
    async def stream(websocket: WebSocket) -> None:
        await service.stream(websocket)

    @app.websocket("/v1/watch")
    async def watch(websocket: WebSocket) -> None:
        await service.watch(websocket)

    @app.get("/docs", include_in_schema=False)
    async def manual() -> HTMLResponse:
        return HTMLResponse(manual_page(app.openapi()))

    @app.get("/docs.css", include_in_schema=False)
    async def style() -> Response:
        return Response(STYLE, media_type="text/css")

    files = StaticFiles(directory=WEB, check_dir=False)

    @app.get("/{name}", include_in_schema=False)
    async def page(name: str, request: Request) -> Response:
        return await _file(files, name, request)

    @app.get("/", include_in_schema=False)
    async def start(request: Request) -> Response:
        if not (WEB / "index.html").is_file():
            return PlainTextResponse("The service is at work; its page was not built. What it speaks: /docs\n")
        return await _file(files, "index.html", request)

    return app


async def _file(files: StaticFiles, name: str, request: Request) -> Response:
    if "\0" in name or not (WEB / name).is_file():
        return JSONResponse({"detail": f"found no page {name[:100]!r}; there are /, /docs and what /docs names"}, 404)
    response = await files.get_response(name, request.scope)
    # Asked for anew each time; unchanged files are answered with 304.
    response.headers["cache-control"] = "no-cache"
    return response
