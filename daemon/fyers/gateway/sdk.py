"""The one module that touches fyers-apiv3: its data socket, pointed at any address, its swallowed errors counted.

The SDK is used for what it must do, the protocol: its own reconnection is off, because it forgets its subscriptions
and after the last try tells nobody; a gateway whose link ends is started anew instead. Only the gateway's process may
import this module. Invariant: no exception of the SDK's own making is lost uncounted.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from fyers_apiv3.FyersWebsocket import data_ws, defines

from daemon.fyers.gateway.assignment import Assignment
from daemon.fyers.gateway.calls import CountedCalls

LOGGER: Final = "FyersDataSocket"
AUTHENTICATION: Final = defines.AUTH_TYPE
SUBSCRIPTION: Final = defines.SUBS_TYPE
DONE: Final = defines.SUCCESS_CODE

Callback = Callable[[Any], None]


class _Swallowed(logging.Handler):
    """Counts what the SDK logs instead of raising."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def emit(self, record: logging.LogRecord) -> None:
        """Count the exception that a record carries."""
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None:
            self._counts[kind.__name__] += 1


class SdkLink:
    """One data socket of the SDK; the callbacks come on its own thread."""

    def __init__(
        self,
        assignment: Assignment,
        counted: CountedCalls,
        on_message: Callback,
        on_error: Callback,
        on_close: Callback,
    ) -> None:
        self.swallowed: Counter[str] = Counter()
        self._symbols = list(assignment.symbols)
        _point_at(assignment, counted)
        self._socket = data_ws.FyersDataSocket(
            access_token=assignment.token,
            log_path=".",  # the gateway's own directory, which goes when it does
            reconnect=False,
            on_message=on_message,
            on_error=on_error,
            on_close=on_close,
            on_connect=_ignore,
        )
        self._socket._FyersDataSocket__url = assignment.socket_url
        logger = logging.getLogger(LOGGER)
        logger.handlers[:] = [_Swallowed(self.swallowed)]
        logger.propagate = False

    def connect(self) -> None:
        """Begin; what comes of it is told by the callbacks. The SDK sleeps two seconds in its own call, we don't."""
        threading.Thread(target=self._socket.connect, daemon=True).start()

    def subscribe(self) -> None:
        """Ask for all symbols; blocks for calls over HTTP that the SDK gives no time-out."""
        self._socket.subscribe(symbols=self._symbols, data_type="SymbolUpdate")


def _point_at(assignment: Assignment, counted: CountedCalls) -> None:
    """Let the SDK look symbols up where the assignment says, and wait for the rate budget before it does."""
    defines.INDEX_HSM_MAPPING_API = assignment.index_map_url

    class Conversion(data_ws.SymbolConversion):  # type: ignore[misc]  # the SDK has no types
        """Symbols to topics, by the assignment's address."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.symbols_token_api = assignment.symbol_token_url

        @classmethod
        def load_index_hsm_mapping_from_api(cls) -> Any:
            """The names of the indices, asked for once a process; it is another host's call, and counted to be safe."""
            if cls._index_hsm_mapping_cache is not None:
                return cls._index_hsm_mapping_cache
            with counted.one():
                return super().load_index_hsm_mapping_from_api()

        def symbol_to_hsmtoken(self, symbols: list[str]) -> Any:
            """The topics of at most 500 symbols: one call. The SDK gives it no time-out."""
            with counted.one():
                return super().symbol_to_hsmtoken(symbols)

    data_ws.SymbolConversion = Conversion


def _ignore() -> None:
    """`on_connect` comes two seconds after the attempt, whatever came of it."""
