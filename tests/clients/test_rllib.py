"""RLlib's PPO drives the environment as it is; it pins Gymnasium 1.2.2 (`make test-rllib`)."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

import rlhf_env  # noqa: F401  (registers RLHF-v0)
from rlhf_env.task import Task
from tests.clients.toy15_net import BETA, BONUS_OPTIMUM, ActorCritic, objective

# Its requirements are not there where Ray is installed for grids only.
pytest.importorskip("tree")
pytest.importorskip("ray.rllib")
# It asks torch and Gymnasium for what they will drop.
pytestmark = pytest.mark.filterwarnings("ignore")

ITERATIONS = 20


@pytest.fixture(scope="module")
def ray() -> Any:
    import ray
    from ray.tune.registry import register_env

    register_env("rlhf", make_env)
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def make_env(config: dict[str, Any]) -> gym.Env[Any, Any]:
    return gym.make("RLHF-v0", task=config["task"], kl_coef=BETA)


def configured(task: str, module: type | None = None) -> Any:
    """PPO in this process: 16 environments side by side, 192 steps an iteration."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module import RLModuleSpec

    config = (
        PPOConfig()
        .environment("rlhf", env_config={"task": task})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=16)
        .learners(num_learners=0)
        .training(
            lr=0.01,
            gamma=1.0,
            lambda_=0.95,
            entropy_coeff=BETA,
            use_kl_loss=False,
            vf_clip_param=1e6,
            train_batch_size=192,
            minibatch_size=192,
            num_epochs=4,
        )
        .debugging(seed=0, log_level="ERROR")
    )
    return config.rl_module(rl_module_spec=RLModuleSpec(module_class=module or ours()))


def ours() -> type:
    """An RLModule of the two small networks that the tests of the other libraries train."""
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.rl_module.apis import ValueFunctionAPI
    from ray.rllib.core.rl_module.torch import TorchRLModule

    class Module(TorchRLModule, ValueFunctionAPI):
        def setup(self) -> None:
            self.net = ActorCritic()

        def _forward(self, batch: Any, **_: Any) -> dict[str, Any]:
            return {Columns.ACTION_DIST_INPUTS: self.net(batch[Columns.OBS])[0]}

        def compute_values(self, batch: Any, embeddings: Any = None) -> Any:
            return self.net(batch[Columns.OBS])[1]

    return Module


def test_it_learns(ray: Any, toy15: Task) -> None:
    torch.manual_seed(0)
    algorithm = configured("toy15").build_algo()
    returns = [algorithm.train()["env_runners"]["episode_return_mean"] for _ in range(ITERATIONS)]
    net = algorithm.get_module().net
    algorithm.stop()
    reached = objective(toy15, lambda one: net(one)[0].softmax(-1))
    assert 0.9 < reached < BONUS_OPTIMUM + 0.02
    assert returns[-1] > returns[0] + 0.5
