"""Title, body and scripts → one HTML document that needs nothing else.

Invariant: the page's policy lets nothing in but the very scripts and styles that were put in here, by their hashes: no
address is fetched, and what a text smuggles in is not run.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from daemon.core.errors import UsageError
from daemon.core.files import check_folder, resolved

CHARTS = "lightweight-charts.js"
ATTRIBUTION = (
    "Charts: TradingView Lightweight Charts™, Copyright © TradingView, Inc. "
    '<a href="https://www.tradingview.com/" rel="noopener noreferrer">www.tradingview.com</a>, Apache License 2.0.'
)
"""What the licence of `CHARTS` asks for on every page that draws with it."""


def check_page(path: Path) -> None:
    """Raise `UsageError` where a page can't be written to `path`: to be asked before a run of hours, not after it."""
    try:
        check_folder(path.parent)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, f"its {path.name} is a directory")
    except OSError as error:
        raise UsageError(f"report {path.parent}: can't be written ({error.strerror})") from None


def write_page(path: Path, text: str, named: Path) -> None:
    """Put a page at `path`, whole or not at all; raises `UsageError` with what the user `named` where that can't be."""
    target = resolved(path)
    fresh = target.with_name(f".{target.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"report {named}: can't be written ({error.strerror})") from None


def asset(name: str) -> str:
    """A file of `daemon/report/assets` as text."""
    return files("daemon.report").joinpath("assets", name).read_text(encoding="utf-8")


def document(title: str, body: str, scripts: Sequence[str] = (), block: str = "") -> str:
    """The page: `body` is HTML, `scripts` are run in order after it, `block` is JSON that they find as `#run`."""
    style = asset("page.css")
    for script in scripts:
        if "</script" in script.lower() or "<!--" in script:
            raise ValueError("a script that would end its own element")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {' '.join(map(_hash, scripts)) or _NOTHING}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    data = f'<script type="application/json" id="run">{block}</script>' if block else ""
    run = "".join(f"<script>{script}</script>" for script in scripts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n{body}\n{data}\n{run}\n</body>\n</html>\n"
    )


_NOTHING = "'none'"


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], figures: int = 1) -> str:
    """A table of HTML cells; columns from number `figures` on hold figures. On a telephone each row is a card."""
    head = "".join(f"<th{_class(n, figures)} scope=col>{name}</th>" for n, name in enumerate(heads))
    lines = "".join(
        "<tr>" + "".join(f'<td{_class(n, figures)} data-l="{heads[n]}">{cell}</td>' for n, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )  # fmt: skip
    return f"<table class=stack><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"


def _class(number: int, figures: int) -> str:
    return " class=n" if number >= figures else ""


def toned(text: str, value: float) -> str:
    """`text` in the colour of a gain or a loss."""
    kind = "up" if value > 0 else "down" if value < 0 else ""
    return f'<span class="{kind}">{text}</span>' if kind else text


def meter(share: float, kind: str = "") -> str:
    """A bar that fills `share` of its room; something is always seen of what is more than nothing."""
    width = max(0.5, min(100.0, 100 * share)) if share > 0 else 0.0
    return f'<svg class="meter {kind}" aria-hidden="true"><rect width="{width:.1f}%" height="100%" rx="3"/></svg>'


def banners(lines: Sequence[str]) -> str:
    """What a reader must know before the first number; lines of HTML."""
    return "".join(f'<div class="banner">{line}</div>' for line in lines)


def card(title: str, body: str, kind: str = "") -> str:
    """A section with a head; both are HTML."""
    return f'<section class="card {kind}"><h2>{title}</h2>{body}</section>'
