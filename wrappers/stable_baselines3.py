"""The vector environment in the form that Stable-Baselines3 expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv as StableBaselinesVecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices
from torch import Tensor

from rlhf_env.vector_env import RLHFVectorEnv
from wrappers.stack.order import ADAPTER, check_order, inner_wrappers
from wrappers.stack.rows import split_info


class VecEnv(StableBaselinesVecEnv):
    """Run ``gym.make_vec("RLHF-v0")``, wrapped or not, under Stable-Baselines3's own agents.

    Rows whose episode ends are reset at once, whatever the autoreset mode; their last observation
    is ``infos[row]["terminal_observation"]``, and ``infos[row]["TimeLimit.truncated"]`` tells
    whether to bootstrap from it. Rows are not environments of their own: a method is called once
    for all of them, and each row gets its part of an answer that has one entry per row, such as
    `wrappers.vector.ActionMasks`'s, or the whole of any other.

    Example:
        >>> import gymnasium as gym, numpy as np, rlhf_env
        >>> from wrappers.stable_baselines3 import VecEnv
        >>> from wrappers.vector import HiddenState, TopKActions
        >>> envs = gym.make_vec("RLHF-v0", num_envs=4, task="toy15")
        >>> envs = VecEnv(HiddenState(TopKActions(envs, k=2)))
        >>> envs.reset().shape
        (4, 7)
        >>> _, rewards, dones, infos = envs.step(np.array([0, 0, 1, 1]))
        >>> dones.tolist(), infos[0]["score"], envs.reset_infos[0]
        ([True, True, False, False], 0.25, {'prompt_index': 0.0})
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        """Adapt a vector environment.

        Args:
            envs: ``gym.make_vec("RLHF-v0")`` with any wrappers of `wrappers.vector`.

        Raises:
            TypeError: if it is another environment.
        """
        check_order(envs, "VecEnv", ADAPTER)
        self.envs = envs
        self._actions: Any = None
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self) -> Any:
        """Start an episode in every row, with the seeds and options set before."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        observations, info = self.envs.reset(seed=seeds, options=self._common_options())  # type: ignore[arg-type]
        self.reset_infos = split_info(info, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return _arrays(observations)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step every row, and reset those whose episode ends.

        Returns:
            Observations, rewards [N] float32, dones [N], and a list of N infos.
        """
        observations, rewards, terminated, truncated, info = self.envs.step(self._actions)
        observations, is_cut = _arrays(observations), _arrays(truncated)
        dones = _arrays(terminated) | is_cut
        infos = split_info(info, self.num_envs)
        if self._is_reset_at_once:
            self._unpack(infos)
        elif dones.any():
            observations = self._restart(dones, observations, infos)
        for row, cut in zip(infos, is_cut.tolist(), strict=True):
            row["TimeLimit.truncated"] = cut
        return observations, _arrays(rewards).astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the vector environment."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute of the outermost wrapper that has it, once per row asked for."""
        return [getattr(self._owner(attr_name), attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute for all rows, where it is or else on the outermost wrapper."""
        owner = self._owner(attr_name) if self.has_attr(attr_name) else self.envs
        setattr(owner, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Call a method once for all rows, and return the answer of each row in ``indices``.

        Args:
            method_name: of the environment, or of the outermost wrapper that has it.
            *method_args: its arguments.
            indices: the rows; all unless given.
            **method_kwargs: more of its arguments.

        Returns:
            The rows' own entries where the answer is an array, a tensor, a list or a tuple of N;
            else the same answer for every row.
        """
        answer = getattr(self._owner(method_name), method_name)(*method_args, **method_kwargs)
        rows = self._rows(indices)
        if self._is_row_wise(answer):
            return [answer[row] for row in rows]
        return [answer] * len(rows)

    def _is_row_wise(self, answer: Any) -> bool:
        if isinstance(answer, np.ndarray | Tensor) and not answer.ndim:
            return False
        is_sequence = isinstance(answer, np.ndarray | Tensor | list | tuple)
        return is_sequence and len(answer) == self.num_envs

    def env_is_wrapped(self, wrapper_class: type, indices: VecEnvIndices = None) -> list[bool]:
        """Return whether the rows are wrapped by that class."""
        is_wrapped = any(isinstance(inner, wrapper_class) for inner in inner_wrappers(self.envs))
        return [is_wrapped] * len(self._rows(indices))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return None for every row: rendering gives texts, not images."""
        return [None] * self.num_envs

    @property
    def _is_reset_at_once(self) -> bool:
        base = cast(RLHFVectorEnv, self.envs.unwrapped)
        return base.autoreset_mode == AutoresetMode.SAME_STEP

    def _unpack(self, infos: list[dict[str, Any]]) -> None:
        """Separate the info of an episode's end from that of the next one's start."""
        for row, info in enumerate(infos):
            if "final_info" in info:
                last, ending = _arrays(info.pop("final_obs")), info.pop("final_info")
                self.reset_infos[row] = info
                infos[row] = {**ending, "terminal_observation": last}

    def _restart(self, dones: np.ndarray, last: Any, infos: list[dict[str, Any]]) -> Any:
        """Start an episode where one has ended, and return the new observations."""
        observations, info = self.envs.reset(options={"reset_mask": dones})
        reset_rows = split_info(info, self.num_envs)
        for row in dones.nonzero()[0].tolist():
            infos[row]["terminal_observation"] = _row(last, row)
            self.reset_infos[row] = reset_rows[row]
        return _arrays(observations)

    def _common_options(self) -> dict[str, Any] | None:
        """Return the rows' reset options as lists over rows.

        Raises:
            ValueError: if an option is set for some rows only.
        """
        names = {name for options in self._options for name in options}
        for row, options in enumerate(self._options):
            if set(options) != names:
                raise ValueError(
                    f"options must be the same for every row, got {sorted(names)} in some and "
                    f"{sorted(options)} in row {row}"
                )
        return {name: [options[name] for options in self._options] for name in names} or None

    def _owner(self, name: str) -> Any:
        """Return the outermost wrapper, or the environment, that has an attribute.

        Raises:
            AttributeError: if none has it.
        """
        for inner in (*inner_wrappers(self.envs), self.envs.unwrapped):
            if hasattr(inner, name):
                return inner
        raise AttributeError(f"the environment has no attribute {name!r}")

    def _rows(self, indices: VecEnvIndices) -> list[int]:
        return list(self._get_indices(indices))


def _arrays(values: Any) -> Any:
    """Return tensors or arrays as arrays, fresh memory; a dict entry by entry."""
    if isinstance(values, dict):
        return {name: _arrays(value) for name, value in values.items()}
    return values.cpu().numpy().copy() if isinstance(values, Tensor) else np.array(values)


def _row(observations: Any, row: int) -> Any:
    """Return the observation of one row, fresh memory."""
    if isinstance(observations, dict):
        return {name: array[row].copy() for name, array in observations.items()}
    return observations[row].copy()
