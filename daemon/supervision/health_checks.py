"""What stations and monitor read → the checks of the daemon's health, in the order in which they are told. Pure.

Invariant: every check is there at every look, in the same order; what can't be known yet is not held against anybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from daemon.settings.health import HealthSettings
from daemon.supervision.baseline import say
from daemon.supervision.health import Check, CheckStatus, Limits, Was, bad, doubtful, good, measured
from daemon.supervision.health_readings import BrokerReading, Measurements, ModelFile, Readings
from daemon.supervision.health_window import Figures
from daemon.supervision.memory import GB, MemoryLimits
from strategies.base import HUNG, RAISED, UNFIT

FLAT: Final = "flat"
NO_LEASE_YET: Final = "no lease yet"
NO_LINK_YET: Final = "no link yet"
"""As a daemon begins: stages don't import each other, so the words of `daemon.risk.lease` and the feed stand here."""
STANDS_STILL: Final = (
    "it hangs (a server of files that is away, a device that dies: dmesg), and what is written there waits in memory"
)
HOW: Final = {HUNG: "hung", UNFIT: "hung too often", RAISED: "raised"}
"""In which ways a decision fails, by its halt reason."""


class SharedLimits(msgspec.Struct, frozen=True):
    """Those beyond which something is done, too, as they are set for that (`performance`, `supervisor.triggers`)."""

    memory: MemoryLimits
    errors: Limits
    latency: Limits


def all_checks(
    readings: Readings, seen: Measurements, settings: HealthSettings, shared: SharedLimits, before: Was
) -> tuple[Check, ...]:
    """Every check, the gravest subjects first."""
    return (
        running(readings),
        journal(readings, seen, settings, before),
        ladder(readings),
        canary(readings),
        decisions(seen),
        owed(readings, seen),
        stages(seen, settings, before),
        restarts(readings),
        orders(readings),
        positions(readings),
        exits(readings, seen, settings, before),
        held_over(readings),
        cash(readings),
        budget(readings),
        broker(readings),
        token(readings),
        recorder(readings),
        feed(readings),
        clock(readings),
        ticks(readings),
        *of_the_window(seen.figures, settings, shared, before),
        baseline(readings),
        model(readings, seen, settings),
        memory_in_use(seen, shared.memory, before),
        loop(seen, settings, before),
        disk(seen, settings, before),
        calendar(readings, settings),
        alerts(readings),
    )


def running(readings: Readings) -> Check:
    """Whether it trades at all; that a person has stopped it is said, and nothing is wrong with it."""
    if readings.ended:
        return bad("running", "the feed has ended", "the run ends by itself")
    if readings.idle:
        return bad("running", readings.idle, "wait, or see its log: it doesn't trade meanwhile")
    if readings.barred and readings.barred_by_itself:
        do = "see to the reason, then hrmd ctl resume"
        return doubtful("running", readings.barred, do, "trading was stopped by itself")
    return good("running", readings.barred or "it trades")


def journal(readings: Readings, seen: Measurements, settings: HealthSettings, before: Was) -> Check:
    """Whether what happens gets onto the disk, and how soon."""
    found = readings.journal
    if found is None:
        return good("journal", "nothing is journaled")
    if found.trouble:
        return bad(
            "journal", found.trouble, "make room, mend the file or end what holds it; what happens waits in memory"
        )
    limits = Limits(settings.journal_lag_warn_s, settings.journal_lag_fail_s)
    lag = seen.journal_lag_s
    text = f"{found.waiting} events wait for the disk" + (f", which took none for {lag:.1f} s" if lag else "")
    return measured("journal", lag, "s", limits, before, text, "look at the disk of journal.path: it is slow or stuck")


def ladder(readings: Readings) -> Check:
    """Whether the strategy of the settings decides."""
    again = f"read why; hrmd ctl strategy {readings.first} puts it back"
    if readings.strategy == FLAT:
        closing = [f"flat, and still closing: {readings.closing} positions"] if readings.closing else []
        text = "; ".join(["no strategy is left on the ladder", *closing, *readings.ladder_trouble])
        return bad("ladder", text, f"{again}, then hrmd ctl resume", "no strategy is left on the ladder")
    if readings.ladder_trouble:
        outline = f"{readings.strategy} decides, and a person is needed: hrmd ctl health"
        return bad("ladder", "; ".join(readings.ladder_trouble), again, outline)
    if readings.unbuilt:
        outline = f"{readings.own} can't be built, {readings.strategy} is in charge"
        do = "mend it and start again; hrmd check loads it"
        return doubtful("ladder", f"{outline}: {readings.unbuilt}", do, outline)
    if readings.strategy != readings.first:
        outline = f"{readings.strategy} decides instead of {readings.first}"
        return doubtful("ladder", f"{outline}: {readings.why}" if readings.why else outline, again, outline)
    return good("ladder", f"{readings.strategy} decides")


def canary(readings: Readings) -> Check:
    """Whether a candidate decides on a share; that is said, and nothing is wrong with it."""
    text = readings.canary or "no canary runs"
    return Check(name="canary", status=CheckStatus.OK, text=text, outline="a canary runs" if readings.canary else text)


def decisions(seen: Measurements) -> Check:
    """Whether the last decision on every symbol was one."""
    failing = seen.failing
    if not failing:
        return good("decisions", "no symbol's last decision failed", 0)
    symbol, first = next(iter(failing.items()))
    count = f"symbols whose last decision failed: {len(failing)}"
    how = sorted(
        {f"{one.strategy} {HOW.get(one.halt_reason, 'answered what is of no use')}" for one in failing.values()}
    )
    text, outline = f"{count}, such as {symbol}: {first.strategy} {first.reason}", f"{count} ({', '.join(how)})"
    do = "they HOLD until the next good one; the reason says what is wrong with the strategy"
    found = bad("decisions", text, do, outline)
    return msgspec.structs.replace(found, value=len(failing), limit=1)


def owed(readings: Readings, seen: Measurements) -> Check:
    """Whether every bar that closed was decided on."""
    overdue = seen.overdue
    if overdue is None:
        return Check(
            name="owed", status=CheckStatus.OK, text="every bar was decided on", limit=seen.owed_limit_s, unit="s"
        )
    outline = f"{readings.strategy} owes decisions: {overdue.count}, the oldest for {overdue.oldest_s:.0f} s"
    return Check(
        name="owed", status=CheckStatus.FAIL, text=f"{outline}, on {overdue.symbol}", outline=outline,
        value=overdue.oldest_s, limit=seen.owed_limit_s, unit="s",
        do="the strategy hangs or its stage stands still: the watchdog isn't fed any more; without one start again",
    )  # fmt: skip


def stages(seen: Measurements, settings: HealthSettings, before: Was) -> Check:
    """Whether every station handles what comes."""
    stuck = seen.stuck
    if stuck is None:
        return good("stages", "every stage handles what comes", 0.0, settings.stages_warn_s, "s")
    text = f"{stuck.stage} has handled nothing for {stuck.seconds:.0f} s; events that wait for it: {stuck.waiting}"
    limits = Limits(settings.stages_warn_s, settings.stages_fail_s)
    do = "what it waits for is in the log (the disk, the broker, a model); start again where it lasts"
    return measured("stages", stuck.seconds, "s", limits, before, text, do)


def restarts(readings: Readings) -> Check:
    """Whether anything crashed of late, health itself included."""
    if not readings.restarted:
        return good("restarts", "nothing crashed within the last hour", 0)
    do = "the log has the traceback: tell of it; once more within restart_window_s too often, and the daemon ends"
    names = ", ".join(line.partition(" ")[0] for line in readings.restarted)
    return doubtful("restarts", "; ".join(readings.restarted), do, f"crashed and started again: {names}")


def orders(readings: Readings) -> Check:
    """Whether the fate of every order is known."""
    if not readings.unknown:
        return good("orders", "the fate of every order is known", 0)
    text = f"orders whose fate is unknown: {readings.unknown}"
    return bad("orders", text, "it asks the broker's book by itself; look into the broker's app where it lasts")


def positions(readings: Readings) -> Check:
    """Whether broker and journal agree."""
    if not readings.halted:
        return good("positions", "no symbol is halted", 0)
    text = f"symbols on which broker and journal differ: {readings.halted}"
    return bad("positions", text, "compare hrmd ctl positions with the broker's app; they take no new risk meanwhile")


def exits(readings: Readings, seen: Measurements, settings: HealthSettings, before: Was) -> Check:
    """Whether what is to be closed is closed."""
    limits = Limits(settings.exits_warn_s, settings.exits_fail_s)
    if not seen.exits_s:
        return good("exits", "nothing is held that is to be closed", 0.0, limits.warn, "s")
    symbol, seconds = max(seen.exits_s.items(), key=lambda it: it[1])
    outline = f"positions that are to be closed and are not: {len(seen.exits_s)}, the oldest for {seconds:.0f} s"
    do = "it is tried again by itself; close it in the broker's app where it can't be had here (hrmd ctl orders)"
    found = measured("exits", seconds, "s", limits, before, f"{outline}: {symbol}, {readings.exits[symbol]}", do)
    return msgspec.structs.replace(found, outline=outline)


def held_over(readings: Readings) -> Check:
    """Positions that a corporate action may have changed."""
    unsettled = readings.unsettled
    if not unsettled:
        return good("held_over", "nothing in doubt is held", 0)
    text = "; ".join(f"{symbol}: {why}" for symbol, why in unsettled.items())
    outline = f"positions held over what may be a corporate action: {len(unsettled)}"
    return bad("held_over", text, "see docs/operations.md, held over a corporate action; hrmd ctl resume", outline)


def cash(readings: Readings) -> Check:
    """Whether broker and journal have the same money."""
    if not readings.cash_differs:
        return good("cash", "no difference is known")
    text = "the broker's cash and the journal's differ"
    return bad("cash", text, "compare; put the true sum into broker.live.starting_cash")


def budget(readings: Readings) -> Check:
    """Whether it is lent anything of a budget that several daemons share."""
    found = readings.budget
    if found is None:
        return good("budget", "no budget is shared")
    do = "entries are denied, exits are not; see that hrmd budget run goes on: hrmd budget show"
    why = f" ({found.unanswered})" if found.unanswered else ""
    if found.leased is None and found.trouble == NO_LEASE_YET:
        return doubtful("budget", f"{found.trouble}{why}", do, found.trouble)
    if found.leased is None:
        return bad("budget", f"{found.trouble}{why}", do, "no lease of the shared budget")
    if found.unanswered:
        return doubtful("budget", f"the lease ends soon{why}", do, "the budget service gives no answer")
    return msgspec.structs.replace(good("budget", f"{found.leased} is leased"), value=float(found.leased), unit="₹")


def broker(readings: Readings) -> Check:
    """Whether the broker answers, and whether what it was asked can be recorded."""
    check = _answers(readings.broker)
    if not readings.calls:
        return check
    unrecorded = "past calls can't be recorded"
    do = "mend the disk of its calls_file; until then other programs of the account may use up its calls"
    if check.status is CheckStatus.OK:
        return msgspec.structs.replace(doubtful("broker", readings.calls, do, unrecorded), age_s=check.age_s)
    return msgspec.structs.replace(
        check, text=f"{check.text}; {readings.calls}", do=f"{check.do}; {do}",
        outline=f"{check.outline or check.text}; {unrecorded}",
    )  # fmt: skip


def _answers(found: BrokerReading | None) -> Check:
    if found is None:
        return good("broker", "orders go to the simulated venue")
    if found.trouble:
        outline = found.trouble.partition(" (")[0]
        check = bad("broker", found.trouble, "nothing is opened meanwhile; it goes on by itself", outline)
    elif found.failing:
        check = doubtful("broker", "the last question to the broker failed", "it is asked again by itself")
    else:
        check = good("broker", "its book and positions are read as often as they must be")
    return msgspec.structs.replace(check, age_s=found.age_s)


def token(readings: Readings) -> Check:
    """Whether the broker lets us in, and for how long."""
    found = readings.token
    if found is None:
        return good("token", "no access is needed")
    if not found.holds:
        check = bad("token", f"the broker's access is {found.state}: {found.do}", found.do)
    elif found.ending:
        check = doubtful("token", f"the broker's access {found.text}", found.do)
    else:
        check = good("token", f"the broker's access {found.text}")
    return msgspec.structs.replace(check, value=found.left_s, unit="s")


def recorder(readings: Readings) -> Check:
    """Whether the tape is made."""
    if readings.recorder is None:
        return good("recorder", "ticks are not to be recorded")
    if readings.recorder:
        return bad("recorder", "ticks are not being recorded", f"make room, or mend the disk: {readings.recorder}")
    return good("recorder", "ticks are being recorded")


def feed(readings: Readings) -> Check:
    """Whether the ticks of every symbol can be relied on; in few words however many there are."""
    stale = readings.stale
    if stale.get(None) == NO_LINK_YET:
        return doubtful("feed", NO_LINK_YET, "it is being made; entries are denied meanwhile")
    if readings.clock_held and stale.get(None) == readings.clock_held:
        found = doubtful("feed", f"the feed is stale: {stale[None]}", "see clock; entries are denied meanwhile")
        return msgspec.structs.replace(found, part_of="clock")
    if None in stale:
        return bad(
            "feed",
            f"the feed is stale: {stale[None]}",
            "the link is made anew by itself; or log in",
        )
    if not stale:
        return good("feed", "no symbol is stale", 0)
    symbol, reason = next(iter(stale.items()))
    outline = f"stale symbols: {len(stale)}"
    return bad("feed", f"{outline}, such as {symbol}: {reason}", "entries in them are denied; look them up", outline)


def clock(readings: Readings) -> Check:
    """Whether our time can be relied on."""
    if readings.clock_trouble:
        return bad("clock", readings.clock_trouble, "let the machine keep time (timedatectl set-ntp true)")
    if readings.clock_held:
        return doubtful("clock", readings.clock_held, "new risk waits until the venue confirms our time")
    return good("clock", "nothing speaks against our time")


def ticks(readings: Readings) -> Check:
    """Whether there are any, inside a session."""
    silent = readings.silent_s
    if silent is not None and silent > readings.silent_limit_s:
        found = bad("ticks", f"no tick for {silent:.0f} s of the session", "look at the feed; entries are denied")
    else:
        found = good("ticks", "ticks come" if silent is not None else "none is due")
    return msgspec.structs.replace(found, value=silent, limit=readings.silent_limit_s, unit="s")


def of_the_window(figures: Figures, settings: HealthSettings, shared: SharedLimits, before: Was) -> Iterator[Check]:
    """How the newest decisions of the strategy in charge came about."""
    least, count = settings.min_decisions, figures.decisions
    few = f"too few decisions to say ({count} of {least})"
    if count < least:
        yield from (good(name, few) for name in ("errors", "latency"))
    else:
        yield _errors(figures, shared.errors, before)
        yield _latency(figures, shared.latency, before)
    if figures.reasoned < least:
        few = f"too few decisions that reason ({figures.reasoned} of {least})"
        yield from (good(name, few) for name in ("reasoning", "convergence"))
    else:
        yield _reasoning(figures, settings, before)
        yield _convergence(figures, settings, before)


def _errors(figures: Figures, limits: Limits, before: Was) -> Check:
    share = 100 * figures.failed / figures.decisions
    text = f"{figures.failed} of {figures.decisions} decisions failed ({share:.1f} %)"
    return measured("errors", share, "%", limits, before, text, "the log has each reason; hrmd check loads the model")


def _latency(figures: Figures, limits: Limits, before: Was) -> Check:
    p50, p99 = figures.latency_p50_ms, figures.latency_p99_ms
    text = f"from bar to decision p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    do = "see what else runs on this machine; fewer symbols, or a faster performance.runtime"
    return measured("latency", p99, "ms", limits, before, text, do)


def _reasoning(figures: Figures, settings: HealthSettings, before: Was) -> Check:
    share = 100 * figures.cut_short / figures.reasoned
    text = f"{figures.mean_segments:.1f} segments a decision, {share:.1f} % ended by the deadline"
    do = "the model thinks less than it would: a faster runtime, fewer symbols, or more act.deadline_ms"
    return measured("reasoning", share, "%", Limits(settings.deadline_stops_warn_percent), before, text, do)


def _convergence(figures: Figures, settings: HealthSettings, before: Was) -> Check:
    change = figures.mean_convergence
    text = f"the last cycle changes the state by {change:.2f} of its norm"
    do = "the model's states don't settle: compare with its evaluation, or go back to an earlier one"
    return measured("convergence", change, "", Limits(settings.convergence_warn), before, text, do)


def baseline(readings: Readings) -> Check:
    """Whether the strategy in charge earns what the baseline would have."""
    found = readings.baseline
    if found is None:
        return good("baseline", "no baseline is named")
    if found.dropped:
        do = "start again to have it back; until then no session is compared"
        return doubtful("baseline", f"the baseline {found.agent} is dropped: {found.dropped}", do)
    standing = found.standing
    if not standing.sessions:
        return good("baseline", f"no whole session of {readings.strategy} beside {found.agent} yet")
    text = f"{say(standing, found.agent)}; proof that it earns less: {standing.proof:.2g} of {standing.needed:g}"
    outline = f"{readings.strategy} earns less than the baseline"
    do = "hrmd ctl shadow has the sessions; hrmd ctl strategy or hrmd ctl model load chooses another one"
    if standing.trips:
        check = bad("baseline", text, do, outline)
    elif standing.warns:
        check = doubtful("baseline", text, do, outline)
    else:
        check = good("baseline", text)
    return msgspec.structs.replace(check, value=standing.percent, unit="%")


def model(readings: Readings, seen: Measurements, settings: HealthSettings) -> Check:
    """Whether the strategy in charge is loaded, and each model is what its file holds."""
    check = _model(readings, seen, settings)
    return msgspec.structs.replace(check, age_s=seen.models_age_s)


def _model(readings: Readings, seen: Measurements, settings: HealthSettings) -> Check:
    owed_s = seen.models_unanswered_s
    if not readings.loaded:
        return bad("model", f"{readings.strategy} is in charge and not loaded", "start again; hrmd check loads it")
    if owed_s >= settings.disk_answer_fail_s:
        text = f"the files of models can't be read: their disk has given no answer for {owed_s:.0f} s"
        return doubtful("model", text, "see that its disk works; the loaded models go on")
    if seen.models is None:
        return good("model", "no file was looked at yet")
    if not seen.models:
        return good("model", "no model of a file is loaded")
    differing = [said for one in seen.models if (said := _difference(one))]
    if differing:
        do = "put the right file back (hrmd model verify): the next start takes what is there"
        return doubtful("model", f"{'; '.join(differing)}; the loaded one goes on", do)
    return good("model", ", ".join(f"{one.strategy}: {one.file} ({one.loaded[:12]})" for one in seen.models))


def _difference(one: ModelFile) -> str:
    if one.trouble:
        return f"the file of {one.strategy} is damaged or gone: {one.trouble}"
    if one.found != one.loaded:
        return f"{one.file} holds another model ({one.found[:12]}) than {one.strategy} thinks with ({one.loaded[:12]})"
    return ""


def memory_in_use(seen: Measurements, limits: MemoryLimits, before: Was) -> Check:
    """How much memory the process holds."""
    used = seen.memory_bytes / GB
    do = "start again outside the session, and tell of it: it should not grow"
    graded = Limits(limits.warn_gb, limits.fail_gb)
    return measured("memory", used, "GB", graded, before, f"{used:.2f} GB in use", do)


def loop(seen: Measurements, settings: HealthSettings, before: Was) -> Check:
    """How late the event loop wakes."""
    lag, worst = seen.loop_lag_ms, seen.loop_worst_ms
    limits = Limits(settings.loop_lag_warn_ms, settings.loop_lag_fail_ms)
    do = "see what else runs on this machine (top); fewer symbols"
    if worst >= settings.loop_lag_fail_ms and (lag is None or lag < settings.loop_lag_warn_ms):
        return doubtful("loop", f"the event loop stood still for {worst / 1000:.1f} s within the last minute", do)
    if lag is None:
        return good("loop", "not looked at for long enough")
    return measured("loop", lag, "ms", limits, before, f"the event loop wakes late by p99 {lag:.0f} ms", do)


def disk(seen: Measurements, settings: HealthSettings, before: Was) -> Check:
    """Room where journal and tape are written, and whether their disks answer at all."""
    owed = seen.unanswered
    if owed is not None:
        limits = Limits(settings.disk_answer_warn_s, settings.disk_answer_fail_s)
        text = f"the disk under {owed.path} has given no answer for {owed.seconds:.0f} s"
        check = measured("disk", owed.seconds, "s", limits, before, text, STANDS_STILL)
        if check.status is not CheckStatus.OK:
            return msgspec.structs.replace(check, age_s=seen.places_age_s)
    if not seen.places:
        return good("disk", "not looked at yet")
    least = min(seen.places, key=lambda place: place.free_bytes)
    free = least.free_bytes / GB
    limits = Limits(settings.disk_warn_gb, settings.disk_fail_gb, low=True)
    text = f"{free:.1f} GB free under {least.path}"
    check = measured("disk", free, "GB", limits, before, text, "make room: old tapes first")
    return msgspec.structs.replace(check, age_s=seen.places_age_s)


def calendar(readings: Readings, settings: HealthSettings) -> Check:
    """Whether today's and the next holidays are known."""
    left, do = readings.confirmed_days, "hrmd calendar update --from FILE, with NSE's list of trading holidays"
    if left is None:
        return good("calendar", "the run has no day yet")
    if readings.doubts:
        check = doubtful("calendar", "; ".join(readings.doubts), do)
    elif left < settings.calendar_warn_days:
        check = doubtful("calendar", f"holidays are confirmed for {left} more days", do)
    else:
        check = good("calendar", f"holidays are confirmed for {left} more days")
    return msgspec.structs.replace(check, value=left, limit=settings.calendar_warn_days, unit="days")


def alerts(readings: Readings) -> Check:
    """Whether somebody hears of it."""
    found = readings.alerts
    if found is None or not found.targets:
        return good("alerts", "nobody is told of alerts")
    lost = f"; alerts lost: {found.lost}" if found.lost else ""
    if not found.failing:
        text = f"services that are told of alerts: {found.targets}{lost}"
        return good("alerts", text, found.waiting)
    services = "; ".join(f"{name}: {why}" for name, why in found.failing.items())
    text = f"alerts can't be sent: {services}; waiting: {found.waiting}{lost}"
    outline = f"services that can't be told of alerts: {len(found.failing)} of {found.targets}"
    do = "it is tried again by itself; hrmd alert test tries every address"
    worse = bad if len(found.failing) == found.targets else doubtful
    return msgspec.structs.replace(worse("alerts", text, do, outline), value=found.waiting)
