"""`hrmd login` as its user runs it, against a sandbox: through the listener, pasted, and refused."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from daemon.calls.secret import expiry_ns
from daemon.fyers.credentials import read_token
from daemon.sandbox.market_rest import SECRET
from tests.integration.daemons import MAIN, PATIENCE_S, ROOT
from tests.unit.fyers.test_login import free_port
from tests.unit.sandbox.desk import Desk, opened


class Login:
    """The command in a process of its own."""

    def __init__(self, desk: Desk, directory: Path, *arguments: str, secret: str | None = SECRET) -> None:
        self.token_file = directory / "var" / "fyers.token"
        places = (
            f"broker.fyers.api_url={desk.endpoints.api}", f"broker.fyers.data_url={desk.endpoints.data}",
            f"broker.fyers.calls_file={directory}/var/fyers.calls", f"broker.fyers.token_file={self.token_file}", f"broker.fyers.redirect_url=http://127.0.0.1:{free_port()}/",
        )  # fmt: skip
        sets = [word for place in places for word in ("--set", place)]
        self.arguments = [sys.executable, "-c", MAIN, "login", *arguments, *sets]
        self.environment = {name: text for name, text in os.environ.items() if name != "FYERS_SECRET_KEY"}
        if secret is not None:
            self.environment["FYERS_SECRET_KEY"] = secret

    async def __aenter__(self) -> Login:
        self.process = await asyncio.create_subprocess_exec(
            *self.arguments, cwd=ROOT, env=self.environment, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        self.said = ""
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def address(self) -> str:
        """The address that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while (found := re.search(r"http\S+generate-authcode\S+", self.said)) is None:
                line = await self.process.stdout.readline()
                assert line, self.said
                self.said += line.decode()
        return found[0]

    async def end(self, typed: str = "") -> int:
        """What it exits with."""
        async with asyncio.timeout(PATIENCE_S):
            rest, _ = await self.process.communicate(typed.encode())
        self.said += rest.decode()
        assert self.process.returncode is not None
        return self.process.returncode


@pytest.mark.parametrize("as_json", [False, True])
async def test_through_the_listener(tmp_path: Path, as_json: bool) -> None:
    """The browser's login ends at the listener; the token is the owner's, works, and isn't shown."""
    async with opened() as desk, Login(desk, tmp_path, *(["--json"] if as_json else [])) as login:
        async with aiohttp.ClientSession() as browser, browser.get(await login.address()) as page:
            assert page.status == 200
        assert await login.end() == 0, login.said
        token = read_token(login.token_file)
        assert expiry_ns(token) is not None
        assert login.token_file.stat().st_mode & 0o777 == 0o600
        assert "expires" in login.said
        for secret in (token.reveal(), SECRET):
            assert secret not in login.said


async def test_pasted(tmp_path: Path) -> None:
    """Secret and address come on stdin, neither is echoed."""
    async with opened() as desk, Login(desk, tmp_path, "--paste", secret=None) as login:
        assert login.process.stdin is not None
        login.process.stdin.write(f"{SECRET}\n".encode())
        address = await login.address()
        async with desk.http.get(address, allow_redirects=False) as answer:
            ended_at = answer.headers["Location"]
        assert await login.end(ended_at + "\n") == 0, login.said
        assert login.token_file.exists()
        for secret in (SECRET, ended_at, read_token(login.token_file).reveal()):
            assert secret not in login.said


async def test_a_wrong_secret(tmp_path: Path) -> None:
    """Exit 1 with what the venue said and what to look at; nothing is stored, no secret is named."""
    async with opened() as desk, Login(desk, tmp_path, secret="not-the-secret") as login:
        async with aiohttp.ClientSession() as browser, browser.get(await login.address()):
            pass
        assert await login.end() == 1
        assert "Fyers refused the login (-352: Invalid app id hash)" in login.said
        assert "Traceback" not in login.said
        assert "not-the-secret" not in login.said
        assert not login.token_file.exists()
