"""The KL settings as one record, and beta that never turns negative."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from agents import AgentConfig
from agents.settings import KLControl


def test_the_flat_settings_are_one_record() -> None:
    config = AgentConfig(
        kl_coef=0.2,
        kl_placement="loss",
        kl_estimator="k2",
        kl_importance_ratio=True,
        kl_target=3.0,
        kl_target_unit="token",
        kl_horizon=500,
    )
    assert config.kl == KLControl(
        coef=0.2,
        placement="loss",
        estimator="k2",
        importance_ratio=True,
        target=3.0,
        target_unit="token",
        horizon=500,
    )
    assert config.kl.is_in_loss
    assert AgentConfig().kl == KLControl()
    assert not KLControl().is_in_loss
    flat = {field.name for field in dataclasses.fields(AgentConfig)}
    assert {f"kl_{field.name}" for field in dataclasses.fields(KLControl)} <= flat
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.kl.coef = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coef": -1.0}, "kl_coef must be a finite number >= 0, got -1.0"),
        ({"placement": "rewards"}, r"kl_placement must be one of \['reward', 'loss'\], got 'rewa"),
        ({"estimator": "k4"}, r"kl_estimator must be one of \['k1', 'k2', 'k3'\], got 'k4'"),
        ({"target": 0.0}, "kl_target must be a finite number greater than 0, got 0.0"),
        ({"target_unit": "word"}, r"kl_target_unit must be one of .*, got 'word'"),
        ({"horizon": 0}, "kl_horizon must be an integer >= 1, got 0"),
    ],
)
def test_values_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        KLControl(**settings)
    with pytest.raises(ValueError, match=f"^{message}"):
        AgentConfig(**{f"kl_{name}": value for name, value in settings.items()})


@pytest.mark.parametrize("horizon", [1, 12, 20])
def test_a_horizon_that_would_turn_beta_negative_is_refused(horizon: int) -> None:
    message = f"more than a fifth of the episodes per update.*kl_horizon = {horizon} for 100 epis"
    with pytest.raises(ValueError, match=message):
        AgentConfig(kl_target=1.0, kl_horizon=horizon, episodes_per_update=100)
    # Without a target nothing is steered.
    AgentConfig(kl_horizon=horizon, episodes_per_update=100)
    AgentConfig(kl_target=1.0, kl_horizon=21, episodes_per_update=100)
