"""Which device a process trains on, and what it says of one that isn't there."""

from __future__ import annotations

import pytest
import torch

from models.training.distributed import Group, device_of_rank, join_group, usable_device
from models.training.errors import TrainingError


@pytest.mark.parametrize(("device", "rank", "own"), [("cuda", 1, "cuda:1"), ("cuda", 0, "cuda:0"), ("cpu", 3, "cpu")])
def test_each_process_has_a_device_of_its_own(device: str, rank: int, own: str) -> None:
    """By its rank on the machine."""
    assert device_of_rank(device, rank) == own


def test_one_gpu_is_not_for_many_processes() -> None:
    """A number would put all of them onto one."""
    with pytest.raises(TrainingError, match=r"--device cuda:1: many processes can't share it"):
        device_of_rank("cuda:1", 0)


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("gpu", "--device gpu: no such device; expected cpu, cuda or cuda:N"),
        ("meta", "--device meta: can't train there; expected cpu, cuda or cuda:N"),
        ("cuda:99", "--device cuda:99: no such GPU, there "),
    ],
)
def test_a_device_that_is_not_there(device: str, said: str) -> None:
    """One line that names the option."""
    with pytest.raises(TrainingError) as refused:
        usable_device(device)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_alone_nothing_is_joined() -> None:
    """Without torchrun there is one process, where it is asked to be."""
    assert join_group("cpu") == (Group(), "cpu")
    assert torch.device(Group().device).type == "cpu"
