"""A process around the real SDK's data socket: it subscribes on the sandbox and prints what it parsed, a line each.

Arguments: a JSON object with `token`, `socket`, `tokens` (the symbol service), `indices` (the index names), `symbols`,
`kind` (SymbolUpdate or DepthUpdate), `lite` and `logs` (a folder). Its threads outlive `main`: who started it ends it.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def say(event: str, message: Any) -> None:
    """One JSON line; the SDK prints to stdout too, so ours begin with a mark."""
    sys.stdout.write(f"@{json.dumps([event, message], default=str)}\n")
    sys.stdout.flush()


def main() -> None:
    """Point the SDK at the sandbox, connect and subscribe."""
    from fyers_apiv3.FyersWebsocket import data_ws, defines

    wanted = json.loads(sys.argv[1])

    class Symbols(data_ws.SymbolConversion):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.symbols_token_api = wanted["tokens"]

    data_ws.SymbolConversion = Symbols
    defines.INDEX_HSM_MAPPING_API = wanted["indices"]
    client = data_ws.FyersDataSocket(
        wanted["token"], log_path=wanted["logs"], litemode=wanted["lite"], reconnect=False,
        on_message=lambda message: say("message", message), on_error=lambda message: say("error", message),
        on_close=lambda message: say("close", message),
    )  # fmt: skip
    client._FyersDataSocket__url = wanted["socket"]
    client.connect()
    client.subscribe(wanted["symbols"], wanted["kind"])
    say("subscribed", None)


if __name__ == "__main__":
    main()
