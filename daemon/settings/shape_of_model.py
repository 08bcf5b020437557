"""The model that settings name → the profile that they have, so that nobody needs to say it twice.

Invariant: a profile, or a shape of it, that somebody named and that the model contradicts is refused in one line; one
that nobody named follows from the model's file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from daemon.core.errors import SettingsError
from daemon.settings.layers import DEFAULT, RECORDED, Layers
from daemon.settings.tree import Settings
from models.header import shape_in

ARTIFACT: Final = "model_management.artifact"
START: Final = "training_params.start_from"
"""A network that is trained on; a deeper one may be named beside it."""
_HRM: Final = "hierarchical_reasoning_model"


def following_model(settings: Settings, layers: Layers, key: str = ARTIFACT) -> Settings:
    """With the profile of the model that `key` names. Raises `SettingsError` for another that somebody asked for."""
    model = settings.training_params.start_from if key == START else settings.model_management.artifact
    shape = shape_in(model) if isinstance(model, Path) else None
    hrm = settings.hierarchical_reasoning_model
    if shape is None or hrm.has_shape(shape):
        return settings
    shaped = hrm.shaped(shape)
    named = _named(layers, hrm.profile)
    if named is None:
        return settings.model_copy(update={_HRM: shaped})
    if key == START:
        return settings
    wrong, origin = named
    fits = f"that of profile {shaped.profile}" if shaped.profile in hrm.architecture else "that of no profile"
    raise SettingsError(
        f"{origin}: {wrong}: is another shape than that of {model} ({key}), which has {fits}: leave it away, "
        "it follows from the model"
    )


def _named(layers: Layers, profile: str) -> tuple[str, str] | None:
    """What somebody said of the shape, and who: the profile, or a part of it; None where nobody did."""
    shape = f"{_HRM}.architecture.{profile}"
    for key, origin in layers.origins.items():
        if origin not in (DEFAULT, RECORDED) and (key == f"{_HRM}.profile" or key.startswith(f"{shape}.")):
            return key, origin
    return None
