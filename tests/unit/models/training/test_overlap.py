"""What a model was trained on is refused as a test of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import torch

from models.checkpoint import describe
from models.config import HRMSettings
from models.hrm import HRM
from models.manifest import Manifest, Origin, TrainingSpan
from models.training.errors import DataError
from models.training.files import FileData
from models.training.market import HiddenRegimeMarket
from models.training.markets import MarketName
from models.training.overlap import overlap, refuse_overlap
from models.training.reference import simulated_sessions
from models.training.run import Data, SimulatedData, origin
from models.training.sessions import Sessions
from models.training.settings import DeepSupervisionSettings, Select, TrainingSettings
from models.vocabulary import Vocabularies

MODEL = Path("model.safetensors")
JUDGED = simulated_sessions(HiddenRegimeMarket(bars=16), 10, 1)
"""From 2 to 11 January 2019."""
FILES = FileData([Path("NIFTY.parquet")], [300], date(2019, 1, 1))


def manifest(hrm: HRMSettings, first: str, last: str, made: Origin | None, instruments: tuple[str, ...]) -> Manifest:
    """Of a model that was trained from `first` to `last`."""
    torch.manual_seed(0)
    model = HRM(hrm.network(), Vocabularies().grow(instruments))
    return describe(model, trained=True, training_span=TrainingSpan(first=first, last=last), origin=made)


RECORDED = Origin(version="", data=("NIFTY.parquet",), data_sha256="ab")


@pytest.mark.parametrize(
    ("last", "made", "instruments", "overlaps"),
    [
        ("2019-01-02", RECORDED, ("NIFTY",), True),
        ("2019-01-01", RECORDED, ("NIFTY",), False),
        ("2019-01-05", None, ("NIFTY",), True),
        ("2019-01-05", None, ("SIM",), False),
        ("2019-01-05", Origin(version="", data=("family",)), ("SIM",), False),
    ],
)
def test_days_that_a_model_has_learned_are_no_test(
    hrm: HRMSettings, last: str, made: Origin | None, instruments: tuple[str, ...], overlaps: bool
) -> None:
    """Recorded days up to the last of training; days of a simulated market are nobody's."""
    said = overlap(MODEL, manifest(hrm, "2012-01-02", last, made, instruments), FILES, JUDGED)
    assert bool(said) is overlaps
    if not overlaps:
        return refuse_overlap(said, FILES)
    with pytest.raises(DataError) as refused:
        refuse_overlap(said, FILES)
    assert str(refused.value) == (
        f"--border 2019-01-01: model.safetensors was trained on 2012-01-02 to {last}, and what NIFTY.parquet is judged "
        "on has sessions from 2019-01-02 to 2019-01-11; give a later date, or --on-training-data to do it anyway"
    )


@pytest.mark.parametrize(
    ("select", "last", "said"),
    [
        (Select.BEST, "2019-01-02", "model.safetensors was chosen by its validations on 2018-06-01 to 2019-01-02, and"),
        (Select.BEST, "2019-01-01", ""),
        (Select.LAST, "2019-01-02", ""),
    ],
)
def test_sessions_that_a_model_was_chosen_by_are_no_test(
    hrm: HRMSettings, select: Select, last: str, said: str
) -> None:
    """The best of many steps on these sessions is flattered by them; a last step isn't."""
    training = TrainingSettings(select=select).model_dump(mode="json")
    settings = {"training_params": training, "validated": ["2018-06-01", last]}
    made = Origin(version="", data=("NIFTY.parquet",), data_sha256="ab", settings=settings)
    known = Manifest.model_validate_json(
        manifest(hrm, "2012-01-02", "2018-05-30", made, ("NIFTY",)).model_dump_json()
    )  # as it is read from a file
    found = overlap(MODEL, known, FILES, JUDGED)
    assert found.startswith(said)
    assert bool(found) is bool(said)


@pytest.mark.parametrize(
    ("seed", "data", "said"),
    [
        (1, SimulatedData(MarketName.HIDDEN_REGIME), "was trained on the market hidden_regime of seed 1"),
        (900_001, SimulatedData(MarketName.HIDDEN_REGIME), "was validated on the market hidden_regime of seed 900001"),
        (2, SimulatedData(MarketName.HIDDEN_REGIME), ""),
        (1, SimulatedData(MarketName.COMPOSITION), ""),
    ],
)
def test_the_seed_of_a_models_own_sessions_is_no_test(hrm: HRMSettings, seed: int, data: Data, said: str) -> None:
    """A fixed set of simulated sessions is known by its seed, and so is what was validated on."""
    made = origin(
        SimulatedData(MarketName.HIDDEN_REGIME, 300), DeepSupervisionSettings(), TrainingSettings(seed=1)
    )  # fmt: skip
    known = manifest(hrm, "2019-01-02", "2019-01-03", made, ("SIM",))
    found = overlap(MODEL, known, data, JUDGED, (seed,))
    assert found.endswith(said)
    assert bool(found) is bool(said)
    if said:
        with pytest.raises(DataError, match=r"--market-seed: .*--on-training-data"):
            refuse_overlap(found, data)


def test_sessions_behind_the_training_span_only(hrm: HRMSettings) -> None:
    """Days before the span are a test as days behind it are."""
    later = manifest(hrm, "2019-02-01", "2019-03-01", RECORDED, ("NIFTY",))
    assert overlap(MODEL, later, FILES, JUDGED) == ""
    assert isinstance(JUDGED, Sessions)
