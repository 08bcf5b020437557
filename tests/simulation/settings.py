"""The settings of a simulated daemon: small limits, short time-outs, a venue on a simulated port."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from daemon.settings.feed import RecordSettings
from daemon.settings.tree import Settings
from tests.samples import settings_of
from tests.simulation.brains import CANDIDATE
from tests.simulation.own_class import OWN
from tests.simulation.plan import CONTRACTS, FIRST, SERVED, Plan
from tests.simulation.scenes import Stage
from tests.simulation.succession import SESSIONS

PORT = 8642
"""Of the control API."""
MAX_POSITION, MAX_ORDER, MAX_A_MINUTE = 40, 12, 6
MAX_GROSS, MAX_LOSS = 45_000, 120
CALLS_A_MINUTE = 200
"""What the sandbox takes."""
MOST_UNITS = "risk.max_order_quantity"
"""A limit that operators change while it runs."""

RECORDING = RecordSettings(when="live").model_copy(update={"queue_ticks": 4})
"""So few ticks fit into the queue that a slow disk is soon too slow."""


def _contract(symbol: str) -> str:
    return f"{{symbol: '{symbol}', kind: {CONTRACTS[symbol]}, lot_size: 3, expiry: 2026-01-27}}"


@cache
def base_settings(symbols: tuple[str, ...], changes: tuple[str, ...] = ()) -> Settings:
    """Of every session that trades these, but for these changes."""
    return settings_of(
        "strategy.name=hrm", "strategy.interval=1m", "bars.intervals=[1m, 5m, 30m]",
        "supervisor.ladder=[hrm, rules, flat]", "supervisor.triggers.flaps_per_hour=1000",
        "supervisor.max_steps_per_day=1000", "supervisor.health.every_s=5", "supervisor.health.disk_warn_gb=0.001",
        "supervisor.health.disk_fail_gb=0.0001", "model_management.artifact=null", "control.enabled=false",
        f"feed.symbols=[{', '.join(symbols)}]", "feed.source=fyers", "feed.record.when=never",
        "broker.name=fyers", "broker.live.answer_s=3", "execution.working_timeout_s=20",
        f"risk.max_position_quantity={MAX_POSITION}", f"risk.max_order_quantity={MAX_ORDER}",
        f"risk.max_orders_per_minute={MAX_A_MINUTE}", "market.symbol_master.use=never",
        f"risk.max_gross_notional={MAX_GROSS}", f"risk.max_daily_loss={MAX_LOSS}",
        f"risk.max_order_notional={MAX_GROSS}",
        "migration.parallel_sessions=1", f"migration.gradual_sessions={SESSIONS}",
        f"market.instruments=[{', '.join(_contract(it) for it in symbols if it in CONTRACTS)}]",
        f"canary.symbols=[{FIRST}]", "canary.max_loss_bp=0.5", *changes,
    )  # fmt: skip


def settings_at(port: int, directory: Path, stage: Stage, plan: Plan) -> Settings:
    """Of a daemon on the sandbox at this port, for what is to be done in its session."""
    base, here = base_settings(plan.symbols, plan.changes), f"127.0.0.1:{port}"
    account = base.broker.fyers.model_copy(
        update={
            "api_url": f"http://{here}/api/v3", "data_url": f"http://{here}/data",
            "order_socket_url": f"ws://{here}/trade/v3", "token_file": directory / "token",
            "socket_url": f"ws://{here}/hsm/v1-5/prod", "symbol_token_url": f"http://{here}/data/symbol-token",
            "index_map_url": f"http://{here}/sym_details/index_hsm_mapping.json",
            "calls_file": directory / "calls",
        }
    )  # fmt: skip
    server = base.broker.openalgo.model_copy(
        update={
            "url": f"http://{here}", "socket_url": f"ws://{here}/ws", "key_file": directory / "token",
            "calls_file": directory / "calls", "calls_per_minute": CALLS_A_MINUTE,
        }
    )  # fmt: skip
    broker = base.broker.model_copy(update={"name": plan.speaks, "fyers": account, "openalgo": server})
    entries = {"order_type": "LIMIT", "limit_offset_bp": 0.0} if plan.limits else {}
    candidate = {"candidate": CANDIDATE} if plan.has("migration.") else {}
    decides = {"name": OWN} if plan.has("own.") else {}
    recording = {"path": directory / "tapes", "on_failure": base.feed.record.on_failure}
    record = {"record": RECORDING.model_copy(update=recording)} if plan.records else {}
    minutes = {"square_off_minutes": stage.square_off_minutes, "no_entries_minutes": stage.square_off_minutes}
    names = {"token_file": directory / "control.token", "tokens_file": directory / "control.tokens"}
    control = {"enabled": True, "port": PORT, **names} if plan.has(*SERVED) else {}
    return base.model_copy(
        update={
            "control": base.control.model_copy(update=control),
            "strategy": base.strategy.model_copy(update=minutes | decides),
            "migration": base.migration.model_copy(update=candidate),
            "execution": base.execution.model_copy(update=entries),
            "feed": base.feed.model_copy(update={"source": plan.speaks} | record),
            "broker": broker,
            "journal": base.journal.model_copy(update={"path": directory / "journal.sqlite"}),
        }
    )
