"""The server of the live page: static files, the avatar, names to match, recordings, and one WebSocket per visitor."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from emotalk_ros.emotions import EMOTIONS
from emotalk_ros.face import ARKIT_NAMES, expression
from emotalk_ros.face.aliases import MAX_MAPPING_BYTES, MappingError, MappingFile, match, parse_mapping
from emotalk_ros.live.feeds import Feed
from emotalk_ros.live.recording import Shelf
from emotalk_ros.live.session import POLICY, TRY_LATER, Session
from emotalk_ros.live.settings import LiveSettings, is_local
from emotalk_ros.live.voice import Voice
from emotalk_ros.streaming.hub import PassThread

STATIC = Path(__file__).parent / "static"
_COOKIE = "emotalk_token"
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'self'",
            "img-src 'self' data: blob:",
            "media-src 'self' blob:",
            "connect-src 'self' ws: wss: blob: data:",
            "style-src 'self' 'unsafe-inline'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-cache",
}
_MAX_NAMES = 5000


class PortError(RuntimeError):
    """The address cannot be had; the message says why and what helps."""


class LiveServer:
    """See the module.

    Args:
        make_voice: makes a visitor's voice on the shared model; None: the page only shows `feeds`. It may be assigned
            between `bind` and `run`, as `persons` may: a port that is taken is told before a model is loaded.
        avatar: GLB file of the face.
        settings: address and limits.
        feeds: faces that move elsewhere.
        mapping: of the avatar's names.
        persons: number of personal styles.
    """

    def __init__(
        self,
        make_voice: Callable[[], Voice] | None,
        avatar: bytes,
        settings: LiveSettings | None = None,
        feeds: Sequence[Feed] = (),
        mapping: MappingFile | None = None,
        persons: int = 1,
        avatar_name: str = "the project's own face",
    ) -> None:
        self.settings = settings or LiveSettings()
        self.make_voice, self.persons = make_voice, persons
        self._avatar, self._mapping = avatar, mapping
        self._avatar_name = avatar_name
        self.feeds = {feed.name: feed for feed in feeds}
        self._model_thread = PassThread()
        self._shelf = Shelf(self.settings.recordings)
        self.sessions: set[Session] = set()
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/avatar.glb", self._glb),
                Route("/api/config", self._config),
                Route("/api/match", self._match, methods=["POST"]),
                Route("/recording/{name}/{form}", self._record),
                WebSocketRoute("/live", self._live),
                Mount("/static", _Static(directory=STATIC)),
            ]
        )
        self.app = _Guard(self.app, self)  # type: ignore[assignment]

    # -- running ---------------------------------------------------------------------------------------------------

    def bind(self) -> str:
        """Take the address; returns the page's. Raises PortError."""
        settings = self.settings
        try:
            family, *_, address = socket.getaddrinfo(
                settings.host.strip("[]"), settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            self._socket.listen(64)
        except OSError as error:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            raise PortError(_port_words(settings, error)) from None
        return self.address()

    def address(self) -> str:
        """Where the page is, with the token in it if there is one."""
        assert self._socket is not None
        host = self.settings.host.strip("[]")
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.settings.certificate else "http"
        token = f"/?token={self.settings.secret}" if self.settings.secret else "/"
        return f"{scheme}://{host}:{self._socket.getsockname()[1]}{token}"

    @property
    def port(self) -> int:
        """The port taken."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Serve until `stop`, or until Ctrl-C where this runs in the main thread."""
        if self._socket is None:
            self.bind()
        assert self._socket is not None
        config = uvicorn.Config(
            self.app,
            log_level="warning",
            ws="websockets-sansio",
            ws_max_size=self.settings.max_message,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            ws_per_message_deflate=False,
            limit_concurrency=4 * self.settings.visitors + 64,
            timeout_graceful_shutdown=3,
            server_header=False,
            ssl_certfile=self.settings.certificate or None,
            ssl_keyfile=self.settings.key or None,
        )
        self._server = uvicorn.Server(config)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._model_thread.stop()

    def run(self) -> None:
        """`serve` in an event loop of its own."""
        asyncio.run(self.serve())

    def stop(self) -> None:
        """End `serve`; from any thread."""
        if self._server is not None:
            self._server.should_exit = True

    # -- who may -----------------------------------------------------------------------------------------------------

    def refusal(self, connection: HTTPConnection) -> str | None:
        """Why a request is refused, or None."""
        host = connection.headers.get("host", "")
        name = urlsplit(f"//{host}").hostname or ""
        if self.settings.local and not is_local(name):
            # A page elsewhere whose name was made to point here (DNS rebinding).
            return f"this page is for this machine only, not for the name {name!r}"
        origin = connection.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return f"the origin {origin} is not this page"
        if self.settings.secret and not self._has_token(connection):
            return "the token is missing or wrong: open the address that `emotalk live` printed"
        return None

    def _has_token(self, connection: HTTPConnection) -> bool:
        for given in (connection.query_params.get("token"), connection.cookies.get(_COOKIE)):
            if given is not None and secrets.compare_digest(given.encode(), self.settings.secret.encode()):
                return True
        return False

    # -- pages -------------------------------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        if request.query_params.get("token"):
            # Into a cookie, so that it stands in no address, history or screenshot.
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(
                _COOKIE, self.settings.secret, httponly=True, samesite="strict", secure=bool(self.settings.certificate)
            )
            return answer
        return FileResponse(STATIC / "index.html")

    async def _glb(self, request: Request) -> Response:
        return Response(self._avatar, media_type="model/gltf-binary")

    async def _config(self, request: Request) -> Response:
        return JSONResponse(
            {
                "names": ARKIT_NAMES,
                "emotions": {label: [round(float(v), 4) for v in expression(label, 1.6)] for label in EMOTIONS},
                "voice": self.make_voice is not None,
                "persons": self.persons,
                "feeds": list(self.feeds),
                "avatar": self._avatar_name,
                "max_visitors": self.settings.visitors,
            }
        )

    async def _match(self, request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_MAPPING_BYTES:
                return PlainTextResponse("too many names", 413)
        try:
            words = json.loads(body)
            names, text = words["names"], words.get("mapping")
            if not isinstance(names, list) or len(names) > _MAX_NAMES or not all(isinstance(n, str) for n in names):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return PlainTextResponse(f"expected names: a list of up to {_MAX_NAMES} texts", 400)
        mapping = self._mapping if words.get("default") else None
        try:
            found = match(names, parse_mapping(text) if isinstance(text, str) else mapping)
        except MappingError as error:
            return JSONResponse({"error": str(error)})
        rows = {name: [[ARKIT_NAMES.index(home), w] for home, w in ws.items()] for name, ws in found.targets.items()}
        return JSONResponse(
            {
                "targets": rows,
                "unmatched": found.unmatched,
                "silent": found.silent,
                "vowels": found.vowels,
                "report": found.report(),
            }
        )

    async def _record(self, request: Request) -> Response:
        recording = self._shelf.get(request.path_params["name"])
        if recording is None:
            return PlainTextResponse("this recording is gone: only the last few are kept", 404)
        form = request.path_params["form"]
        names = {"csv": "face.csv", "livelink-csv": "face_livelink.csv", "wav": "speech.wav", "bag": "face_bag.zip"}
        if form not in names:
            return PlainTextResponse(f"no form {form!r}: one of {', '.join(names)}", 404)
        try:
            data, kind = await asyncio.to_thread(recording.file, form)
        except ValueError as error:
            return PlainTextResponse(str(error), 409)
        return Response(data, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{names[form]}"'})

    async def _live(self, websocket: WebSocket) -> None:
        await websocket.accept()
        if len(self.sessions) >= self.settings.visitors:
            await websocket.send_text(
                json.dumps({"type": "error", "text": f"all {self.settings.visitors} places are taken: try again later"})
            )
            await websocket.close(TRY_LATER, "all places are taken")
            return
        session = Session(
            websocket, self.make_voice, self._model_thread, self.settings, self._shelf, self.feeds, self._state
        )
        self.sessions.add(session)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)

    def _state(self) -> dict[str, Any]:
        return {"visitors": len(self.sessions)}


class _Static(StaticFiles):
    """Scripts with their proper types, whatever the machine's registry says."""

    def file_response(self, full_path: Any, *arguments: Any, **options: Any) -> Response:
        answer = super().file_response(full_path, *arguments, **options)
        kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
        kind = kinds.get(Path(full_path).suffix)
        if kind:
            answer.headers["content-type"] = f"{kind}; charset=utf-8"
        return answer


class _Guard:
    """Refuses who may not come, and puts the safety headers on every answer."""

    def __init__(self, app: Any, server: LiveServer) -> None:
        self._app, self._live = app, server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._live.refusal(HTTPConnection(scope))
        if scope["type"] == "websocket":
            if refusal:
                socket_ = WebSocket(scope, receive, send)
                await socket_.close(POLICY, refusal[:120])
                return
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *((k.lower().encode(), v.encode()) for k, v in _HEADERS.items()),
                    *message["headers"],
                ]
            await send(message)

        if refusal:
            await PlainTextResponse(refusal, 403)(scope, receive, with_headers)
        else:
            await self._app(scope, receive, with_headers)


def _port_words(settings: LiveSettings, error: OSError) -> str:
    import errno

    where = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"the port {settings.port} is in use (another `emotalk live`?): choose another with --port, or 0 for any"
    if error.errno == errno.EACCES:
        return f"the port {settings.port} needs root: choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return f"{settings.host} is no address of this machine: use localhost, or 0.0.0.0 for all of them ({error})"
    return f"{where} cannot be had: {error}"
