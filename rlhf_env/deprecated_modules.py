"""Module paths and names of earlier versions: aliases of today's, with a warning.

Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

REMOVED_IN = "0.2"

# Old to new. Paths that now name a package or a function of the same name are not here.
MOVED = {
    "agents.actor_critic": "agents.algorithms.actor_critic",
    "agents.algorithms.critic_diagnostics": "agents.critics.check",
    "agents.best_of_n": "agents.algorithms.best_of_n",
    "agents.checkpoint": "agents.training.checkpoints.checkpoint",
    "agents.conjugate_gradient": "agents.algorithms.trust_region.conjugate_gradient",
    "agents.contract": "agents.rollouts.contract",
    "agents.critic_check": "agents.critics.check",
    "agents.decisions": "agents.rollouts.decisions",
    "agents.demonstrations": "agents.algorithms.demonstrations",
    "agents.discounting": "agents.rollouts.discounting",
    "agents.draw": "agents.rollouts.sampling_plan",
    "agents.evaluate": "agents.evaluation.evaluate",
    "agents.fisher": "agents.algorithms.trust_region.fisher",
    "agents.group_returns": "agents.algorithms.group_advantages",
    "agents.grpo": "agents.algorithms.grpo",
    "agents.health": "agents.training.health",
    "agents.interrupt": "agents.training.interrupt",
    "agents.kl_penalty_ppo": "agents.algorithms.kl_penalty_ppo",
    "agents.kl_reward": "agents.rollouts.kl_reward",
    "agents.learner": "agents.training.learner",
    "agents.lora": "agents.training.lora",
    "agents.math_checks": "agents.math.checks",
    "agents.metrics": "agents.evaluation.metrics",
    "agents.order_statistics": "agents.algorithms.best_of_n_estimators",
    "agents.ppo": "agents.algorithms.ppo",
    "agents.pretraining": "agents.training.pretraining",
    "agents.reinforce": "agents.algorithms.reinforce",
    "agents.rloo": "agents.algorithms.rloo",
    "agents.run_checkpoints": "agents.training.checkpoints.run_checkpoints",
    "agents.run_log": "agents.training.run_log",
    "agents.sft": "agents.algorithms.sft",
    "agents.sole_writer": "agents.training.run_lock",
    "agents.stepping": "agents.rollouts.stepping",
    "agents.surrogate": "agents.algorithms.surrogate",
    "agents.training.checkpoint": "agents.training.checkpoints.checkpoint",
    "agents.training.export": "agents.training.checkpoints.export",
    "agents.training.run_checkpoints": "agents.training.checkpoints.run_checkpoints",
    "agents.trpo": "agents.algorithms.trpo",
    "agents.trust_region_learner": "agents.algorithms.trust_region.learner",
    "rlhf_env.best_of_n": "rlhf_env.exact.best_of_n",
    "rlhf_env.enumerated": "rlhf_env.exact.enumerated",
    "rlhf_env.language_model": "rlhf_env.engine.language_model",
    "rlhf_env.lean_decoder": "rlhf_env.engine.fused_decoder",
    "rlhf_env.matmul": "rlhf_env.engine.matmul",
    "rlhf_env.options": "rlhf_env.mdp.options",
    "rlhf_env.packed_pass": "rlhf_env.engine.packed_pass",
    "rlhf_env.packing": "rlhf_env.engine.packing",
    "rlhf_env.policy_kl": "rlhf_env.mdp.policy_kl",
    "rlhf_env.pretrained": "rlhf_env.engine.pretrained",
    "rlhf_env.projection": "rlhf_env.engine.projection",
    "rlhf_env.prompts": "rlhf_env.text.prompts",
    "rlhf_env.reference_responses": "rlhf_env.mdp.reference_responses",
    "rlhf_env.render": "rlhf_env.mdp.render",
    "rlhf_env.reset_options": "rlhf_env.mdp.reset_options",
    "rlhf_env.response_tree": "rlhf_env.exact.response_tree",
    "rlhf_env.rewards.annotators": "rlhf_env.rewards.feedback.agreement",
    "rlhf_env.rewards.baselines": "rlhf_env.rewards.metrics.baselines",
    "rlhf_env.rewards.calibration": "rlhf_env.rewards.metrics.calibration",
    "rlhf_env.rewards.conversations": "rlhf_env.rewards.feedback.conversations",
    "rlhf_env.rewards.estimates": "rlhf_env.rewards.metrics.estimates",
    "rlhf_env.rewards.figures_table": "rlhf_env.rewards.metrics.table",
    "rlhf_env.rewards.fresh_model": "rlhf_env.rewards.training.fresh_model",
    "rlhf_env.rewards.held_out": "rlhf_env.rewards.metrics.held_out",
    "rlhf_env.rewards.judge_answers": "rlhf_env.rewards.judge.answers",
    "rlhf_env.rewards.judge_model": "rlhf_env.rewards.judge.model",
    "rlhf_env.rewards.pair_figures": "rlhf_env.rewards.metrics.pair",
    "rlhf_env.rewards.preference_data": "rlhf_env.rewards.feedback.data",
    "rlhf_env.rewards.preference_files": "rlhf_env.rewards.feedback.files",
    "rlhf_env.rewards.preference_losses": "rlhf_env.rewards.training.preference_losses",
    "rlhf_env.rewards.preference_rows": "rlhf_env.rewards.feedback.rows",
    "rlhf_env.rewards.preferences": "rlhf_env.rewards.feedback.records",
    "rlhf_env.rewards.prompt_and_response": "rlhf_env.rewards.feedback.prompt_and_response",
    "rlhf_env.rewards.ranking_figures": "rlhf_env.rewards.metrics.ranking",
    "rlhf_env.rewards.rated_texts": "rlhf_env.rewards.feedback.rated_texts",
    "rlhf_env.rewards.single_figures": "rlhf_env.rewards.metrics.single",
    "rlhf_env.rewards.span_labels": "rlhf_env.rewards.feedback.spans",
    "rlhf_env.row_cache": "rlhf_env.engine.row_cache",
    "rlhf_env.sampling": "rlhf_env.engine.sampling",
    "rlhf_env.spaces": "rlhf_env.mdp.spaces",
    "rlhf_env.text_ids": "rlhf_env.text.text_ids",
    "rlhf_env.turn": "rlhf_env.mdp.lock",
    "rlhf_env.twin": "rlhf_env.engine.module_view",
    "rlhf_env.vector_info": "rlhf_env.mdp.vector_info",
    "rlhf_env.weights": "rlhf_env.engine.weight_fingerprint",
    "wrappers.boundary": "wrappers.macro.boundary",
    "wrappers.density": "wrappers.reward_terms.density",
    "wrappers.overlong_penalty": "wrappers.length_penalty",
    "wrappers.prefix_difference": "wrappers.every_k",
    "wrappers.score_scale": "wrappers.reward_terms.score_scale",
}


class DeprecatedModules(MetaPathFinder, Loader):
    """Finds what is in `MOVED`; comes last on the meta path, so it never hides a module."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answer for old paths only."""
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python to make the empty module that `exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the new module in the place of the old one, so that both are one object."""
        old = module.__name__
        new = MOVED[old]
        warnings.warn(
            f"{old} is now {new}; the old path stops working in version {REMOVED_IN}",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[old] = importlib.import_module(new)


def install() -> None:
    """Let Python find the old paths; calling it again changes nothing."""
    if not any(isinstance(finder, DeprecatedModules) for finder in sys.meta_path):
        sys.meta_path.append(DeprecatedModules())


def renamed(
    module: str, names: Mapping[str, str], otherwise: Callable[[str], object] | None = None
) -> Callable[[str], object]:
    """Return a module's ``__getattr__`` under which old names work, with a warning.

    Args:
        module: its ``__name__``.
        names: old name to new name in the same module.
        otherwise: called for every other name, such as a lazy loader.
    """

    def find(name: str) -> object:
        if name in names:
            new = names[name]
            warnings.warn(
                f"{module}.{name} is now {module}.{new}; the old name stops working in version "
                f"{REMOVED_IN}",
                DeprecationWarning,
                stacklevel=2,
            )
            return getattr(sys.modules[module], new)
        if otherwise is not None:
            return otherwise(name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return find
