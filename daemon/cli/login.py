"""`hrmd login`: the day's access token, by logging in with a browser.

Invariant: secret, code and token come from the environment, a credential, a prompt or the browser, never from the
command line, and are never printed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from daemon.brokers.adapter import Ability
from daemon.brokers.calls import rate_budget
from daemon.brokers.choice import ADAPTERS
from daemon.calls.hiding import Hiding
from daemon.calls.outcome import Done, Rejected
from daemon.calls.secret import Secret
from daemon.cli.options import AsJson, Config, Overrides, print_json, run_loop, settings_and_logs
from daemon.core.clock import LiveClock, wall_ns
from daemon.core.errors import CheckFailed, UsageError
from daemon.fyers.access import check_app_id, endpoints
from daemon.fyers.credentials import SECRET_VARIABLE, Credentials, app_secret, write_token
from daemon.fyers.login import LoginRequest, RedirectListener, app_id_hash
from daemon.fyers.rest import FyersRest
from daemon.orders.token_watch import TokenWatch
from daemon.settings.orders import FyersSettings
from daemon.settings.tree import Settings


def login(
    paste: Annotated[
        bool, typer.Option("--paste", help="Paste the address that the browser ends at, instead of listening for it.")
    ] = False,
    patience_s: Annotated[float, typer.Option(min=1, help="How long to wait for the browser, seconds.")] = 300.0,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Get the day's Fyers access token into broker.fyers.token_file.

    The app's secret is read from systemd's credential fyers-secret, else from the variable FYERS_SECRET_KEY, else asked
    for.
    """
    settings = settings_and_logs(config, overrides)
    broker, fyers = settings.broker, settings.broker.fyers
    _check_needed(settings)
    endpoints(fyers)  # said before a person logs in, as is the next
    check_app_id(fyers)
    request = LoginRequest(fyers.api_url, fyers.app_id, fyers.redirect_url)
    secret = app_secret(os.environ) or Secret(_ask("the app's secret", f"set {SECRET_VARIABLE}"))
    say = _to_stderr if as_json else _to_stdout
    if paste or not request.listens_here:
        say(f"log in here:\n\n  {request.url}\n\nthen paste the address that the browser was sent to (it isn't shown)")
        code = request.pasted(_ask("address or auth_code", "paste it on stdin"))
        token = run_loop(_validate(fyers, secret, code))
    else:
        token = run_loop(_listen(fyers, request, secret, patience_s, say))
    Credentials(fyers.app_id, token.reveal())  # what no header can carry is no token
    write_token(fyers.token_file, token)
    watch = TokenWatch(token, broker.live.token_warn_s)
    if as_json:
        answer = {"token_file": str(fyers.token_file), "expires_ts": watch.expires_ts}
        print_json(answer)
    else:
        typer.echo(f"the token is in {fyers.token_file}; it {watch.text(wall_ns())}")


async def _listen(
    fyers: FyersSettings, request: LoginRequest, secret: Secret, patience_s: float, say: Callable[[str], None]
) -> Secret:
    async with RedirectListener(request) as listener:
        say(f"log in here:\n\n  {request.url}\n\nwaiting at {request.redirect} for at most {patience_s:g} s")
        code = await listener.code(patience_s)
        return await _validate(fyers, secret, code)


async def _validate(fyers: FyersSettings, secret: Secret, code: Secret) -> Secret:
    """The token for the code. Raises `CheckFailed` where the venue says no, or says nothing."""
    clock = LiveClock()
    async with FyersRest(None, rate_budget(fyers), clock, endpoints(fyers)) as rest:
        outcome = await rest.validate_authcode(app_id_hash(fyers.app_id, secret), code)
    if isinstance(outcome, Done):
        return outcome.value
    hiding = Hiding(secret.reveal(), code.reveal())
    if isinstance(outcome, Rejected):
        raise CheckFailed(
            f"Fyers refused the login ({outcome.code}: {hiding.line(outcome.message)}); look at app id, secret and "
            "redirect address of the app, and log in once more"
        )
    raise CheckFailed(f"Fyers did not answer ({hiding.line(outcome.reason)}); log in once more")


def _check_needed(settings: Settings) -> None:
    """Raise `UsageError` where nothing that is set wants a token of it."""
    used = [ADAPTERS[name] for name in (settings.broker.name, settings.feed.source) if name in ADAPTERS]
    if used and not any(Ability.LOGIN in adapter.can for adapter in used):
        raise UsageError(
            f"broker.name {settings.broker.name}, feed.source {settings.feed.source}: {used[0].title} needs no hrmd "
            "login: log in to the broker there, and put the API key into its key_file (docs/brokers.md)"
        )


def _ask(what: str, otherwise: str) -> str:
    """A line that isn't shown, from the terminal or from stdin. Raises `UsageError` where there is none."""
    text = str(typer.prompt(what, hide_input=True, err=True)) if sys.stdin.isatty() else sys.stdin.readline()
    if not text.strip():
        raise UsageError(f"{what}: none was given; {otherwise}")
    return text.strip()


def _to_stdout(text: str) -> None:
    typer.echo(text)


def _to_stderr(text: str) -> None:
    typer.echo(text, err=True)
