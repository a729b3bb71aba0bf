"""What keeps runs from being trained as one."""

from __future__ import annotations

from agents.settings import BUILT_IN_AGENTS
from agents.stacked.stackable import why_not_stackable
from studies.experiment.agent_names import is_custom
from studies.experiment.build import make_agent, make_envs, run_task
from studies.experiment.grid import RunSettings


def why_alone(run: RunSettings) -> str | None:
    """Return what keeps runs of this kind from training as one, as words; None if nothing does.

    It is found out by making one agent, unless a language model would have to be loaded for it.
    """
    budget = run.budget
    if budget.model is not None or budget.task == "reviews":
        return "the policy is a language model"
    if is_custom(run.agent):
        return "agents of one's own have rollouts of their own"
    if run.preference_pairs is not None or BUILT_IN_AGENTS[run.agent].takes_preferences:
        return f"{run.agent} learns from comparisons"
    try:
        task = run_task(run)
        return why_not_stackable(make_agent(run, make_envs(run, task)))
    except Exception as error:
        # Alone it says so itself.
        return f"it cannot be made ({type(error).__name__})"
