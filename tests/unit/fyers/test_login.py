"""The login's address, what comes back from it, and what is refused."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from yarl import URL

from daemon.calls.secret import Secret
from daemon.core.errors import UsageError
from daemon.fyers.login import LoginRequest, RedirectListener, app_id_hash

API = "https://api.invalid/api/v3"


def request_at(redirect: str = "http://127.0.0.1:8766/") -> tuple[LoginRequest, str]:
    """A login and its state."""
    request = LoginRequest(API, "AB12-100", redirect)
    return request, URL(request.url).query["state"]


def test_the_address() -> None:
    """All that Fyers asks for; the state is another one each time."""
    request, state = request_at()
    query = URL(request.url).query
    assert request.url.startswith(f"{API}/generate-authcode?")
    assert (query["client_id"], query["redirect_uri"], query["response_type"]) == (
        "AB12-100", "http://127.0.0.1:8766/", "code",
    )  # fmt: skip
    assert len(state) >= 24
    assert state != request_at()[1]


def test_the_hash_is_of_app_id_and_secret() -> None:
    """SHA-256 of "app id:secret", as `printf AB12-100:XYZ | sha256sum` says."""
    assert app_id_hash("AB12-100", Secret("XYZ")) == (
        "5704b375fb1201b74541f5764fd3aa903eb4ccfa2957f94842581e208babd750"
    )


@pytest.mark.parametrize(
    "form", ["{r}?s=ok&code=200&auth_code=abc&state={s}", "  {r}?auth_code=abc&state={s}\n", "abc"]
)
def test_pasted(form: str) -> None:
    """The whole address or the code alone."""
    request, state = request_at()
    assert request.pasted(form.format(r="http://127.0.0.1:8766/", s=state)) == Secret("abc")


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ("", "nothing was pasted"),
        ("http://127.0.0.1:8766/?auth_code=abc&state=other", "another state"),
        ("http://127.0.0.1:8766/?auth_code=abc", "another state"),
        ("http://127.0.0.1:8766/?s=error&auth_code=&state={s}", "no auth_code"),
        ("http://127.0.0.1:8766/?s=error&auth_code=abc&state={s}", "no auth_code"),
        ("http://127.0.0.1:8766/", "no auth_code"),
        ("two words", "no auth_code"),
        ("http://[auth_code=x", "no address"),
    ],
)
def test_what_can_not_be_used(form: str, why: str) -> None:
    """Says why, in one line without the code."""
    request, state = request_at()
    with pytest.raises(UsageError, match=why) as caught:
        request.pasted(form.format(s=state))
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("redirect", "here"),
    [("http://127.0.0.1:8766/", True), ("http://localhost:9/x", True), ("https://127.0.0.1:8766/", False),
     ("https://trade.example/login", False)],
)  # fmt: skip
def test_where_the_redirect_leads(redirect: str, here: bool) -> None:
    """Only plain HTTP on this machine can be listened for."""
    assert request_at(redirect)[0].listens_here is here


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_the_browser_comes_back() -> None:
    """A foreign answer is refused and doesn't end the waiting; ours does, and its page names no code."""
    request, state = request_at(f"http://127.0.0.1:{free_port()}/")
    async with RedirectListener(request) as listener, aiohttp.ClientSession() as browser:
        waiting = asyncio.ensure_future(listener.code(10))
        for query, status in (({"auth_code": "evil", "state": "x"}, 400), ({"auth_code": "abc", "state": state}, 200)):
            async with browser.get(request.redirect.with_query(query)) as answer:
                assert answer.status == status
                assert "abc" not in await answer.text()
        assert await waiting == Secret("abc")


async def test_nobody_comes() -> None:
    """The waiting ends by itself and says what else there is."""
    request, _ = request_at(f"http://127.0.0.1:{free_port()}/")
    async with RedirectListener(request) as listener:
        with pytest.raises(UsageError, match=r"within 0\.05 s.*--paste"):
            await listener.code(0.05)


async def test_the_port_is_taken() -> None:
    """Named, with the way around it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        request, _ = request_at(f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(UsageError, match=r"broker\.fyers\.redirect_url: .* can't be listened on"):
            async with RedirectListener(request):
                pass
