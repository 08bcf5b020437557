"""Settings of the model: what is accepted, what is refused and how it says so."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.config import ArchitectureSettings, Gradient, HRMSettings, LReset
from tests.unit.models.conftest import SMALL, Settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profile": "huge"}, "profile 'huge' is not under architecture: small"),
        ({"depth": 3}, "depth"),
        ({"act": {"min_segments": 9, "max_segments": 8}}, "min_segments 9 is over max_segments 8"),
        ({"act": {"complexity_steps": [{"above": 0.1, "min_segments": 9}]}}, "min_segments 9 is over max_segments 4"),
        (
            {"act": {"complexity_steps": [{"above": 0.5, "min_segments": 2}, {"above": 0.5, "min_segments": 3}]}},
            "`above` must rise",
        ),
        ({"act": {"exploration": 1.5}}, "exploration"),
        ({"features": {"window": 21, "patch": 5}}, "window 21 must be a multiple of patch 5"),
        ({"features": {"window": 30, "min_bars": 31}}, "min_bars 31 is over window 30"),
        ({"features": {"coarse_interval": "half an hour"}}, "coarse_interval"),
        ({"output_heads": {"quantity_min": 10, "quantity_max": 5}}, "quantity_min 10 is over quantity_max 5"),
        ({"convergence": {"max_cycles": 1}}, "max_cycles 1 is under the 2 h_cycles"),
        ({"convergence": {"threshold": 0.0}}, "threshold"),
        ({"carry_state": "week"}, "carry_state"),
    ],
)
def test_a_contradiction_is_refused_by_name(settings: Settings, change: dict[str, object], message: str) -> None:
    """Each refusal names the key at fault."""
    with pytest.raises(ValidationError, match=message):
        settings(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h_heads": 3}, "h_dim 16 must divide into h_heads 3"),
        ({"l_heads": 8}, "l_dim 8 must divide into l_heads 8 heads of even width"),
        ({"l_reset": "learned"}, "use gradient last_cycle or full_bptt"),
        ({"l_reset": "sometimes"}, "l_reset"),
    ],
)
def test_a_shape_that_cannot_work_is_refused(change: dict[str, object], message: str) -> None:
    """Head widths must be even for rotary positions, and a gate needs a gradient."""
    with pytest.raises(ValidationError, match=message):
        ArchitectureSettings.model_validate(SMALL | change)


def test_a_learned_reset_is_accepted_where_it_gets_a_gradient() -> None:
    """With one L step a cycle, or a longer graph, the gate can learn."""
    for change in ({"l_steps": 1}, {"gradient": Gradient.LAST_CYCLE}, {"gradient": Gradient.FULL_BPTT}):
        shape = ArchitectureSettings.model_validate(SMALL | {"l_reset": "learned"} | change)
        assert shape.l_reset is LReset.LEARNED


def test_settings_are_frozen(settings: Settings) -> None:
    """Nobody changes a setting under a running model."""
    with pytest.raises(ValidationError, match="frozen"):
        settings().profile = "other"  # type: ignore[misc]


def test_max_cycles_caps_segments(settings: Settings) -> None:
    """Five cycles allow two segments of two cycles, however many segments ACT would allow."""
    assert settings().max_segments == 4
    assert settings(convergence={"max_cycles": 5}).max_segments == 2


def test_differences_name_keys_and_forgive_the_gradient(settings: Settings) -> None:
    """Two networks are compared key by key; how one was trained is not one of them."""
    network = settings().network()
    assert network.differences(settings(shape={"gradient": "full_bptt"}).network()) == []
    wider = settings(shape={"h_dim": 32}, output_heads={"logit_cap": 3.0}).network()
    assert network.differences(wider) == ["architecture.h_dim: 16 != 32", "logit_cap: 5.0 != 3.0"]


def test_tokens_follow_window_and_patch(settings: Settings) -> None:
    """60 bars in patches of 15 are 8 tokens, in patches of 5 they are 16."""
    assert settings(features={}).features.tokens == 8
    assert settings(features={"patch": 5}).features.tokens == 16


def test_an_empty_key_is_refused() -> None:
    """Without any shape there is nothing to build."""
    with pytest.raises(ValidationError, match="architecture"):
        HRMSettings.model_validate({})


def test_no_decision_goes_deeper_than_training_did(settings: Settings) -> None:
    """Every limit of depth comes down to it, none goes up; where nobody knows, all is as it was set."""
    steps = [{"above": 0.3, "min_segments": 2}, {"above": 0.6, "min_segments": 6}]
    asked = settings(act={"min_segments": 3, "max_segments": 6, "complexity_steps": steps})
    held = asked.within(2)
    assert (held.act.min_segments, held.act.max_segments, held.max_segments) == (2, 2, 2)
    assert [(step.above, step.min_segments) for step in held.act.complexity_steps] == [(0.3, 2), (0.6, 2)]
    assert asked.within(6) == asked.within(9) == asked.within(None) == asked
