"""A seed → what is done to a daemon in one session, and when: faults of everything around it, and its operators.

A plan is a list of actions and nothing else, so that it can be written down, cut in half and tried again. What comes to
pass besides (prices, decisions, latencies) is drawn from the seed by streams of their own and doesn't depend on the
plan. Invariant: a seed and an aim give the same plan, whatever was simulated before.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final, Literal

import msgspec

from daemon.core.events import MigrationStage
from tests.simulation.scenes import Scene

FIRST: Final = "NSE:SBIN-EQ"
SHARE: Final = "NSE:RELIANCE-EQ"
CONTRACTS: Final = {"NSE:RELIANCE26JANFUT": "future", "NSE:RELIANCE26JAN1400CE": "option"}
UNNAMED: Final = ("BSE:RELIANCE-A",)
"""What OpenAlgo has no name for that we know."""
OTHERS: Final = (*UNNAMED, *CONTRACTS)
"""Where no stop is one at market, where nothing is delivered, and where both holds and nothing is sold short."""
WARM_UP_S: Final = 50.0
HEALED_S: Final = 200.0
"""From here on nothing fails any more and operators only resume."""
RECORDED: Final = 0.4
"""In so many of the sessions the ticks are recorded."""
CROWDED: Final = 0.25
"""In so many of those in which something is asked for over HTTP something befalls the server, and somebody halts."""
HEARD: Final = 0.5
"""In so many of them somebody listens to the stream of events."""
ON_A_BAD_DISK: Final = 0.35
"""In so many of them something befalls the small files."""
FORGETFUL: Final = 0.15
"""In so many of them a process ends just as an exit has to wait."""
GRADUAL: Final = 0.5
"""In so many of them a migration, where one goes on, has come to the share before."""
NO_SHARE_OF_NSE: Final = 0.3
"""In so many of them the second instrument is of another kind."""
OTHERWISE_SET: Final = 0.3
"""In so many of them something is set otherwise than in all others."""
BY_OPENALGO: Final = 0.2
"""In so many of them the broker is reached by an OpenAlgo server."""
ACTIVE_WITHIN_S: Final = 130.0
"""So long after that the daemon must trade again."""


class Do(StrEnum):
    """What may be done; the room it belongs to comes first."""

    KILL = "process.kill"
    POWER_CUT = "process.power_cut"
    TERMINATE = "process.terminate"
    BLOCK = "wire.block"
    BLOCK_ANSWERS = "wire.block_answers"
    REFUSE = "wire.refuse"
    CUT = "wire.cut"
    SLOW_WIRE = "wire.slow"
    PLACE_LOST = "venue.place_lost"
    PLACE_SILENT = "venue.place_silent"
    PLACE_LATE = "venue.place_late"
    PLACE_SLOW = "venue.place_slow"
    PLACE_BROKEN = "venue.place_broken"
    PLACE_BROKEN_AFTER = "venue.place_broken_after"
    PLACE_GARBLED = "venue.place_garbled"
    PLACE_NO_ACK = "venue.place_no_ack"
    PLACE_REJECTED = "venue.place_rejected"
    PLACE_REJECTED_LATER = "venue.place_rejected_later"
    PLACE_PARTIAL = "venue.place_partial"
    CANCEL_LOST = "venue.cancel_lost"
    CANCEL_SILENT = "venue.cancel_silent"
    BOOK_BROKEN = "venue.book_broken"
    BOOK_STALE = "venue.book_stale"
    POSITIONS_BROKEN = "venue.positions_broken"
    LIMITED = "venue.limited"
    PUSH_LOST = "venue.push_lost"
    PUSH_TWICE = "venue.push_twice"
    PUSH_REORDERED = "venue.push_reordered"
    PUSH_CUT = "venue.push_cut"
    PUSH_MUTE = "venue.push_mute"
    TICKS_CUT = "ticks.cut"
    TICKS_MUTE = "ticks.mute"
    TICKS_LATE = "ticks.late"
    TICKS_TWICE = "ticks.twice"
    TICKS_WRONG = "ticks.wrong"
    TICKS_FROZEN = "ticks.frozen"
    DISK_FULL = "disk.full"
    DISK_LOCKED = "disk.locked"
    DISK_BROKEN = "disk.broken"
    DISK_SLOW = "disk.slow"
    DISK_HANGS = "disk.hangs"
    THOUGHT_HANGS = "thought.hangs"
    THOUGHT_SLOW = "thought.slow"
    THOUGHT_RAISES = "thought.raises"
    THOUGHT_JUNK = "thought.junk"
    OWN_RAISES = "own.raises"
    OWN_ANSWERS = "own.no_answers"
    OWN_WILD = "own.wild_answers"
    OWN_HANGS = "own.hangs"
    CLOCK_JUMPS = "clock.jumps"
    CLOCK_LEAPS = "clock.leaps"
    CLOCK_DRIFTS = "clock.drifts"
    CLOCK_SLEEPS = "clock.sleeps"
    DISK_FORGETS = "disk.forgets"
    CANCEL_REFUSED = "venue.cancel_refused"
    BOOK_LAGS = "venue.book_lags"
    PUSH_ECHO = "venue.push_echo"
    TOKEN_DIES = "token.dies_at_a_call"
    TOKEN_DIES_PUSHING = "token.dies_at_a_push"
    TOKEN_DIES_FEEDING = "token.dies_at_the_feed"
    STATION_CRASHES = "station.crashes"
    STATION_CRASHES_AGAIN = "station.crashes_again"
    MARKET_HALTED = "market.halted"
    MARKET_AUCTION = "market.auction"
    MARKET_PAUSED = "market.paused"
    MARKET_LOCKED = "market.locked"
    MARKET_BANDED = "market.banded"
    SQUARED_OFF = "market.squared_off"
    SPLIT = "market.split"
    HALT = "operator.halt"
    RESUME = "operator.resume"
    REDUCE = "operator.reduce"
    FLATTEN = "operator.flatten"
    PLACE = "operator.place"
    CANCEL = "operator.cancel"
    SWAP = "operator.swap"
    ROLL_BACK = "operator.roll_back"
    TRADE_ELSEWHERE = "operator.trade_elsewhere"
    CHANGE_ELSEWHERE = "operator.change_elsewhere"
    ASK_HALT = "http.halt"
    ASK_RESUME = "http.resume"
    ASK_REDUCE = "http.reduce"
    ASK_FLATTEN = "http.flatten"
    ASK_ORDER = "http.order"
    ASK_CANCEL = "http.cancel"
    ASK_SWAP = "http.swap"
    ASK_CONFIG = "http.config"
    ASK_RELOAD = "http.reload"
    MODEL_LOADED = "model.loaded"
    MODEL_BACK = "model.back"
    MODEL_REFUSED = "model.refused"
    MODEL_HANGS = "model.hangs"
    CANARY_BEGINS = "canary.begins"
    CANARY_PROMOTED = "canary.promoted"
    CANARY_ENDS = "canary.ends"
    MIGRATION_ADVANCES = "migration.advances"
    MIGRATION_BACK = "migration.back"
    TAPE_FULL = "tape.full"
    TAPE_BROKEN = "tape.broken"
    TAPE_UNCUT = "tape.uncut"
    TAPE_SLOW = "tape.slow"
    TAPE_FORGETS = "tape.forgets"
    FILES_FULL = "files.full"
    FILES_BROKEN = "files.broken"
    FILES_READ_ONLY = "files.read_only"
    FILES_HANG = "files.hang"
    FILES_FORGET = "files.forget"
    CONTROL_STANDS = "control.stands"
    CONTROL_CROWD = "control.crowd"
    CONTROL_LEFT = "control.left"
    CONTROL_HEARD = "control.heard"


OPERATORS: Final = frozenset(do for do in Do if do.startswith("operator."))
DEATHS: Final = (Do.KILL, Do.POWER_CUT, Do.TERMINATE)
BY_HTTP: Final = ("http.", "model.", "canary.", "migration.")
"""Rooms of what is asked for at the control API."""
SERVED: Final = (*BY_HTTP, "control.")
"""Rooms for which it listens."""
COMMON: Final = (Do.KILL, Do.POWER_CUT, Do.HALT, Do.RESUME, Do.PLACE, Do.CANCEL, Do.PLACE_SILENT, Do.PLACE_LOST, Do.CUT)
"""What comes more often than its share."""
TAPE: Final = tuple(do for do in Do if do.startswith("tape."))
"""What befalls the recording alone."""
FILES: Final = tuple(do for do in Do if do.startswith("files."))
"""What befalls the small files alone."""
CONTROL: Final = (Do.CONTROL_STANDS, Do.CONTROL_CROWD, Do.CONTROL_LEFT)
"""What befalls the server of the control API alone."""
EXCUSES_NOTHING: Final = frozenset((*TAPE, *FILES, *CONTROL, Do.CONTROL_HEARD))
"""What trading owes all the same, whatever of these there is."""
ASKS_ONLY: Final = frozenset(
    (*TAPE, *FILES, Do.CONTROL_CROWD, Do.CONTROL_HEARD, *(do for do in Do if do.startswith("http.")))
)
"""What holds up nobody who asks for something over HTTP."""

SET: Final = (
    "risk.exits_when_halted=false", "execution.cancel_on_shutdown=false", "execution.working_timeout_s=3",
    "broker.live.market_orders=protected", "broker.live.funds_difference=halt", "broker.live.external_orders=ignore",
    "broker.live.external_orders=halt", "broker.live.product=CNC", "broker.live.product=MARGIN",
    "risk.max_net_notional=20000", "risk.max_day_drawdown=40", "risk.duplicate_window_s=45",
    "feed.record.on_failure=halt", "journal.snapshot_every=100", "journal.group_commit_ms=200",
    "supervisor.max_failed_decisions=1", "supervisor.tries_per_day=3", "supervisor.ladder=[hrm, flat]",
    "market.freeze_quantities={SBIN: 5, RELIANCE: 4}",
    "market.instruments=[{symbol: 'NSE:SBIN-EQ', kind: equity, lot_size: 3}]",
    "risk.limits={'NSE:SBIN-EQ': {max_order_quantity: 5, max_position_quantity: 9}}",
)  # fmt: skip
"""What may be set otherwise."""

OTHERS_LEFT: Final = ("broker.live.external_orders=ignore", "broker.live.external_orders=halt")
"""With these what somebody else does in the account isn't booked, so that nobody can say what is to be held."""
ELSEWHERE: Final = (Do.TRADE_ELSEWHERE, Do.CHANGE_ELSEWHERE)

MOMENTS: Final = (
    "OrderIntent", "OrderApproved", "OrderSent", "OrderAccepted", "OrderUnknown", "OrderCancelRequested", "Fill",
    "Decision", "CancelOrder", "Halt", "Reduce", "TradingStateChanged", "ManualOrder", "LoadModel", "ModelLoaded",
    "BeginCanary", "CanaryChanged", "EndCanary", "ControlAction", "SwapStrategy", "StrategySwapped", "SettingChanged",
    "PriceAdjusted", "PositionRestated", "AdvanceMigration", "RollBackMigration", "MigrationChanged",
)  # fmt: skip
"""Events that an action may wait for: between them and the next one lies what a death or a command can tear apart."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is done `at` seconds, or from then on at the first chance.

    `when`: as soon as the system stands like that (`World.standing`). `after`: right after the next event of that type.

    `seconds`: how long a fault lasts, or a daemon stays down. `number`: steps before a death, milliseconds of a jump,
    which order or symbol.
    """

    at: float
    do: Do
    seconds: float = 0.0
    number: int = 0
    when: str = ""
    after: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A session."""

    seed: int
    actions: tuple[Action, ...]
    shuffled: bool = True
    """Whether tasks that are ready together run in an order that is drawn."""
    limits: bool = False
    """Whether entries are limit orders, which may rest."""
    records: bool = False
    """Whether the daemon records its ticks."""
    gradual: bool = False
    """Whether a migration begins with a candidate that decides on a share already."""
    other: str = SHARE
    """What is traded beside the first share."""
    speaks: Literal["fyers", "openalgo"] = "fyers"
    """Whose API the venue has."""
    changes: tuple[str, ...] = ()
    """What is set otherwise than in other sessions, such as `journal.snapshot_every=100`."""
    scene: Scene = Scene.MIDDAY
    aim: str = ""
    """The pair of fault and state that it was made to see, such as `process.kill@active:unknown:fresh`."""

    @property
    def symbols(self) -> tuple[str, str]:
        """What is traded."""
        return FIRST, self.other

    def symbol_of(self, action: Action) -> str:
        """Which of them it befalls."""
        return self.symbols[action.number % 2]

    @property
    def migration(self) -> MigrationStage:
        """Where a migration stands when the session begins."""
        if not self.has("migration."):
            return MigrationStage.NONE
        return MigrationStage.GRADUAL if self.gradual else MigrationStage.PARALLEL

    def has(self, *rooms: str) -> bool:
        """Whether anything of these rooms is done in it."""
        return any(action.do.startswith(rooms) for action in self.actions)


def plan_of(seed: int, aim: str = "") -> Plan:
    """What happens in a session of that seed."""
    rng = random.Random(f"plan:{seed}:{aim}")
    count = min(16, 1 + int(rng.expovariate(1 / 8)))
    favourites = rng.sample(
        [do for do in Do if do not in EXCUSES_NOTHING], 12
    )  # of each session other kinds, so that they meet
    if rng.random() < 0.15:  # what is begun in one way is ended in another
        favourites += [do for do in Do if do.startswith(rng.choice(BY_HTTP))]
    actions = [_action(rng, rng.choice(COMMON if rng.random() < 0.3 else favourites)) for _ in range(count)]
    if aim:
        kind, _, state = aim.partition("@")
        actions += [
            msgspec.structs.replace(_action(rng, Do(kind)), when=state, at=WARM_UP_S, after="") for _ in range(2)
        ]
    recording = random.Random(f"tape:{seed}:{aim}")  # of its own, so that what was drawn before stays as it was
    records = recording.random() < RECORDED or any(action.do in TAPE for action in actions)
    if records:
        actions += [_action(recording, recording.choice(TAPE)) for _ in range(recording.randrange(4))]
    bad = random.Random(f"files:{seed}:{aim}")
    if bad.random() < ON_A_BAD_DISK:
        actions += [_action(bad, bad.choice(FILES)) for _ in range(1 + bad.randrange(3))]
    crowd = random.Random(f"control:{seed}:{aim}")
    if any(action.do.startswith(SERVED) for action in actions) and crowd.random() < CROWDED:
        met = _action(crowd, crowd.choice(CONTROL))
        halt = msgspec.structs.replace(met, do=Do.ASK_HALT, at=round(met.at + 0.2, 3))
        actions += [met, halt, msgspec.structs.replace(halt, do=Do.ASK_RESUME, at=round(halt.at + 9.0, 3))]
    listening = random.Random(f"heard:{seed}:{aim}")
    if any(action.do.startswith(SERVED) for action in actions) and listening.random() < HEARD:
        actions += [_action(listening, Do.CONTROL_HEARD) for _ in range(1 + listening.randrange(2))]
    owing = random.Random(f"owed:{seed}:{aim}")
    if owing.random() < FORGETFUL:
        death = _action(owing, owing.choice(DEATHS))
        actions.append(msgspec.structs.replace(death, at=WARM_UP_S, after="ExitOwed"))
    actions.sort(key=lambda action: action.at)
    shuffled, limits = rng.random() < 0.7, rng.random() < 0.5
    scene = rng.choice(list(Scene)) if rng.random() < 0.4 else Scene.MIDDAY
    if any(action.do is Do.SPLIT for action in actions):
        scene = Scene.CARRIED
    setting = random.Random(f"set:{seed}:{aim}")
    trading = random.Random(f"other:{seed}:{aim}")
    other = trading.choice(OTHERS) if trading.random() < NO_SHARE_OF_NSE else SHARE
    openalgo = random.Random(f"speaks:{seed}:{aim}").random() < BY_OPENALGO
    if any(action.do is Do.SPLIT for action in actions) or (openalgo and other in UNNAMED):
        other = SHARE
    may = [it for it in SET if it not in OTHERS_LEFT or not any(action.do in ELSEWHERE for action in actions)]
    may = [it for it in may if other not in CONTRACTS or not it.startswith(("market.", "broker.live.product=CNC"))]
    changes = tuple(setting.sample(may, 1 + setting.randrange(3))) if setting.random() < OTHERWISE_SET else ()
    return Plan(
        seed=seed, actions=tuple(actions), shuffled=shuffled, limits=limits, scene=scene, aim=aim, records=records,
        changes=changes, other=other,
        speaks="openalgo" if openalgo else "fyers",
        gradual=random.Random(f"gradual:{seed}:{aim}").random() < GRADUAL,
    )  # fmt: skip


def _action(rng: random.Random, do: Do) -> Action:
    at = round(rng.uniform(WARM_UP_S / 2 if rng.random() < 0.2 else WARM_UP_S, HEALED_S - 15), 3)
    if rng.random() < 0.5:  # bars close and decisions come just after a whole minute: so does trouble
        at = round(at // 60 * 60 + 61.0 + rng.expovariate(1.0), 3)
    seconds = round(min(rng.expovariate(1 / 10), 70.0), 3)
    after = rng.choice(MOMENTS) if rng.random() < (0.7 if do in DEATHS else 0.3) else ""
    number = rng.randrange(1000)
    return Action(at=min(at, HEALED_S - 10), do=do, seconds=max(0.05, seconds), number=number, after=after)
