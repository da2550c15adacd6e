"""The settings of a training run, in parts; all published numbers use the defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from infogail.config.parts import (
    CloningConfig,
    CodesConfig,
    DiscriminatorConfig,
    PolicyConfig,
    PosteriorConfig,
    RIMConfig,
    RunConfig,
    TRPOConfig,
)
from infogail.config.setting import flat_name, refuse_unknown, types
from infogail.envs.catalogue import is_environment
from infogail.envs.errors import BadInput

if TYPE_CHECKING:
    from infogail.envs.tasks import Task


@dataclass(frozen=True)
class Config:
    """All settings of a training run; each component of a learner reads its own part.

    Presets, scenarios and flags refer to a setting by its flat name: `Config.of(num_envs=32)` sets `run.num_envs`, and
    `--discriminator-steps` sets `discriminator.steps`. `infogail.config.presets.settings` builds a scenario's
    recommended settings.
    """

    run: RunConfig = field(default_factory=RunConfig)
    codes: CodesConfig = field(default_factory=CodesConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    trpo: TRPOConfig = field(default_factory=TRPOConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    rim: RIMConfig = field(default_factory=RIMConfig)
    cloning: CloningConfig = field(default_factory=CloningConfig)

    def __post_init__(self) -> None:
        """Reject inconsistent parts.

        Raises:
            BadInput: naming the flag, its value and the remedy.
        """
        run, codes = self.run, self.codes
        if run.labelled is not None and codes.graded_code:
            raise BadInput(f"--labelled {run.labelled}: a graded code has no labels; leave it out")
        if self.discriminator.reads_code and not self.rim.steps:
            remedy = "turn off --discriminator-reads-code, or give more steps"
            raise BadInput(
                f"--rim-steps 0: leaves demonstrations without codes, which the discriminator reads; {remedy}"
            )
        if run.num_envs < codes.num_codes:
            raise BadInput(f"--num-envs {run.num_envs}: give at least one for each of the {codes.num_codes} codes")

    def check(self, scenario: Task) -> None:
        """Raise BadInput if these settings cannot be used to train in `scenario`."""
        labelled, num_codes, styles = self.run.labelled, self.codes.num_codes, len(scenario.styles)
        if self.run.early_end is not None and not is_environment(scenario.name):
            raise BadInput(f"--early-end {self.run.early_end}: in {scenario.name} it is known; leave it out")
        if self.run.older_selves and not self.run.company:
            raise BadInput("--older-selves: others are driven by the policy in company only; add --company")
        if self.run.company and not (scenario.usable_as_traffic and scenario.steers):
            raise BadInput(
                f"--company: {scenario.name} has no other drivers in lanes; leave it out, or train on highway or replay"
            )
        if labelled is not None and scenario.recorded:
            raise BadInput(f"--labelled {labelled}: the people in {scenario.name} have no style labels; leave it out")
        if labelled is not None and num_codes < styles:
            remedy = f"{scenario.name} has {styles} styles; give no fewer with --labelled"
            raise BadInput(f"--num-codes {num_codes}: {remedy}")

    @classmethod
    def of(cls, **settings: Any) -> Config:
        """The defaults, updated with `settings` given by flat name.

        Raises:
            BadInput: a setting is unknown or invalid.
        """
        return cls().with_(**settings)

    def with_(self, **settings: Any) -> Config:
        """These settings, updated with `settings` given by flat name.

        Raises:
            BadInput: a setting is unknown or invalid.
        """
        refuse_unknown(settings, SETTINGS)
        changes: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            changes.setdefault(SETTINGS[name].part, {})[SETTINGS[name].field.name] = value
        return replace(self, **{part: replace(getattr(self, part), **values) for part, values in changes.items()})

    def flat(self) -> dict[str, Any]:
        """All settings, by flat name."""
        return {name: getattr(getattr(self, part), entry.name) for name, (part, entry, _) in SETTINGS.items()}

    @classmethod
    def from_dict(cls, values: object) -> Config:
        """Build the settings from a complete `values`, as returned by `dataclasses.asdict`, now or by a version before
        there were the `ADDED` settings.

        Raises:
            BadInput: a setting is unknown, missing or invalid.
        """
        parts = types(cls)
        _check_names("config", values, parts)
        assert isinstance(values, Mapping)
        for name, part in parts.items():
            known = [entry.name for entry in fields(part) if entry.name not in ADDED.get(name, {})]
            _check_names(f"config.{name}", values[name], known, ADDED.get(name, ()))
        return cls(**{name: part(**{**ADDED.get(name, {}), **values[name]}) for name, part in parts.items()})


class Setting(NamedTuple):
    """Where a setting is stored."""

    part: str
    """Field of `Config`."""
    field: Field
    """Field of that part."""
    type: Any


SETTINGS = {
    flat_name(entry): Setting(part, entry, types(kind)[entry.name])
    for part, kind in types(Config).items()
    for entry in fields(kind)
}
"""All settings, by flat name."""


ADDED: dict[str, dict[str, Any]] = {
    "run": {"company": False, "older_selves": 0.0},
    "policy": {"target_kl": None},
    "discriminator": {"reads_context": True},
}
"""Settings that older runs lack, with what they did, by part."""


def _check_names(where: str, values: object, names: Any, optional: Iterable[str] = ()) -> None:
    if not isinstance(values, Mapping):
        raise BadInput(f"{where} is {values!r}, not an object of settings")
    refuse_unknown(values, [*names, *optional], f"{where} has an ")
    for name in names:
        if name not in values:
            raise BadInput(f"{where} lacks '{name}'")
