"""Turns the settings key `hierarchical_reasoning_model` into checked, frozen values.

Two things live here: `HRMSettings`, everything a user may set, and `HRMConfig`, the part of it that the network is
built from and that therefore travels inside a model artifact. Invariant: a value that passes these classes can be built
and run; every contradiction between two settings is found here and not in the middle of a trading day. Nothing here
needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

DECISION_TOKENS: Final = 4
"""Tokens beside the patches: decision, coarse timeframe, calendar, memory."""


class LReset(StrEnum):
    """What happens to z_L between two cycles."""

    NONE = "none"
    SOFT = "soft"
    HARD = "hard"
    LEARNED = "learned"


class Gradient(StrEnum):
    """Which steps of a segment keep their graph in training."""

    ONE_STEP = "one_step"
    LAST_CYCLE = "last_cycle"
    FULL_BPTT = "full_bptt"


class CarryState(StrEnum):
    """How long (z_H, z_L) of a symbol live."""

    NONE = "none"
    SESSION = "session"


class History(StrEnum):
    """Which bars a window may hold: of the present session only, or of earlier sessions of the symbol too."""

    SESSION = "session"
    ROLLING = "rolling"


class _Frozen(BaseModel):
    """Settings are read once: no unknown key, no later change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


MOST_PAST_SESSIONS: Final = 20
"""Older ones are let go."""
MOST: Final = 1_000_000
"""Above it no width, window or count of this network can be built or run."""

Positive = Annotated[int, Field(ge=1, le=MOST)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ArchitectureSettings(_Frozen):
    """One named shape of the two modules and of the recurrence between them."""

    h_dim: Positive
    h_layers: Positive
    h_heads: Positive
    l_dim: Positive
    l_layers: Positive
    l_heads: Positive
    input_layers: Annotated[int, Field(ge=0, le=MOST)] = 0
    expansion: Annotated[float, Field(gt=0.0, le=64.0, allow_inf_nan=False)] = 4.0
    inner_multiple: Positive = 256
    h_cycles: Positive
    l_steps: Positive
    l_reset: LReset = LReset.NONE
    soft_reset_keep: Share = 0.5
    gradient: Gradient = Gradient.ONE_STEP

    def inner(self, dim: int) -> int:
        """Width between the two layers of a SwiGLU of width `dim`: ⅔ · expansion · dim, up to a whole multiple."""
        return -(-round(self.expansion * dim * 2 / 3) // self.inner_multiple) * self.inner_multiple

    @model_validator(mode="after")
    def _fits(self) -> ArchitectureSettings:
        for name, dim, heads in (("h", self.h_dim, self.h_heads), ("l", self.l_dim, self.l_heads)):
            if dim % heads or (dim // heads) % 2:
                raise ValueError(f"{name}_dim {dim} must divide into {name}_heads {heads} heads of even width (RoPE)")
        if self.l_reset is LReset.LEARNED and self.gradient is Gradient.ONE_STEP and self.l_steps > 1:
            raise ValueError(
                "l_reset learned gets no gradient under gradient one_step (the gate acts before the last L step): "
                "use gradient last_cycle or full_bptt"
            )
        return self


class ConvergenceSettings(_Frozen):
    """When a state counts as settled; changes are relative, ‖Δz‖ / ‖z‖ of one cycle."""

    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    early_stop: bool = True
    max_cycles: Positive = 48


class ComplexityStep(_Frozen):
    """From complexity `above` (inclusive) at least `min_segments` segments are run."""

    above: Share
    min_segments: Positive


class ActSettings(_Frozen):
    """Adaptive computation time: how many segments a decision may and must take."""

    min_segments: Positive = 1
    max_segments: Positive = 4
    q_halting: bool = True
    exploration: Share = 0.1
    complexity_steps: tuple[ComplexityStep, ...] = ()
    deadline_ms: Annotated[float, Field(gt=0.0, le=MOST, allow_inf_nan=False)] = 50.0

    @model_validator(mode="after")
    def _fits(self) -> ActSettings:
        if self.min_segments > self.max_segments:
            raise ValueError(f"min_segments {self.min_segments} is over max_segments {self.max_segments}")
        for step in self.complexity_steps:
            if step.min_segments > self.max_segments:
                raise ValueError(
                    f"complexity_steps: min_segments {step.min_segments} is over max_segments {self.max_segments}"
                )
        bounds = [step.above for step in self.complexity_steps]
        if bounds != sorted(set(bounds)):
            raise ValueError("complexity_steps: `above` must rise from step to step")
        return self


class EmbeddingSettings(_Frozen):
    """Widths of the two growing vocabularies."""

    instrument: Positive = 64
    timeframe: Positive = 32
    unknown_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05


class FeatureSettings(_Frozen):
    """The window of bars that becomes tokens."""

    window: Positive = 60
    patch: Positive = 15
    min_bars: Annotated[int, Field(ge=2, le=MOST)] = 2
    history: History = History.SESSION
    coarse_interval: Annotated[str, Field(pattern=r"^[1-9][0-9]*[smhd]$")] = "30m"
    coarse_window: Positive = 16
    clip: Annotated[float, Field(gt=0.0, le=MOST, allow_inf_nan=False)] = 8.0
    past_sessions: Annotated[int, Field(ge=0, le=MOST_PAST_SESSIONS)] = 0
    """Earlier sessions whose trends, and what following them came to, the network is told of, and what a trade costs;
    0: neither, as in artifacts from before there was such a thing."""
    belief: bool = False
    """Whether a network that is told of earlier sessions is told, too, what the hidden-regime filter expects
    (`models.belief`)."""

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what isn't used and came later, so that the hashes of earlier artifacts stay true."""
        values: dict[str, Any] = dump(self)
        for name in ("past_sessions", "belief"):
            if not values.get(name):
                values.pop(name, None)
        return values

    @model_validator(mode="after")
    def _fits(self) -> FeatureSettings:
        if self.window % self.patch:
            raise ValueError(f"window {self.window} must be a multiple of patch {self.patch}")
        if self.min_bars > self.window:
            raise ValueError(f"min_bars {self.min_bars} is over window {self.window}")
        return self

    @property
    def tokens(self) -> int:
        """Number of tokens of one observation."""
        return self.window // self.patch + DECISION_TOKENS


class NoveltySettings(_Frozen):
    """When a market counts as unlike those that the model was trained in."""

    enabled: bool = True
    scale: Annotated[float, Field(gt=0.0, le=MOST, allow_inf_nan=False)] = 1.0


class EntrySettings(_Frozen):
    """What entries are asked for beyond what the policy says.

    `caution_bp`: the network is told that a trade costs so much more a side than it does. `adaptive` and what follows:
    entries are held to what recent ones earned, made or not (`models.conformal`).
    """

    caution_bp: Annotated[float, Field(ge=0.0, le=MOST, allow_inf_nan=False)] = 0.0
    adaptive: bool = False
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.4
    bars: Positive = 12
    newest: Annotated[int, Field(ge=10, le=10_000)] = 50
    fewest: Annotated[int, Field(ge=5, le=10_000)] = 20
    rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.05

    @model_validator(mode="after")
    def _fits(self) -> EntrySettings:
        if self.fewest > self.newest:
            raise ValueError(f"fewest {self.fewest} is over newest {self.newest}")
        return self


class OutputHeadSettings(_Frozen):
    """What leaves the network."""

    quantity_min: Positive = 1
    quantity_max: Positive = 100_000
    logit_cap: Annotated[float, Field(gt=0.0, le=MOST, allow_inf_nan=False)] = 5.0

    @model_validator(mode="after")
    def _fits(self) -> OutputHeadSettings:
        if self.quantity_min > self.quantity_max:
            raise ValueError(f"quantity_min {self.quantity_min} is over quantity_max {self.quantity_max}")
        return self


class HRMConfig(_Frozen):
    """What the network is built from; two models with equal configs and vocabularies have equal weight shapes."""

    architecture: ArchitectureSettings
    features: FeatureSettings
    instrument_dim: Positive
    timeframe_dim: Positive
    logit_cap: Annotated[float, Field(gt=0.0, le=MOST, allow_inf_nan=False)]

    def differences(self, other: HRMConfig) -> list[str]:
        """Dotted keys at which `other` would build a different network or read different features.

        `gradient` is left out: it changes how a network is trained and not what it computes. So are `past_sessions`
        and `belief`: what a network is told follows from its artifact.
        """
        mine, theirs = _flat(self.model_dump(mode="json")), _flat(other.model_dump(mode="json"))
        keys = [key for key in mine if mine[key] != theirs.get(key)]
        free = ("architecture.gradient", "features.past_sessions", "features.belief")
        return [f"{key}: {mine[key]} != {theirs.get(key)}" for key in keys if key not in free]


class HRMSettings(_Frozen):
    """Everything under `hierarchical_reasoning_model` in `config/settings.yaml`."""

    profile: str = "tiny"
    architecture: Mapping[str, ArchitectureSettings]
    convergence: ConvergenceSettings = ConvergenceSettings()
    act: ActSettings = ActSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    features: FeatureSettings = FeatureSettings()
    output_heads: OutputHeadSettings = OutputHeadSettings()
    novelty: NoveltySettings = NoveltySettings()
    entries: EntrySettings = EntrySettings()
    carry_state: CarryState = CarryState.NONE

    @model_validator(mode="after")
    def _fits(self) -> HRMSettings:
        if self.profile not in self.architecture:
            raise ValueError(f"profile {self.profile!r} is not under architecture: {', '.join(self.architecture)}")
        cycles = self.architecture[self.profile].h_cycles
        if self.convergence.max_cycles < cycles:
            raise ValueError(
                f"convergence.max_cycles {self.convergence.max_cycles} is under the {cycles} h_cycles of one segment"
            )
        return self

    @property
    def shape(self) -> ArchitectureSettings:
        """The shape that `profile` selects."""
        return self.architecture[self.profile]

    @property
    def max_segments(self) -> int:
        """Segments that one decision may take: `act.max_segments`, lowered by `convergence.max_cycles`."""
        return min(self.act.max_segments, self.convergence.max_cycles // self.shape.h_cycles)

    def has_shape(self, shape: ArchitectureSettings) -> bool:
        """Whether the profile builds that network; how it is trained (`gradient`) doesn't matter."""
        return _same_network(self.shape, shape)

    def shaped(self, shape: ArchitectureSettings) -> HRMSettings:
        """The same settings for a network of that shape, under the profile that has it or as `artifact`."""
        fits = [name for name, one in self.architecture.items() if _same_network(one, shape)]
        if fits:
            return self.model_copy(update={"profile": self.profile if self.profile in fits else fits[0]})
        return self.model_copy(update={"profile": "artifact", "architecture": {**self.architecture, "artifact": shape}})

    def within(self, segments: int | None) -> HRMSettings:
        """The same settings where no decision takes more segments than a network was trained with; None: nobody knows.

        Of a deeper one nothing was learned, its Q values least of all.
        """
        if segments is None or self.act.max_segments <= segments:
            return self
        steps = tuple(
            step.model_copy(update={"min_segments": min(step.min_segments, segments)})
            for step in self.act.complexity_steps
        )
        changed = {
            "min_segments": min(self.act.min_segments, segments), "max_segments": segments, "complexity_steps": steps,
        }  # fmt: skip
        return self.model_copy(update={"act": self.act.model_copy(update=changed)})

    def of(self, network: HRMConfig) -> HRMSettings:
        """The same settings for a network as it is: its shape, widths and features, under the profile that has them."""
        fits = [name for name, shape in self.architecture.items() if shape == network.architecture]
        name = self.profile if self.profile in fits else (fits or ["artifact"])[0]
        widths = {"instrument": network.instrument_dim, "timeframe": network.timeframe_dim}
        changed = {
            "profile": name,
            "architecture": {**self.architecture, name: network.architecture},
            "features": network.features,
            "embeddings": self.embeddings.model_copy(update=widths),
            "output_heads": self.output_heads.model_copy(update={"logit_cap": network.logit_cap}),
        }
        return self.model_copy(update=changed)

    def untold(self, features: FeatureSettings) -> str:
        """Why a network that reads these can't follow `entries.caution_bp`, "" where it can or nobody asks."""
        if not self.entries.caution_bp or features.past_sessions:
            return ""
        key = "hierarchical_reasoning_model.entries.caution_bp"
        return f"{key}: expected 0, for this network isn't told what a trade costs (features.past_sessions)"

    def network(self) -> HRMConfig:
        """Return the part of these settings that the network is built from."""
        return HRMConfig(
            architecture=self.shape,
            features=self.features,
            instrument_dim=self.embeddings.instrument,
            timeframe_dim=self.embeddings.timeframe,
            logit_cap=self.output_heads.logit_cap,
        )


def _same_network(one: ArchitectureSettings, other: ArchitectureSettings) -> bool:
    return one.model_copy(update={"gradient": other.gradient}) == other


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Turn `{"a": {"b": 1}}` into `{"a.b": 1}`."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
