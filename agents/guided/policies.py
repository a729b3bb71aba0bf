"""The reference guided by values: Q# towards the optimum, VAS by the reference's own values."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from agents.guided.language_model import Guidance, GuidedLanguageModel
from agents.guided.returns import Returns
from agents.policy import Policy
from rlhf_env.checks import check_count, check_positive
from rlhf_env.task import Task


class GuidedPolicy(Policy):
    """pi(a|s) ∝ pi_ref(a|s) exp(Q(s,a)/beta): a policy without weights of its own.

    Whatever takes a `Policy` for sampling or evaluation takes it: `agents.collect`,
    `agents.evaluation.evaluate`, `rlhf_env.exact.evaluate`. Values are of whole responses at γ = 1,
    a token at a time. Each token costs a pass of the returns over the whole text.
    """

    def __init__(
        self,
        task: Task,
        returns: Returns,
        *,
        kl_coef: float | None = None,
        candidates: int | None = None,
        temperature: float = 1.0,
    ) -> None:
        """Guide a task's reference.

        Args:
            task: whose reference writes.
            returns: of the reference's responses, such as `fit_returns` or `ExactReturns` give.
            kl_coef: beta > 0; the task's when None. It may be changed from policy to policy, with
                the same returns.
            candidates: guide so many of the reference's most likely tokens; the others keep their
                probability relative to the mean of the candidates' values, as in the code of VAS.
                None guides all.
            temperature: of the reference.

        Raises:
            ValueError: if a number is out of range, or the task is a conversation.
        """
        if task.respond is not None:
            raise ValueError(
                f"task {task.name!r} is a conversation, whose environment answers by chance, and "
                "then log-mean-exps of returns are not soft values; train an agent instead"
            )
        self.kl_coef = task.kl_coef if kl_coef is None else kl_coef
        check_positive("kl_coef", self.kl_coef)
        if candidates is not None:
            check_count("candidates", candidates)
        super().__init__(task.reference, task.vocab_size, temperature)
        guidance = Guidance(returns, self.q_values, temperature / self.kl_coef, candidates)
        self.returns = returns
        self.lm = GuidedLanguageModel(self.lm, guidance)
        self.value_head = _Nothing()

    @abstractmethod
    def q_values(self, hidden: Tensor) -> Tensor:
        """Return Q of every token in M states, [M, V], from what the returns know of them."""


class QSharp(GuidedPolicy):
    """Q#: Q(s,a) = beta log E_ref[exp(G/beta) | s, a], whose policy is pi* (arXiv:2502.20548)."""

    def q_values(self, hidden: Tensor) -> Tensor:
        """Return the soft values of tokens, [M, V]."""
        return self.returns.log_mean_exp(hidden, self.kl_coef)


class VAS(GuidedPolicy):
    """Value augmented sampling: Q(s,a) = E_ref[G | s, a] (arXiv:2405.06639).

    By Jensen's inequality it is below the soft value that pi* has there, and its policy is not pi*
    but where one decision is left.
    """

    def q_values(self, hidden: Tensor) -> Tensor:
        """Return the mean returns of tokens, [M, V]."""
        return self.returns.mean(hidden)


class _Nothing(nn.Module):
    """A value head that predicts 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.new_zeros(len(hidden), 1).float()
