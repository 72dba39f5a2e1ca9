"""A server that verifies NTLM, connection by connection, with the acceptor of pyspnego."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from tests.network.sinner import Sinner

USER = r"CORP\svc_pi"
PASSWORD = "Sesame-0pen"
_PASSED_ON = ("Accept", "Accept-Encoding", "Content-Type", "X-Requested-With")
_PASSED_BACK = ("Content-Type", "Content-Encoding", "Date")


def credentials_file(folder: Path) -> Path:
    """What the acceptor reads through NTLM_USER_FILE."""
    path = folder / "ntlm_users"
    path.write_text(f"CORP:svc_pi:{PASSWORD}\n", encoding="utf-8")
    return path


class NtlmServer:
    """Lets in connections that have logged in, and refuses everything else, as HTTP.sys does."""

    def __init__(self, *, offers: tuple[str, ...] = ("Negotiate", "NTLM"), close_after: frozenset[str] = frozenset()):
        self.offers = offers
        self.close_after = close_after  # "challenge", "answer"
        self.waiting: dict[Any, Any] = {}  # by connection: a login that is half done
        self.users: dict[Any, str] = {}  # by connection
        self.accepted: list[tuple[str, str]] = []  # user, method
        self.refused: list[str] = []  # why
        self.proofs = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        connection = request.transport
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.upper() == "NTLM":
            return self._step(connection, base64.b64decode(token), request)
        if connection not in self.users:
            return self._refuse("not logged in")
        return self._welcome(connection, request)

    def _step(self, connection: Any, token: bytes, request: web.Request) -> web.StreamResponse:
        import spnego
        from spnego.exceptions import SpnegoError

        self.users.pop(connection, None)
        if token[8] == 1:
            context = self.waiting[connection] = spnego.server(protocol="ntlm")
            challenge = base64.b64encode(context.step(token) or b"").decode()
            answer = web.Response(status=401, headers={"WWW-Authenticate": f"NTLM {challenge}"})
            if "challenge" in self.close_after:
                answer.force_close()
            return answer
        self.proofs += 1
        context = self.waiting.pop(connection, None)
        if context is None:
            return self._refuse("a proof on another connection than its challenge")
        try:
            context.step(token)
        except SpnegoError:
            return self._refuse("wrong proof")
        self.users[connection] = str(context.client_principal)
        return self._welcome(connection, request)

    def _refuse(self, why: str) -> web.StreamResponse:
        self.refused.append(why)
        answer = web.Response(status=401)
        for offer in self.offers:
            answer.headers.add("WWW-Authenticate", offer)
        return answer

    def _welcome(self, connection: Any, request: web.Request) -> web.StreamResponse:
        self.accepted.append((self.users[connection], f"{request.method} {request.path}"))
        answer = web.json_response({"Name": self.users[connection]})
        if "answer" in self.close_after:
            answer.force_close()
        return answer


class MixingProxy:
    """A proxy with two connections to the server, which it takes in turns, whatever connection a request came by."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._turn = 0
        self._lines: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    def close(self) -> None:
        for _, writer in self._lines:
            writer.close()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if not self._lines:
            self._lines = [await asyncio.open_connection("127.0.0.1", self._port) for _ in range(2)]
        reader, writer = self._lines[self._turn % 2]
        self._turn += 1
        login = request.headers.get("Authorization")
        writer.write(
            f"{request.method} {request.raw_path} HTTP/1.1\r\nHost: pi\r\n".encode()
            + (f"Authorization: {login}\r\n" if login else "").encode()
            + b"\r\n"
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        answer = web.Response(status=int(head[0].split(" ")[1]), headers={"Via": "1.1 proxy"})
        length = 0
        for line in filter(None, head[1:]):
            name, _, value = line.partition(": ")
            if name.lower() == "content-length":
                length = int(value)
            if name.lower() == "www-authenticate":
                answer.headers.add(name, value)
        answer.body = await reader.readexactly(length)
        return answer


@asynccontextmanager
async def guarding(url: str, server: NtlmServer) -> AsyncIterator[str]:
    """The PI Web API at `url`, which wants no login, behind a server that does; gives its address."""
    async with ClientSession(auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            answer = await server(request)
            if answer.status != 200:
                return answer
            headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
            target = url + request.raw_path.removeprefix("/piwebapi")
            async with session.request(request.method, target, data=await request.read(), headers=headers) as behind:
                passed = {name: behind.headers[name] for name in _PASSED_BACK if name in behind.headers}
                return web.Response(status=behind.status, body=await behind.read(), headers=passed)

        async with Sinner([pass_on]) as pi:
            yield pi.url
