"""A wish for another model → the command on the bus and on disk, and what became of it → whoever asked.

Invariant: an answer is the event that the journal has; where none comes in time nothing is said of the model.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from daemon.control.manual_desk import ManualDesk
from daemon.control.view import ModelAnswer, ModelTicket, NotTradingError
from daemon.core.bus import Bus
from daemon.core.clock import Clock
from daemon.core.events import LoadModel, ModelLoaded, ModelRefused

ANSWER_S = 110.0
"""Loading may take twice `daemon.strategy.switching.LOAD_S`."""


class ModelDesk:
    """Implements `daemon.control.view.ModelDesk`."""

    answer_s = ANSWER_S
    """How long whoever asked is kept waiting."""

    def __init__(
        self, bus: Bus, clock: Clock, desk: ManualDesk, after_restart: Callable[[ModelLoaded], str],
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._desk = desk
        self._after_restart = after_restart
        self._chance = chance
        self._waiting: dict[str, asyncio.Future[ModelLoaded | ModelRefused]] = {}
        bus.tap((ModelLoaded, ModelRefused), self._answered)

    async def load_model(self, ticket: ModelTicket) -> ModelAnswer:
        """What became of it.

        Raises `NotTradingError` before trading begins or while nothing can be journaled, and `TimeoutError` where no
        answer came in time: it may still be loaded.
        """
        if not self._desk.open:
            raise NotTradingError("hrmd has not begun to trade, or is ending")
        key = self._chance(8).hex()
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        command = LoadModel(
            ts=self._clock.now_ns(), key=key, model=ticket.model, who=ticket.who, reason=ticket.reason
        )  # fmt: skip
        try:
            await self._desk.command(command)
            async with asyncio.timeout(self.answer_s):
                became = await waiting
        finally:
            del self._waiting[key]
        if isinstance(became, ModelRefused):
            return ModelAnswer(
                loaded=False, model=became.model, model_hash="", before="", reason=became.reason, after_restart="",
                ts=became.ts,
            )  # fmt: skip
        return ModelAnswer(
            loaded=True, model=became.name, model_hash=became.model_hash, before=became.before, reason=became.reason,
            after_restart=self._after_restart(became), ts=became.ts,
        )  # fmt: skip

    def _answered(self, event: ModelLoaded | ModelRefused) -> None:
        waiting = self._waiting.get(event.key)
        if waiting is not None and not waiting.done():
            waiting.set_result(event)
