"""Tests of starting a deep network from a shallow one: the same answers, trainable layers, clear refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.config import HRMSettings
from models.hrm import HRM
from models.training.batches import BatchSettings, make_batch
from models.training.errors import TrainingError
from models.training.growth import start_from
from models.training.sessions import Sessions
from models.training.settings import DeepSupervisionSettings, TrainingSettings
from models.training.source import StoredSource
from models.training.trainer import Trainer
from models.vocabulary import Vocabularies

VOCABULARIES = Vocabularies().grow(("SIM",), ("5m", "30m"))


def network(hrm: HRMSettings, seed: int = 1, **shape: object) -> HRM:
    """Return a network of the small shape, changed; its heads are made to say something."""
    torch.manual_seed(seed)
    config = hrm.network().model_copy(update={"architecture": hrm.shape.model_copy(update={"input_layers": 1} | shape)})
    model = HRM(config, VOCABULARIES).eval()
    with torch.no_grad():
        model.heads.policy.weight.mul_(100)
    return model


def answers(model: HRM, hrm: HRMSettings, sessions: Sessions) -> torch.Tensor:
    """Return what a model says in every decision of two sessions, after two segments."""
    features = make_batch(sessions, torch.arange(2).numpy(), BatchSettings(hrm.features), model.vocabularies).features
    with torch.no_grad():
        state, _ = model.segment(features, model.initial_state(features))
        return model.segment(features, state)[1].policy


def test_a_deeper_network_computes_the_same(hrm: HRMSettings, sessions: Sessions) -> None:
    """With layers added in all three stacks, to rounding; and nothing of the small one is lost."""
    small, large = network(hrm), network(hrm, 2, h_layers=3, l_layers=2, input_layers=2)
    before = answers(large, hrm, sessions)
    start_from(large, small)
    wanted, found = answers(small, hrm, sessions), answers(large, hrm, sessions)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(before, wanted, atol=1e-1)
    mine = large.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in small.state_dict().items())


def test_added_layers_learn(hrm: HRMSettings, training: TrainingSettings, sessions: Sessions, tmp_path: Path) -> None:
    """Training moves them off zero; a new instrument starts as an unknown one."""
    deep = hrm.model_copy(
        update={"architecture": {"small": hrm.shape.model_copy(update={"h_layers": 2, "input_layers": 1})}}
    )
    small = network(hrm)
    renamed = replace(sessions, symbols=("OTHER",))
    trainer = Trainer(
        deep, DeepSupervisionSettings(segments=1), training, StoredSource(renamed, 4), None, tmp_path, start=small
    )
    assert trainer.model.vocabularies.instruments.names == ("SIM", "OTHER")
    table = trainer.model.input.instrument.weight
    assert torch.equal(table[2], table[0])
    added = trainer.model.core.H_level.layers[1].mlp.down_proj.weight
    assert not added.any()
    trainer.run()
    assert added.any()


@pytest.mark.parametrize(
    ("small", "large", "said"),
    [
        ({"h_dim": 16}, {"h_dim": 32}, "weight core.H_init is (16,), the model to be trained needs (32,)"),
        (
            {"h_layers": 2},
            {"h_layers": 1},
            "core.H_level.layers.1.self_attn.qkv_proj.weight is (48, 16), which the model",
        ),
        ({"input_layers": 0}, {"input_layers": 1}, "only stacks of one layer or more can grow"),
    ],
)
def test_what_does_not_fit_is_named(
    hrm: HRMSettings, small: dict[str, object], large: dict[str, object], said: str
) -> None:
    """Another width, fewer layers, a stack that was not there."""
    with pytest.raises(TrainingError) as caught:
        start_from(network(hrm, **large), network(hrm, **small))
    assert said in str(caught.value)
    assert "training_params.start_from" in str(caught.value)
