"""The service as a process: an address of its own, a model, and an end that leaves nobody without a word."""

import errno
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import numpy as np
import uvicorn

from symgnn.errors import InputError
from symgnn.models.checkpoint import CHANNELS, Described
from symgnn.runtime.answering import answer
from symgnn.runtime.onnx_model import load_model
from symgnn.runtime.server.app import Service, create_app
from symgnn.runtime.server.limits import Limits
from symgnn.runtime.server.playback import programme
from symgnn.runtime.server.security import Access, is_loopback

_logger = logging.getLogger("symgnn.server")

UNREAD = 2**18
"""Bytes that the system keeps for a client that does not read (it doubles them); what is newer waits with us."""

SWITCH = 0.001
"""Seconds that one thread may keep the interpreter from another (5 ms in Python)."""

_CLOSING, _SILENT, _STUCK = 10.0, 15.0, 30.0
"""Seconds until a connection is cut that should be closed, has no request, or reads nothing."""


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    origins: Sequence[str] = (),
    play: str | None = None,
    horizon: int | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
    say: Callable[[str], object] = _logger.info,
) -> None:
    """Serve a model until SIGTERM or SIGINT.

    The address is taken first, then the model is read, and only then are connections accepted: whoever connects is answered.

    Args:
        model: a checkpoint, the name of a shipped one, or an exported ``.onnx`` file.
        host, port: where to listen; port 0 is any that is free.
        token: what clients have to bring; beyond loopback one is made where none is given.
        origins: of pages elsewhere that may speak to the service, "https://example.org".
        play: what pages see while nobody streams: a store, STORE:7, or a clip; by default the built-in motion.
        horizon: frames to predict where a client does not say.
        threads: of the model; by default a core is left to the rest of the service, and to whoever else is on the machine.
        limits: what a client may ask.
        say: told where to connect.

    Raises:
        InputError: the address cannot be had, or the model or the clip cannot be read.
    """
    limits = limits or Limits()
    threads = max(1, (os.cpu_count() or 1) - 1) if threads is None else threads
    # Inference lets go of the interpreter hundreds of times a window, and gets it back from the event loop only this often.
    sys.setswitchinterval(SWITCH)
    if token is not None and not token.strip():
        raise InputError("--token: found an empty one, expected some letters that are hard to guess")
    with bind(host, port) as address:
        trained = load_model(model, threads)
        made = token is None and not is_loopback(host)
        token = secrets.token_urlsafe() if made else token
        _warm(trained)
        service = Service(trained, limits, horizon=horizon, clips=programme(play, trained))
        server = make_server(service, Access.of(host, token, origins))
        try:
            address.listen(1024)
        except OSError as error:
            raise _no_address(host, port, error) from None
        place = f"http://{_host_to_open(host)}:{address.getsockname()[1]}/"
        told = [f"{trained.preset.name} at {place}{f'?token={quote(token or str())}' if made else ''} (Ctrl-C ends it)"]
        if token is not None and not made:
            told.append("clients bring the token that was given; a browser is told it by ?token=... at the end of that address")
        server.at_work = lambda: [say(line) for line in told]
        server.run(sockets=[address])


def make_server(service: Service, access: Access) -> "Server":
    """What listens for a service."""
    limits, shape = service.limits, service.shape
    config = uvicorn.Config(
        create_app(service, access),
        http="h11",
        loop="asyncio",
        ws="auto",
        ws_max_size=max(limits.message, 64 * shape.stored * shape.channels),
        # Poses hardly get smaller, and what is small may unfold to much.
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=limits.sessions + limits.viewers + 256,
        timeout_graceful_shutdown=3,
    )
    return Server(config, service)


def _warm(model: Described) -> None:
    """Answer once: the first answer takes several times as long as the others."""
    data = model.preset.data
    answer(model, np.zeros((1, data.observed, model.layout.num_nodes, CHANNELS[data.space]), np.float32), data.future)


class Server(uvicorn.Server):
    """Uvicorn that says goodbye, ends with 0, and cuts connections that hold on to nothing.

    Left alone it closes WebSockets at once and without a word (1012), ends by the signal it got, and waits without end for
    requests that never become whole and for clients that never read.
    """

    def __init__(self, config: uvicorn.Config, service: Service):
        super().__init__(config)
        self.at_work: Callable[[], object] = lambda: None
        """Called when it answers connections, and signals."""
        self._service = service
        self._since: WeakKeyDictionary[Any, tuple[str, float]] = WeakKeyDictionary()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends it in order, a second Ctrl-C at once (a second SIGTERM may be the first, passed on twice)."""
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.at_work()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if not self.force_exit:
            await self._service.drain()
        await super().shutdown(sockets)
        if self.force_exit:
            # Uvicorn leaves it out then, and its task would be torn down with a traceback.
            await self.lifespan.shutdown()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self._cut(time.monotonic())
        return await super().on_tick(counter)

    def _cut(self, now: float) -> None:
        for connection in list(self.server_state.connections):
            transport = connection.transport
            cycle = getattr(connection, "cycle", self)
            if transport.is_closing():
                state, patience = "closing", _CLOSING
            elif transport.get_write_buffer_size() > 0:
                state, patience = "stuck", _STUCK
            elif cycle is None or (cycle is not self and cycle.response_complete):  # pyright: ignore[reportAttributeAccessIssue]
                state, patience = "silent", _SILENT
            else:
                state, patience = "", float("inf")
            before, since = self._since.setdefault(connection, (state, now))
            if before != state:
                self._since[connection] = (state, now)
            elif now - since > patience:
                transport.abort()  # pyright: ignore[reportAttributeAccessIssue]


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet.

    Raises:
        InputError: there is no such address, or somebody has it.
    """
    if not 0 <= port < 65536:
        raise InputError(f"--port: found {port}, expected 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise InputError(f"--host: found {host!r}, expected an address of this machine, such as 127.0.0.1 or 0.0.0.0") from None
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _no_address(host, port, error) from None
    return bound


def _no_address(host: str, port: int, error: OSError) -> InputError:
    match error.errno:
        case errno.EADDRINUSE:
            return InputError(f"port {port} of {host} is in use: end what listens there, or choose another with --port")
        case errno.EACCES:
            return InputError(f"port {port} of {host} may not be taken by this user: choose one from 1024 on with --port")
        case _:
            return InputError(f"{host}:{port} cannot be listened at: {error.strerror}: choose another --host or --port")


def _host_to_open(host: str) -> str:
    """The host as it stands in an address to open."""
    if host in ("0.0.0.0", "::", "[::]", ""):
        return socket.gethostname()
    return f"[{host.strip('[]')}]" if ":" in host else host
