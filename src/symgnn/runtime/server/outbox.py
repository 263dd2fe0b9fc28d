"""A talk over a WebSocket: the client is read as it comes, and sent the newest of each kind, however slowly it reads."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress

from fastapi import WebSocket, WebSocketDisconnect

from symgnn.errors import InputError
from symgnn.runtime.server.limits import BROKEN, POLICY, RefusedError
from symgnn.runtime.server.wire import dumps

_logger = logging.getLogger("symgnn.server")

Message = str | bytes

REASON = 123
"""Bytes of a close frame's reason at most (RFC 6455, 5.5)."""


class Outbox:
    """The one writer of a WebSocket, with a slot a kind of message.

    Args:
        websocket: accepted.
        patience: seconds that a message may wait for the client to read.
    """

    def __init__(self, websocket: WebSocket, patience: float):
        self._websocket = websocket
        self._patience = patience
        self._slots: OrderedDict[Hashable, Callable[[], Message]] = OrderedDict()
        self._end: tuple[int, str] | None = None
        self._wake = asyncio.Event()

    def put(self, kind: Hashable, message: Callable[[], Message]) -> bool:
        """Let a message wait, made when its turn comes, in place of an older one of its kind.

        Returns:
            Whether an older one was replaced, unsent.
        """
        replaced = kind in self._slots
        self._slots[kind] = message
        self._wake.set()
        return replaced

    def end(self, code: int, sentence: str) -> None:
        """Say why and close, after what waits; the first reason counts."""
        self._end = self._end or (code, sentence)
        self._wake.set()

    async def run(self) -> tuple[int, str] | None:
        """Send until the end, or until the client is gone.

        Returns:
            Close code and sentence; None where the client was gone first.
        """
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._slots:
                    _, message = self._slots.popitem(last=False)
                    await self._send(message())
                if self._end is not None:
                    return await self._close(*self._end)
        except TimeoutError:
            return await self._close(POLICY, f"what was sent lay unread for {self._patience:g} s: read faster, or ask for less")
        except WebSocketDisconnect:
            return None

    async def _send(self, message: Message) -> None:
        async with asyncio.timeout(self._patience):
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)

    async def _close(self, code: int, sentence: str) -> tuple[int, str]:
        try:
            async with asyncio.timeout(1.0):
                await self._websocket.send_text(dumps({"type": "error", "message": sentence}))
                await self._websocket.close(code, sentence.encode()[:REASON].decode(errors="ignore"))
        except (TimeoutError, WebSocketDisconnect):
            # It did not read, or is gone: whoever owns the connection cuts it.
            pass
        return code, sentence


async def converse(
    websocket: WebSocket, outbox: Outbox, take: Callable[[Message], float], idle: float | None
) -> tuple[int, str] | None:
    """Read and write until the client goes or is sent away.

    Args:
        websocket: accepted.
        outbox: of it.
        take: given each message, tells how many seconds to wait before the next one is read; what it raises ends the talk with
            a sentence.
        idle: seconds without a message that are too many; None for any number.

    Returns:
        Close code and sentence; None where the client went.
    """
    reader = asyncio.create_task(_read(websocket, outbox, take, idle))
    writer = asyncio.create_task(outbox.run())
    try:
        await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        if not writer.done() and reader.result():
            return None
        return await writer
    finally:
        for task in (reader, writer):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _read(websocket: WebSocket, outbox: Outbox, take: Callable[[Message], float], idle: float | None) -> bool:
    """Whether the client went; otherwise the outbox was told to close."""
    try:
        while True:
            async with asyncio.timeout(idle):
                message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return True
            text = message.get("text")
            # Of many messages that came at once the next one has to wait for those of other clients at least.
            await asyncio.sleep(take(message["bytes"] if text is None else text))
    except TimeoutError:
        outbox.end(POLICY, f"no message for {idle:g} s: connect again when there is one")
    except RefusedError as refusal:
        outbox.end(refusal.code, refusal.sentence)
    except InputError as error:
        outbox.end(POLICY, str(error))
    except Exception:
        _logger.exception("a message could not be dealt with")
        outbox.end(BROKEN, "the service failed on this message; its log says why")
    return False
