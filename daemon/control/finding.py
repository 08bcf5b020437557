"""What was typed, set and written down by running daemons → the one daemon that `hrmd ctl` speaks to.

In this order: `--url` and `--token-file`; `control` of the settings where anybody set it (`-c`, `HRMD_CONTROL__PORT`,
`--set`); a daemon that runs and has written down where (`daemon.control.rendezvous`); the defaults, in the working
directory. Invariant: the address is a loopback one, and where several daemons could be meant none is chosen.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard
from urllib.parse import urlsplit

from daemon.control.rendezvous import Running, running_daemons
from daemon.core.errors import UsageError
from daemon.settings.layers import DEFAULT, Layers, read_layers

LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
PLACE: Final = ("host", "port", "token_file")
UNIX: Final = "unix:"
OTHERS: Final = frozenset(
    {"enabled", "tokens_file", "socket", "public", "session_hours", "reads_per_s", "writes_per_s", "heavy_per_minute"}
)
"""What else `control` has, and no client needs."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a daemon listens: on a port, or on the unix socket at `path`."""

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        """As a URL."""
        if self.path:
            return f"{UNIX}{self.path}"
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """The daemon to speak to; `remark` is what the user should know about how it was found, or ""."""

    address: Address
    token_file: Path
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """`control` of the settings, as far as a client needs it."""

    host: str
    port: int
    token_file: Path

    @property
    def address(self) -> Address:
        """Raises `UsageError` where only the daemon knows its port."""
        if self.port == 0:
            raise UsageError("control.port: 0 lets the daemon pick a port; name its address with --url")
        return Address(self.host, self.port)


def find(
    config: Path | None, overrides: Sequence[str] | None, url: str | None, token_file: Path | None,
    environment: Mapping[str, str] = os.environ,
) -> Target:  # fmt: skip
    """The daemon that is meant. Raises `UsageError`, also where several run and nothing says which."""
    named = None if url is None else loopback_address(f"--url {url}", url)
    if named is not None and token_file is not None:
        return Target(named, token_file)  # a broken settings file must not keep anyone from halting
    layers = read_layers(config, overrides, environment)
    place = control_place(layers, config)
    is_set = any(layers.origin(f"control.{key}") != DEFAULT for key in PLACE)
    if not is_set or (place.port == 0 and named is None):
        found = _found(running_daemons(environment), named, token_file)
        if found is not None:
            return found
    return Target(named or place.address, token_file or place.token_file)


def control_place(layers: Layers, path: Path | None = None) -> Place:
    """The client's part of `control`. What is not written plainly is read, or refused, by all of the settings."""
    control = layers.values["control"]
    if isinstance(control, dict) and set(control) <= OTHERS.union(PLACE):
        host, port, token_file = (control.get(key) for key in PLACE)
        number = int(port) if _is_number(port) else -1
        if host in LOOPBACK and 0 <= number <= 65535 and isinstance(token_file, str):
            return Place(str(host), number, Path(token_file))
    from daemon.settings.loading import build_settings

    whole = build_settings(layers, path).control
    return Place(whole.host, whole.port, whole.token_file)


def loopback_address(what: str, url: str) -> Address:
    """The address in a URL; raises `UsageError` that begins with `what`."""
    address = _address(url)
    if address is None:
        raise UsageError(
            f"{what}: expected http://127.0.0.1:PORT (or localhost, [::1]), or unix:PATH: control is local only"
        )
    return address


def _address(url: str) -> Address | None:
    if url.startswith(UNIX):
        return Address("localhost", 80, url.removeprefix(UNIX)) if len(url) > len(UNIX) else None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        return None
    plain = parts.scheme == "http" and parts.path in ("", "/") and not (parts.query or parts.fragment)
    return Address(host, port) if plain and host in LOOPBACK else None


def _is_number(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,4}", value) is not None


def _found(running: Sequence[Running], named: Address | None, token_file: Path | None) -> Target | None:
    """The one daemon that runs, or the one of several that was started here; only such as fit what was typed."""
    here = os.path.realpath(".")
    fitting = [
        (address, one)
        for one in running
        if (address := _address(one.url)) is not None
        and (named is None or address == named)
        and (token_file is None or os.path.realpath(one.token_file) == os.path.realpath(token_file))
    ]
    local = [pair for pair in fitting if pair[1].directory == here]
    chosen = local if len(local) == 1 else fitting
    if len(chosen) > 1:
        raise UsageError(f"several daemons run: {'; '.join(str(one) for _, one in chosen)}; name one with --url")
    if not chosen:
        return None
    address, one = chosen[0]
    told = len(running) > 1 or one.directory != here
    return Target(address, Path(one.token_file), f"to the daemon at {one}" if told and named is None else "")
