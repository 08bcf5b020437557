"""Texts of the venue → the same texts without our secrets, short enough for a journal.

A venue that quotes a bad header quotes all of it, or the part that fits its own limit; so every piece of a secret is
looked for, not only the whole.
Invariant: secrets are hidden before a text is cut, and no piece of `PIECE` characters of a secret is left.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from daemon.core.texts import one_line

HIDDEN: Final = "***"
PIECE: Final = 8
"""So many characters in a row of a secret are taken for a part of it; a shorter secret is hidden where it is whole."""
MAX_CHARS: Final = 300
_PROBE: Final = 4
_STRIDE: Final = PIECE - _PROBE + 1
"""Whatever holds a piece holds a probe at one of these steps: a text without one needs no closer look."""

_COVERED: Final = re.compile("\x01+")


class Hiding:
    """Knows the secrets of one account; shows itself without them."""

    __slots__ = ("_pieces", "_probes", "_short")

    def __init__(self, *secrets: str) -> None:
        """Empty ones are none. As they stand in an address (percent-encoded) they are known, too."""
        known = {form for secret in secrets if secret for form in (secret, quote(secret, safe=""))}
        self._short = sorted((secret for secret in known if len(secret) < PIECE), key=len, reverse=True)
        self._pieces = {text[at : at + PIECE] for text in known for at in range(len(text) - PIECE + 1)}
        self._probes = {piece[at : at + _PROBE] for piece in self._pieces for at in range(_STRIDE)}

    def finds(self, text: str) -> bool:
        """Whether `text` holds a piece of a secret; short secrets, which anything may hold, aside."""
        return any(text[at : at + PIECE] in self._pieces for at in self._places(text))

    def hide(self, text: str) -> str:
        """`text` with `***` for every piece of a secret, and for every short secret that is whole."""
        covered = None
        for at in self._places(text):
            if text[at : at + PIECE] in self._pieces:
                covered = covered if covered is not None else bytearray(len(text))
                covered[at : at + PIECE] = b"\x01" * PIECE
        if covered is not None:
            text = self._uncover(text, covered.decode("ascii"))
        for secret in self._short:
            text = text.replace(secret, HIDDEN)
        return text

    def line(self, text: object, most: int = MAX_CHARS) -> str:
        """As one printable line without secrets, and only then cut to `most` characters; "" for None."""
        return one_line(self.hide(" ".join(("" if text is None else str(text)).split())), most)

    def _places(self, text: str) -> range:
        """Where a piece may begin: nowhere in nearly every text."""
        probed = (text[at : at + _PROBE] for at in range(0, len(text), _STRIDE))
        return range(0) if self._probes.isdisjoint(probed) else range(len(text) - PIECE + 1)

    @staticmethod
    def _uncover(text: str, covered: str) -> str:
        kept, end = [], 0
        for run in _COVERED.finditer(covered):
            kept.append(text[end : run.start()])
            end = run.end()
        return HIDDEN.join([*kept, text[end:]])

    def __repr__(self) -> str:
        return f"Hiding({HIDDEN})"


NOTHING: Final = Hiding()
"""For texts that are met without a secret at hand."""
