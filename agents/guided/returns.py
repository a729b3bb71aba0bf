"""What the reference's responses are paid from a state and token on: the protocol, and a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from rlhf_env.engine.language_model import LanguageModel


class Returns(Protocol):
    """The distribution of the return G of the reference's responses, of every next token."""

    def hidden(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return what is known of the states at some positions, [M, H], row by row.

        Args:
            tokens: [B, L] int64, padded on the right.
            wanted: [B, L] bool, the last position of each of the M states.
        """
        ...

    def mean(self, hidden: Tensor) -> Tensor:
        """Return E_ref[G | s, a] of every token in M states, [M, V]."""
        ...

    def log_mean_exp(self, hidden: Tensor, kl_coef: float) -> Tensor:
        """Return beta log E_ref[exp(G / beta) | s, a] of every token in M states, [M, V]."""
        ...


class ReturnModel(nn.Module):
    """A language model's trunk with a categorical distribution of the return for every token.

    p(z_k | s, a) over K fixed returns z (arXiv:2502.20548); its head has V · K outputs,
    so it is for small vocabularies. At first all K are equally likely.
    """

    atoms: Tensor

    def __init__(self, model: nn.Module, vocab_size: int, atoms: Sequence[float] | Tensor) -> None:
        """Take a model, whose trunk is trained, and the returns that can be.

        Args:
            model: a causal language model of its own, such as a copy of the reference.
            vocab_size: V.
            atoms: [K] ascending returns.

        Raises:
            ValueError: if there are fewer than two returns, or they do not ascend.
        """
        super().__init__()
        returns = torch.as_tensor(atoms, dtype=torch.float32)
        if returns.dim() != 1 or len(returns) < 2 or not (returns.diff() > 0).all():
            raise ValueError(
                f"atoms must be at least two returns in ascending order, got {returns.tolist()}"
            )
        self.model = model
        self.lm = LanguageModel(model, vocab_size)
        self.register_buffer("atoms", returns.to(self.lm.device))
        self.head = nn.Linear(self.lm.hidden_size, vocab_size * len(returns)).to(self.lm.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def hidden(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Return the trunk's outputs at some positions, [M, H]; see `Returns`."""
        return self.lm.packed_hidden(tokens, wanted)

    def logprobs(self, hidden: Tensor) -> Tensor:
        """Return log p(z_k | s, a), [M, V, K]."""
        shape = len(hidden), self.lm.vocab_size, len(self.atoms)
        return self.head(hidden.to(self.head.weight.dtype)).view(shape).log_softmax(dim=-1)

    def chosen_logprobs(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Return log p(z_k | s, a) of one token in each state, [M, K].

        Only that token's rows of the head are read.
        """
        count, width = len(self.atoms), self.head.in_features
        weight = self.head.weight.view(-1, count, width)[tokens]
        bias = self.head.bias.view(-1, count)[tokens]
        return (torch.einsum("mkh,mh->mk", weight, hidden) + bias).log_softmax(dim=-1)

    @torch.no_grad()
    def mean(self, hidden: Tensor) -> Tensor:
        """Return E_ref[G | s, a], [M, V]."""
        return self.logprobs(hidden).exp() @ self.atoms

    @torch.no_grad()
    def log_mean_exp(self, hidden: Tensor, kl_coef: float) -> Tensor:
        """Return beta log E_ref[exp(G / beta) | s, a], [M, V]."""
        return kl_coef * (self.logprobs(hidden) + self.atoms / kl_coef).logsumexp(dim=-1)


def on_atoms(returns: Tensor, atoms: Tensor) -> Tensor:
    """Return each return as a distribution over atoms with that mean, [M, K].

    A return between two atoms is shared by both (arXiv:1707.06887, eq. 7); one outside of them all
    goes to the nearest.

    Args:
        returns: [M].
        atoms: [K] ascending.
    """
    clamped = returns.clamp(float(atoms[0]), float(atoms[-1]))
    upper = torch.searchsorted(atoms, clamped).clamp(1, len(atoms) - 1)
    low, high = atoms[upper - 1], atoms[upper]
    share = (clamped - low) / (high - low)
    found = returns.new_zeros(len(returns), len(atoms))
    found.scatter_(1, upper[:, None], share[:, None])
    return found.scatter_add(1, (upper - 1)[:, None], (1.0 - share)[:, None])
