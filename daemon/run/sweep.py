"""Settings to try, tapes, instruments and seeds → trials in a SQLite study, each with what it came to.

Trials are asked for in rounds of a fixed size. What a round tries depends on the finished rounds before it and on the
seed alone, never on how many processes there are or which was faster; a trial is written when it is finished, in one
transaction. Invariant: a sweep that is killed and begun again, however often, ends with the same table as one that is
not.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from daemon.core.clock import india_day
from daemon.core.code import file_sha256
from daemon.core.errors import HrmdError, SettingsError, UsageError
from daemon.report.summary import ReplaySummary, equity_curve
from daemon.report.sweep import TrialRow, Tried
from daemon.run.many import Job
from daemon.run.space import check_grid, ends_of, point_of, points_of, space_of
from daemon.settings.layers import laid_over
from daemon.settings.loading import build_settings
from daemon.settings.tree import Settings
from models.training.stats import annualised, deflated_sharpe, sharpe_ratio

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

METRICS = ("sharpe", "sortino", "calmar", "total_return")
SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "halving")
ROUND = 8
STUDY = "hrmd"
SEED_KEY = "model_management.seed"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep is; two that differ in any of it aren't one sweep."""

    settings: str
    params: list[str]
    tapes: list[str]
    tapes_sha256: list[str]
    symbols: list[str]
    """Each is played by itself; empty: all together."""
    windows: int
    seeds: list[int]
    """Of the model; empty: that of the settings."""
    latency: str
    metric: str
    sampler: str
    pruner: str
    seed: int
    trials: int


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial came to on one instrument and seed."""

    values: list[float]
    """The metric in each window."""
    returns: dict[int, float]
    """By session, which the day is that it ended on, counted from 1970."""
    trades: int
    net_pnl: Decimal
    costs: Decimal
    ruined: bool
    """Whether the account came to nothing: no ratio can be said of it, and there are neither values nor returns."""
    others: int
    """Decisions of another strategy than the one whose settings were tried; `flat` opens nothing, and is none."""


class Fleet(Protocol):
    """Who plays jobs."""

    def play(self, jobs: Sequence[Job]) -> Iterable[ReplaySummary]:
        """All of them, in order."""


def wanted_of(settings: Settings, tapes: Sequence[Path], **rest: Any) -> Wanted:
    """Raises `UsageError` for tapes that can't be read, a range that is none, and settings that there are not."""
    space, values = space_of(rest["params"]), settings.model_dump_json()
    for key, tried in space.items():
        _check_setting(values, key, ends_of(tried))
    if rest["sampler"] == "grid":
        check_grid(space)
    for tape in tapes:
        if not tape.is_file():
            raise UsageError(f"{tape}: no such tape")
    return Wanted(
        settings=values, tapes=[str(tape.resolve()) for tape in tapes],
        tapes_sha256=[file_sha256(tape) for tape in tapes], **rest,
    )  # fmt: skip


def _check_setting(values: str, key: str, tried: Sequence[object]) -> None:
    """Raise `UsageError` where `key` is no setting, or none of what is to be `tried` can be a value of it.

    What can't be had with the others as they stand may be had in a trial that changes those, too.
    """
    for value in tried:
        try:
            build_settings(laid_over(values, [f"{key}={value}"]))
        except SettingsError as error:
            why = str(error).removeprefix("--set: ")
            if not why.startswith(f"{key}: ") and "no such setting" not in why:
                return
        else:
            return
    raise UsageError(f"--param {why}")


class Sweep:
    """One sweep: `run` it to its end, `rows` are its table."""

    def __init__(self, wanted: Wanted, storage: Path) -> None:
        """Open the study, or begin one. Raises `UsageError` where it is of another sweep, or Optuna isn't there."""
        self.wanted = wanted
        self.space = space_of(wanted.params)
        self._points = points_of(self.space)
        self.trials = wanted.trials if self._points is None else min(wanted.trials, self._points)
        """How many there will be: none is played twice, so there may be fewer than are wanted."""
        self._storage = storage
        self._study = _study(storage)
        before = self._study.user_attrs.get("wanted")
        now = msgspec.json.encode(msgspec.structs.replace(wanted, trials=0)).decode()
        if before is None:
            self._study.set_user_attr("wanted", now)
        elif before != now:
            raise UsageError(f"{storage}: is of another sweep ({_differs(before, now)}); name another place with -o")
        if len(self._cells()) > 1 and any("sessions_once" not in it.user_attrs for it in self._finished().values()):
            raise UsageError(
                f"{storage}: was begun by an earlier hrmd, which counted a session once for each symbol and seed; name "
                "another place with -o"
            )

    def run(self, fleet: Fleet, told: Callable[[list[TrialRow]], None]) -> list[TrialRow]:
        """Play what isn't finished; `told` is given the table so far after each round.

        Raises `UsageError` where the settings refused every trial: a table of nothing would look like a result. A
        study in which nothing was tried doesn't stay.
        """
        try:
            return self._to_the_end(fleet, told)
        except HrmdError:
            if all(row.state == "refused" for row in self.rows()):
                self._storage.unlink()
                with contextlib.suppress(OSError):  # what else is there stays
                    self._storage.parent.rmdir()
            raise

    def _to_the_end(self, fleet: Fleet, told: Callable[[list[TrialRow]], None]) -> list[TrialRow]:
        while (begun := self._next_round()) is not None:
            self._play(begun, fleet)
            told(self.rows())
        rows = self.rows()
        if all(row.state == "refused" for row in rows):
            why = self._finished()[rows[0].number].user_attrs["refused"].removeprefix("--set: ")
            raise UsageError(f"--param: no trial can be had; the first: {why}")
        return rows

    def rows(self) -> list[TrialRow]:
        """Finished trials by number."""
        trials = self._finished()
        returns = {number: np.asarray(trial.user_attrs["returns"]) for number, trial in trials.items()}
        ratios = np.asarray([sharpe_ratio(one) for number, one in returns.items() if not _is_refused(trials[number])])
        rows = []
        for number, trial in sorted(trials.items()):
            own = sharpe_ratio(returns[number])
            rows.append(
                TrialRow(
                    number=number, params=dict(trial.params), state=_state(trial),
                    value=_finite(trial.user_attrs["value"]), worst=_finite(trial.user_attrs["worst"]),
                    sharpe=_finite(annualised(own)), deflated=_finite(deflated_sharpe(returns[number], ratios)),
                    trades=trial.user_attrs["trades"], net_pnl=Decimal(trial.user_attrs["net_pnl"]),
                    costs=Decimal(trial.user_attrs["costs"]),
                )
            )  # fmt: skip
        return rows

    def tried(self, *, simulated: bool) -> Tried:
        """What its trials were played on; `simulated`: whether a program made up any of the ticks."""
        wanted, parts = self.wanted, []
        parts.append(", ".join(Path(tape).name for tape in wanted.tapes))
        parts += [f"{', '.join(wanted.symbols)}, each by itself"] if wanted.symbols else []
        parts += [f"{wanted.windows} windows"] if wanted.windows > 1 else []
        parts += [f"model seeds {', '.join(map(str, wanted.seeds))}"] if wanted.seeds else []
        parts.append(f"order latency {wanted.latency}")
        lengths = [len(trial.user_attrs["returns"]) for trial in self._finished().values()]
        return Tried(
            strategy=Settings(**msgspec.json.decode(wanted.settings)).strategy.name, on=" · ".join(parts),
            metric=wanted.metric, simulated=simulated, sessions=max(lengths, default=0),
        )  # fmt: skip

    def _finished(self) -> dict[int, FrozenTrial]:
        """By our number: the study's own is the order in which they were finished."""
        return {trial.user_attrs["number"]: trial for trial in self._study.get_trials(deepcopy=False)}

    def _next_round(self) -> list[tuple[int, Trial]] | None:
        """The trials of the first round that isn't finished, those that are left out; None after the last round."""
        import optuna

        finished = self._finished()
        left = [number for number in range(self.trials) if number not in finished]
        if not left:
            return None
        first = left[0] // ROUND * ROUND
        memory = optuna.create_study(direction="maximize", pruner=_pruner(self.wanted.pruner, len(self._cells())))
        memory.add_trials([_anew(finished[number]) for number in range(first)])
        tried = {_key(finished[number].params) for number in range(first)}
        begun = []
        for number in range(first, min(first + ROUND, self.trials)):
            trial = self._ask(memory, number, tried)
            tried.add(_key(trial.params))
            if number in left:
                begun.append((number, trial))
        return begun

    def _ask(self, memory: Study, number: int, tried: set[str]) -> Trial:
        """What the sampler would try; where that was tried before, what wasn't yet, from a drawn place of the grid on.

        The same settings come to the same result: played again they would cost time and count as one more try.
        """
        memory.sampler = _sampler(self.wanted, self.space, number)
        trial = memory.ask(self.space)
        if self._points is None or _key(trial.params) not in tried:
            return trial
        drawn = np.random.default_rng((self.wanted.seed, number)).integers(self._points)
        places = ((int(drawn) + more) % self._points for more in range(self._points))
        points = (point_of(self.space, place) for place in places)
        memory.sampler = _at(next(point for point in points if _key(point) not in tried))
        return memory.ask(self.space)

    def _cells(self) -> list[tuple[list[str], int | None]]:
        """(symbols, seed) of each replay that a trial is made of."""
        symbols = [[symbol] for symbol in self.wanted.symbols] or [[]]
        seeds: list[int | None] = [*self.wanted.seeds] or [None]
        return [(names, seed) for names in symbols for seed in seeds]

    def _play(self, begun: list[tuple[int, Trial]], fleet: Fleet) -> None:
        """Cell by cell all trials that go on; each is written as soon as it has its last."""
        cells = self._cells()
        found: dict[int, list[Cell]] = {number: [] for number, _ in begun}
        alive = [(number, trial) for number, trial in begun if not self._refused(number, trial)]
        for step, (symbols, seed) in enumerate(cells):
            if not alive:
                return
            jobs = [self._job(trial, symbols, seed) for _, trial in alive]
            going = []
            for (number, trial), summary in zip(alive, fleet.play(jobs), strict=True):
                found[number].append(cell_of(summary, self.wanted.metric, self.wanted.windows))
                if found[number][-1].ruined:
                    self._keep(number, trial, found[number], pruned=True)
                    continue
                trial.report(_mean(found[number]), step)
                over = step + 1 == len(cells)
                if over or trial.should_prune():
                    self._keep(number, trial, found[number], pruned=not over)
                else:
                    going.append((number, trial))
            alive = going

    def _refused(self, number: int, trial: Trial) -> bool:
        """Whether the settings can't be had together; such a trial is kept, and counts as tried."""
        try:
            self._job(trial, [], None)
        except SettingsError as error:
            self._keep(number, trial, [], pruned=True, why=str(error))
            return True
        return False

    def _job(self, trial: Trial, symbols: list[str], seed: int | None) -> Job:
        wanted = self.wanted
        changes = [f"{key}={value}" for key, value in trial.params.items()]
        changes += [] if seed is None else [f"{SEED_KEY}={seed}"]
        settings = build_settings(laid_over(wanted.settings, changes))
        return Job(settings=settings.model_dump_json(), tapes=wanted.tapes, symbols=symbols, latency=wanted.latency)

    def _keep(self, number: int, trial: Trial, cells: list[Cell], *, pruned: bool, why: str = "") -> None:
        import optuna

        ruined = any(cell.ruined for cell in cells)
        value = _mean(cells) if cells and not ruined else None
        told = {
            "number": number, "refused": why, "ruined": ruined, "value": value,
            "worst": None if ruined else min((one for cell in cells for one in cell.values), default=None),
            "returns": [] if ruined else _by_session(cells), "sessions_once": True,
            "others": sum(cell.others for cell in cells), "trades": sum(cell.trades for cell in cells),
            "net_pnl": str(sum((cell.net_pnl for cell in cells), Decimal())),
            "costs": str(sum((cell.costs for cell in cells), Decimal())),
        }  # fmt: skip
        states = optuna.trial.TrialState
        self._study.add_trial(
            optuna.trial.create_trial(
                state=states.PRUNED if pruned else states.COMPLETE, value=value, params=trial.params,
                distributions=self.space, user_attrs=told,
                intermediate_values={} if ruined else {step: _mean(cells[: step + 1]) for step in range(len(cells))},
            )
        )  # fmt: skip


def cell_of(summary: ReplaySummary, metric: str, windows: int) -> Cell:
    """A replay, cut into so many windows of neighbouring sessions; a metric that can't be said is 0.

    Of an account that came to nothing none can be said, and 0 would rank it above those that lost a little. Raises
    `UsageError` where the sessions are too few for so many windows.
    """
    from daemon.report.performance import measure

    curve = list(equity_curve(summary))
    ruined, sessions = summary.ruined_ts is not None, len(curve) - 1
    least = 1 if metric == "total_return" else 2
    if sessions < windows * least:
        raise UsageError(
            f"{', '.join(summary.symbols)}: too few sessions ({sessions}) for --windows {windows}; a {metric} needs "
            f"{least} in each at least"
        )
    edges = [sessions * number // windows for number in range(windows + 1)]
    values = []
    for first, last in pairwise(() if ruined else edges):
        found = getattr(measure(curve[first : last + 1], [], []), metric)
        values.append(0.0 if found is None else float(found))
    days = [india_day(point.ts) for point in summary.equity]
    returns = [] if ruined else [after / before - 1 for before, after in pairwise(curve)]
    return Cell(
        values=values, returns=dict(zip(days, returns, strict=False)), trades=summary.trades,
        net_pnl=summary.net_pnl, costs=summary.costs, ruined=ruined,
        others=sum(made for name, made in summary.deciders.items() if name not in (summary.strategy, "flat")),
    )  # fmt: skip


def ranked(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The best first: those that were played on everything, by how sure it is that they aren't luck, then by value.

    One that lost is worse than any that sat out, however sure that is.
    """

    def place(row: TrialRow) -> tuple[bool, bool, float, float, int]:
        return (row.state != "complete", row.loses, -(row.deflated or 0.0), -(row.value or 0.0), row.number)

    return sorted(rows, key=place)


def _key(params: dict[str, Any]) -> str:
    """Which trial that is, beside others of its sweep."""
    return msgspec.json.encode(params, order="sorted").decode()


def _mean(cells: Sequence[Cell]) -> float:
    values = [value for cell in cells for value in cell.values]
    return math.fsum(values) / len(values)


def _by_session(cells: Sequence[Cell]) -> list[float]:
    """Of an account of which each cell has an equal part: a session counts once, on however many it was played."""
    days = sorted({day for cell in cells for day in cell.returns})
    return [math.fsum(cell.returns.get(day, 0.0) for cell in cells) / len(cells) for day in days]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _is_refused(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs["refused"])


def _state(trial: FrozenTrial) -> str:
    if _is_refused(trial):
        return "refused"
    if trial.user_attrs.get("ruined"):
        return "ruined"
    return "swapped" if trial.user_attrs.get("others") else trial.state.name.lower()


def _anew(trial: FrozenTrial) -> FrozenTrial:
    """For the study in memory, which gives numbers of its own."""
    import optuna

    return optuna.trial.create_trial(
        state=trial.state, value=trial.user_attrs["value"], params=trial.params, distributions=trial.distributions,
        intermediate_values=trial.intermediate_values,
    )  # fmt: skip


def _study(storage: Path) -> Study:
    try:
        import optuna
    except ImportError:
        raise UsageError("hrmd sweep needs Optuna: pip install 'hrmd[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage.parent.mkdir(parents=True, exist_ok=True)
    try:
        return optuna.create_study(
            study_name=STUDY, storage=f"sqlite:///{storage}", direction="maximize", load_if_exists=True
        )
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        raise UsageError(f"{storage}: is no study of a sweep ({str(error).splitlines()[0]})") from None


def _sampler(wanted: Wanted, space: dict[str, BaseDistribution], number: int) -> BaseSampler:
    import optuna

    seed = (wanted.seed * 1_000_003 + number) % 2**32
    match wanted.sampler:
        case "random":
            return optuna.samplers.RandomSampler(seed)
        case "grid":
            return _at(point_of(space, number))
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=ROUND, multivariate=True)


def _at(point: dict[str, Any]) -> BaseSampler:
    """A sampler that gives this point alone."""
    import optuna

    return optuna.samplers.GridSampler({key: [value] for key, value in point.items()}, seed=0)


def _pruner(name: str, cells: int) -> Any:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=ROUND, n_warmup_steps=0)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    return optuna.pruners.NopPruner()


def _differs(before: str, now: str) -> str:
    was, new = msgspec.json.decode(before), msgspec.json.decode(now)
    return ", ".join(key for key in new if was.get(key) != new[key])
