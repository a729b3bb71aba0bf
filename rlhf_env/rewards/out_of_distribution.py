"""How far responses lie from the texts that a reward model was trained on.

A response is the vector of `hidden_states`; the training texts are a Gaussian (Lee et al. 2018,
arXiv:1807.03888), if wanted relative to one of other texts (Ren et al. 2021, arXiv:2106.09022).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rlhf_env.checks import check_number
from rlhf_env.extras import importing
from rlhf_env.files import parse_json, write_atomically
from rlhf_env.rewards.hidden_states import hidden_states

FORMAT = 1
HEADER = "out_of_distribution"
MIN_TEXTS = 10
# Every fifth text is kept from the Gaussian: distances from what was fitted are too small.
KEPT_EVERY = 5
# Hidden states of one text on two machines differ by less, relative to their size.
SAME_STATE = 1e-2
# Distances of one text in batches of other sizes differ by less, relative to their size.
ROUNDING = 1e-5

States = Callable[[list[Tensor], list[Tensor]], Tensor]
Texts = tuple[list[Tensor], list[Tensor]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gaussian:
    """A normal distribution of hidden states."""

    mean: Tensor
    """[H] float64."""
    precision: Tensor
    """[H, H] float64, the inverse of the covariance."""

    @classmethod
    def fit(cls, states: Tensor) -> Gaussian:
        """Estimate it with a covariance shrunk towards a sphere (Ledoit and Wolf 2004).

        Args:
            states: [N, H]; N may be smaller than H.
        """
        with importing("rewards"):
            from sklearn.covariance import LedoitWolf

        estimate = LedoitWolf().fit(states.double().numpy())
        return cls(
            mean=torch.from_numpy(estimate.location_),
            precision=torch.from_numpy(estimate.precision_),
        )

    def squared_distances(self, states: Tensor) -> Tensor:
        """Return (s − mean)ᵀ precision (s − mean), the squared Mahalanobis distances, [N].

        Args:
            states: [N, H].
        """
        offsets = states.double() - self.mean
        return ((offsets @ self.precision) * offsets).sum(dim=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class OutOfDistribution:
    """The distance of responses from the texts that a reward model was trained on.

    Larger is farther. The distance is squared, as in the papers: near H, the number of hidden
    units, for texts like the training texts; less the distance from ``background`` if there is
    one, so that what is unusual in any text cancels::

        distance = OutOfDistribution.fit(model, prompts, responses)
        distance(new_prompts, new_responses)  # [B]
    """

    states: States
    """``states(prompts, responses) -> [B, H]``, the reward model's hidden states."""
    trained: Gaussian
    """Of the training texts."""
    background: Gaussian | None
    """Of other texts; None measures the plain distance."""
    threshold: float
    """The distance beyond which a text counts as foreign."""
    spread: float
    """Standard deviation of the distance over texts like the training texts."""
    probe: tuple[Tensor, Tensor]
    """Token ids of a prompt and of a response, to recognize the reward model by."""

    @classmethod
    def fit(
        cls,
        reward: Any,
        prompts: list[Tensor],
        responses: list[Tensor],
        *,
        background: Texts | None = None,
        quantile: float = 0.95,
    ) -> OutOfDistribution:
        """Fit the distance to training texts, of which a fifth sets threshold and spread.

        Args:
            reward: a reward model that `hidden_states` can read.
            prompts: token ids of the prompts that the reward model was trained on.
            responses: token ids of the responses to them, preferred and not.
            background: prompts and responses of other texts; with them distances are relative.
            quantile: share of texts like the training texts that is not foreign, in [0, 1].

        Raises:
            ValueError: if there are too few texts, their hidden states do not differ, or a
                setting is out of its range.
        """
        check_number("quantile", quantile, minimum=0.0, maximum=1.0)
        states = partial(hidden_states, reward)
        other = None if background is None else Gaussian.fit(_checked_states(states, *background))
        seen = _checked_states(states, prompts, responses)
        is_kept = torch.arange(len(seen)) % KEPT_EVERY == 0
        fitted = cls(
            states=states,
            trained=Gaussian.fit(seen[~is_kept]),
            background=other,
            threshold=0.0,
            spread=1.0,
            probe=(prompts[0].cpu(), responses[0].cpu()),
        )
        kept = fitted.distances(seen[is_kept])
        spread = float(kept.std())
        if spread <= ROUNDING * float(fitted.trained.squared_distances(seen[is_kept]).max()):
            raise ValueError(
                f"every fifth of the texts must differ, got {len(kept)} alike; shuffle the texts"
            )
        return replace(fitted, threshold=float(kept.quantile(quantile)), spread=spread)

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return the distance of each response, [B] float64."""
        return self.distances(self.states(prompts, responses))

    def excess(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return max(0, distance − threshold) / spread of each response, [B] float64."""
        return (self(prompts, responses) - self.threshold).clamp(min=0.0) / self.spread

    def distances(self, states: Tensor) -> Tensor:
        """Return the distances of hidden states [N, H], [N] float64."""
        near = self.trained.squared_distances(states)
        return near if self.background is None else near - self.background.squared_distances(states)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with a JSON header, as a whole or not; no reward model.

        Raises:
            OSError: if it cannot be written; an old file is then untouched.
        """
        prompt, response = self.probe
        state = self.states([prompt], [response])[0]
        tensors = {"prompt": prompt, "response": response, "state": state}
        for name, found in (("trained", self.trained), ("background", self.background)):
            if found is not None:
                tensors |= {f"{name}.mean": found.mean, f"{name}.precision": found.precision}
        header = {"format": FORMAT, "threshold": self.threshold, "spread": self.spread}
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_atomically(Path(path), save(whole, metadata={HEADER: json.dumps(header)}))

    @classmethod
    def load(cls, path: str | Path, reward: Any) -> OutOfDistribution:
        """Return what `save` wrote.

        Args:
            path: the file.
            reward: the reward model that it was fitted to.

        Raises:
            ValueError: if there is no such file, it is damaged or of another kind, or the reward
                model's hidden states are not those that it was fitted to.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = parse_json((file.metadata() or {})[HEADER])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            loaded = cls._from_parts(reward, header, tensors)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(
                f"an out-of-distribution score must be a file that save() wrote, got "
                f"{str(path)!r}: {type(error).__name__}: {reason}"
            ) from error
        _check_same_model(loaded, tensors["state"], path)
        return loaded

    @classmethod
    def _from_parts(
        cls, reward: Any, header: dict[str, Any], tensors: dict[str, Tensor]
    ) -> OutOfDistribution:
        if header["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {header['format']!r}")

        def gaussian(name: str) -> Gaussian:
            return Gaussian(mean=tensors[f"{name}.mean"], precision=tensors[f"{name}.precision"])

        return cls(
            states=partial(hidden_states, reward),
            trained=gaussian("trained"),
            background=gaussian("background") if "background.mean" in tensors else None,
            threshold=float(header["threshold"]),
            spread=float(header["spread"]),
            probe=(tensors["prompt"], tensors["response"]),
        )


def _checked_states(states: States, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
    """Return the hidden states of training texts, [N, H], or say why nothing can be fitted."""
    if len(prompts) != len(responses) or len(responses) < MIN_TEXTS:
        raise ValueError(
            f"prompts and responses must be equally many, at least {MIN_TEXTS}, got "
            f"{len(prompts)} and {len(responses)}"
        )
    found = states(prompts, responses)
    if not found.isfinite().all() or (found == found[0]).all():
        raise ValueError(
            f"the hidden states of the {len(found)} texts must be finite and differ, got "
            "ones that do not; check the reward model's weights and the texts"
        )
    return found


def _check_same_model(loaded: OutOfDistribution, state: Tensor, path: str | Path) -> None:
    prompt, response = loaded.probe
    found = loaded.states([prompt], [response])[0]
    if found.shape != state.shape or (found - state).norm() > SAME_STATE * state.norm():
        raise ValueError(
            f"reward must be the model that {str(path)!r} was fitted to, got one with other "
            "hidden states; load that model, or fit() again"
        )
