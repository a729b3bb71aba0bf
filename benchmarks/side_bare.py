"""The same work in bare PyTorch and a Hugging Face model, and nothing that is not needed for it.

Responses of a batch are decoded side by side until the last has ended; whole logits are built.
"""

from __future__ import annotations

import copy
import time

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache

from benchmarks.models import EOS
from benchmarks.works import Order, conversation


def main() -> None:
    """Decode and take an Adam step, as often as asked."""
    with conversation() as (order, bell):
        torch.set_num_threads(order.threads)
        torch.manual_seed(0)
        policy = AutoModelForCausalLM.from_pretrained(order.folder, dtype=torch.float32).eval()
        reference = copy.deepcopy(policy).requires_grad_(False)
        optimizer = torch.optim.Adam(policy.parameters(), lr=order.learning_rate)
        drawn, work = torch.Generator().manual_seed(0), order.work
        rollout = decode(policy, draw_prompts(order, drawn), work.new_tokens)
        bell.ready(torch=torch.__version__, transformers=transformers.__version__)
        while bell.wait():
            begun = time.perf_counter()
            if work.phase != "update":
                rollout = decode(policy, draw_prompts(order, drawn), work.new_tokens)
                ref_logprobs = ask(reference, rollout[0])
            else:
                ref_logprobs = torch.zeros_like(rollout[0][:, 1:], dtype=torch.float32)
            update(policy, optimizer, *rollout, ref_logprobs, order)
            bell.done(time.perf_counter() - begun, int(rollout[1].sum()))


@torch.no_grad()
def ask(reference: nn.Module, tokens: Tensor) -> Tensor:
    """Return the reference's log-probabilities of all tokens but the first, [B, L - 1]."""
    return _logprobs(reference, tokens)


def draw_prompts(order: Order, generator: torch.Generator) -> Tensor:
    """Return the prompts of one step, [B, P], those of a group next to each other."""
    every = torch.tensor(order.prompts())
    chosen = torch.randperm(len(every), generator=generator)[: order.work.prompts]
    return every[chosen].repeat_interleave(order.work.group_size, dim=0)


@torch.no_grad()
def decode(model: nn.Module, prompts: Tensor, new_tokens: int) -> tuple[Tensor, Tensor]:
    """Return prompts with responses, [B, L], and which tokens are of a response, [B, L] bool."""
    cache, ids, tokens = DynamicCache(), prompts, [prompts]
    alive = torch.ones(len(prompts), dtype=torch.bool)
    mask = [torch.zeros_like(prompts, dtype=torch.bool)]
    for _ in range(new_tokens):
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        ids = output.logits[:, -1].softmax(-1).multinomial(1)
        tokens.append(ids)
        mask.append(alive[:, None])
        alive = alive & (ids[:, 0] != EOS)
        if not alive.any():
            break
    return torch.cat(tokens, dim=1), torch.cat(mask, dim=1)


def update(
    policy: nn.Module,
    optimizer: torch.optim.Optimizer,
    tokens: Tensor,
    mask: Tensor,
    ref_logprobs: Tensor,
    order: Order,
) -> None:
    """Take the optimizer steps of one rollout."""
    wanted = mask[:, 1:]
    scores = ((tokens % 2 == 0) & mask).float().sum(1) / mask.sum(1)
    groups = scores.view(-1, order.work.group_size)
    advantages = (groups - groups.mean(1, keepdim=True)).flatten()[:, None]
    old = None
    for _ in range(order.work.epochs):
        logprobs = _logprobs(policy, tokens)
        old = logprobs.detach() if old is None else old
        ratio = (logprobs - old).exp()
        loss = -ratio * advantages + order.kl_coef * (logprobs - ref_logprobs)
        loss[wanted].mean().backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def _logprobs(model: nn.Module, tokens: Tensor) -> Tensor:
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
    return logits.log_softmax(-1).gather(2, tokens[:, 1:, None]).squeeze(2)


if __name__ == "__main__":
    main()
