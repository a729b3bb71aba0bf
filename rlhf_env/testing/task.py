"""Checks of tasks: prompts, reference, and the exact optimum where there is one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from rlhf_env.exact.solution import Solution, solve
from rlhf_env.task import Task
from rlhf_env.tasks import load_task
from rlhf_env.testing.claims import CheckList, NotApplicable, expect
from rlhf_env.testing.episodes import drawn_responses, reference_logits

CHECKS = CheckList("task")


def task_case(task: Task | str | Callable[[], Task]) -> Task:
    """Return the task that is meant."""
    if isinstance(task, str):
        return load_task(task)
    made = task() if callable(task) else task
    if not isinstance(made, Task):
        raise ValueError(
            f"task must be a Task, its name or what makes it, got {type(made).__name__}"
        )
    return made


@CHECKS.add("huggingface/trl#744; OpenRLHF/OpenRLHF#217")
def the_reference_is_in_eval_mode(task: Task) -> None:
    """No module of the reference is in training mode, so that no dropout is on."""
    awake = [name for name, module in task.reference.named_modules() if module.training]
    expect(not awake, f"{len(awake)} modules in training mode, the first {awake[:1]}")


@CHECKS.add("huggingface/trl#1340, #6443")
def the_reference_is_frozen(task: Task) -> None:
    """No weight of the reference asks for a gradient."""
    loose = [name for name, weight in task.reference.named_parameters() if weight.requires_grad]
    expect(not loose, f"{len(loose)} weights that learn, the first {loose[:1]}")


@CHECKS.add("LlamaFactory#10137; huggingface/transformers#33807")
def a_copy_of_the_reference_is_another_model(task: Task) -> None:
    """A deep copy, which the policy begins as, shares no weight with the reference."""
    ours = {weight.data_ptr() for weight in task.reference.parameters()}
    shared = [
        name
        for name, weight in copy.deepcopy(task.reference).named_parameters()
        if weight.data_ptr() in ours
    ]
    expect(not shared, f"{len(shared)} weights are shared, the first {shared[:1]}")


@CHECKS.add("allenai/RL4LMs policies of T5; huggingface/transformers resize_token_embeddings")
def the_reference_has_a_logit_for_every_token(task: Task) -> str:
    """The model's output is at least as wide as the tokenizer's vocabulary."""
    with torch.no_grad():
        ids = task.prompts[0][None].to(next(task.reference.parameters()).device)
        width = task.reference(input_ids=ids).logits.shape[-1]
    expect(width >= task.vocab_size, f"{width} logits for {task.vocab_size} tokens")
    return f"{width} logits, {task.vocab_size} tokens"


@CHECKS.add("huggingface/transformers#18388; huggingface/trl#2708")
def the_reference_does_not_see_padding(task: Task) -> None:
    """Logits of a prompt are those that it has with padding behind it."""
    prompt = task.prompts[0]
    alone = reference_logits(task, [prompt])[0]
    padded = reference_logits(task, [prompt], width=len(prompt) + 1)[0, : len(prompt)]
    gap = (alone - padded).abs().max()
    expect(gap < 1e-3, f"logits change by {gap:.3g} with one place of padding")


@CHECKS.add("huggingface/transformers#25420; verl-project/verl#6280")
def rows_of_the_reference_do_not_meet(task: Task) -> None:
    """Logits of a text are the same beside another one of its length."""
    prompt = task.prompts[0]
    other = prompt.flip(0) if len(prompt) > 1 else (prompt + 1) % task.vocab_size
    alone = reference_logits(task, [prompt])[0]
    beside = reference_logits(task, [prompt, other])[0]
    gap = (alone - beside).abs().max()
    expect(gap < 1e-3, f"logits change by {gap:.3g} beside another text")


@CHECKS.add("huggingface/trl#2209; huggingface/transformers max_position_embeddings")
def an_episode_fits_the_context_window(task: Task) -> str:
    """The longest prompt and response together fit the positions that the model has."""
    window = getattr(getattr(task.reference, "config", None), "max_position_embeddings", None)
    if not isinstance(window, int):
        raise NotApplicable("the model names no window")
    need = task.max_prompt_tokens + task.max_new_tokens
    expect(need <= window, f"{need} tokens for a window of {window}")
    return f"{need} of {window} tokens"


@CHECKS.add("reward-bench#164; open-r1#462; NVIDIA-NeMo/RL#855")
def prompts_begin_once(task: Task) -> None:
    """No prompt begins with two start tokens."""
    start = task.tokenizer.bos_token_id
    if start is None:
        raise NotApplicable("the tokenizer has no start token")
    twice = [
        index
        for index, prompt in enumerate(task.prompts)
        if len(prompt) > 1 and prompt[0] == prompt[1] == start
    ]
    expect(not twice, f"{len(twice)} of {len(task.prompts)} prompts begin twice, first {twice[:1]}")


@CHECKS.add("Farama-Foundation/Gymnasium Box bounds; allenai/RL4LMs observation space")
def prompts_hold_known_tokens(task: Task) -> None:
    """All ids of all prompts are in the vocabulary."""
    for index, prompt in enumerate((*task.prompts, *task.eval_prompts)):
        low, high = int(prompt.min()), int(prompt.max())
        is_known = low >= 0 and high < task.vocab_size
        expect(is_known, f"ids {low} to {high} in prompt {index}, of {task.vocab_size} tokens")


@CHECKS.add("huggingface/trl#2959; huggingface/OpenEnv RFC 008 on leakage")
def evaluation_prompts_are_others(task: Task) -> str:
    """Prompts to evaluate on are not trained on, unless all of them are."""
    train = {tuple(prompt.tolist()) for prompt in task.prompts}
    held_out = {tuple(prompt.tolist()) for prompt in task.eval_prompts}
    if held_out == train:
        raise NotApplicable("it is evaluated on the prompts of training")
    shared = train & held_out
    expect(not shared, f"{len(shared)} of {len(held_out)} evaluation prompts are trained on")
    return f"{len(held_out)} prompts, none of the {len(train)} of training"


@CHECKS.add("huggingface/trl#2959; arXiv:2210.10760")
def the_gold_is_not_the_reward(task: Task) -> None:
    """What is measured is another judge than what is optimized."""
    if task.gold is None:
        raise NotApplicable("it has no gold")
    expect(task.gold is not task.reward, "gold and reward are one object")


@CHECKS.add("huggingface/trl#6365; huggingface/OpenEnv RFC 013")
def scores_differ(task: Task) -> str:
    """Responses of the reference, or the exact optimum, are not all scored alike."""
    prompts, responses = drawn_responses(task, 32)
    scores = torch.as_tensor(task.reward(prompts, responses)).double()
    if float(scores.max() - scores.min()) > 0:
        return f"scores from {float(scores.min()):.3g} to {float(scores.max()):.3g}"
    best = _optimum(task)
    seen = f"32 responses of the reference all have a score of {float(scores[0]):.3g}"
    expect(best is not None and abs(best - float(scores[0])) > 1e-6, seen)
    return f"{seen}, the optimum {best:.3g}"


@CHECKS.add("huggingface/OpenEnv RFC 008, measured do-nothing floor")
def to_say_nothing_is_not_best(task: Task) -> str:
    """To end at once is not scored above everything that the reference says, or could say."""
    prompts, responses = drawn_responses(task, 32)
    says_something = [row for row in range(32) if len(responses[row]) > 1]
    if not says_something:
        raise NotApplicable("the reference ends at once in 32 of 32 responses")
    others = task.reward(
        [prompts[r] for r in says_something], [responses[r] for r in says_something]
    )
    nothing = task.reward([prompts[0]], [torch.tensor([task.eos_id])])
    silent, spoken = float(nothing[0]), float(torch.as_tensor(others).max())
    best = _optimum(task)
    is_beaten = silent <= spoken or (best is not None and silent < best)
    expect(is_beaten, f"{silent:.3g} for nothing, at most {spoken:.3g} for a response")
    return f"{silent:.3g} for nothing, up to {spoken:.3g} for a response"


@CHECKS.add("arXiv:2404.12358; arXiv:2305.18290, eq. 5")
def the_exact_optimum_is_the_tilted_reference(task: Task) -> str:
    """For every response, score - beta log(pi*/pi_ref) is J*.

    The score is asked of the reward, pi_ref of the model, pi* and J* of the exact solver.
    """
    solution = _solution(task)
    if solution is None or len(task.prompts) != 1:
        raise NotApplicable("it cannot be solved exactly, or has several prompts")
    prompts, responses = drawn_responses(task, 8, seed=1)
    whole = [row for row in range(8) if _is_finished(responses[row], task)]
    if not whole:
        raise NotApplicable(f"its responses are longer than {len(responses[0])} tokens")
    worst = 0.0
    for row in whole:
        ids, prompt = responses[row], prompts[row]
        logits = reference_logits(task, [torch.cat([prompt, ids])])[0].double()
        chosen = logits.log_softmax(-1)[range(len(prompt) - 1, len(prompt) + len(ids) - 1), ids]
        best = [solution.policy[tuple(ids[:t].tolist())][int(ids[t])] for t in range(len(ids))]
        ratio = float(torch.tensor(best, dtype=torch.float64).log().sum() - chosen.sum())
        score = float(task.reward([prompt], [ids])[0])
        worst = max(worst, abs(score - task.kl_coef * ratio - solution.objective))
    expect(worst < 1e-3, f"off by up to {worst:.3g} from J* = {solution.objective:.6f}")
    return f"within {worst:.1g} of J* = {solution.objective:.6f}"


def _is_finished(response: torch.Tensor, task: Task) -> bool:
    return len(response) == task.max_new_tokens or int(response[-1]) == task.eos_id


def _solution(task: Task) -> Solution | None:
    try:
        return solve(task, task.kl_coef)
    except ValueError:
        return None


def _optimum(task: Task) -> float | None:
    """Return the expected score of the optimal policy, None where it is not known exactly."""
    solution = _solution(task)
    return None if solution is None else solution.reward
