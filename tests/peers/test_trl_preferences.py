"""Losses and gradients of TRL's preference trainers on one ragged batch of eight pairs.

Their numbers come from ``trainer.compute_loss`` on their own collated ids; ours from the losses of
`agents.preference.losses` on log-probabilities of the same model. TRL is not a dependency:
`make test-all` installs it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agents import DPO, ResponseGroup
from agents.preference.comparisons import Sides
from agents.preference.losses import PAIR_LOSSES, SINGLE_LOSSES, kto_baseline
from agents.settings.preference_losses import TRL_LOSS_TYPES
from tests.agents.episodes import make_envs
from tests.agents.preference.preference_runs import gradient
from tests.toys import EOS, tiny_llama, tiny_llama_task, tiny_tokenizer

pytest.importorskip("trl")
pytestmark = [
    # TRL sets what transformers has renamed, and calls its experiments experimental.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*trl.experimental"),
    pytest.mark.filterwarnings("ignore:.*max_prompt_length.*"),
]

BETA = 0.5
LENGTHS = [(8, 3), (1, 5), (5, 5), (3, 8), (2, 1), (7, 4), (4, 6), (6, 2)]
PROMPTS = [3, 1, 4, 2, 3, 1, 2, 4]
Ids = list[int]


@dataclass(frozen=True)
class Batch:
    prompts: list[Ids]
    better: list[Ids]
    worse: list[Ids]


def batch(prompt_lengths: list[int] = PROMPTS) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def words(count: int) -> Ids:
        return torch.randint(2, 32, (count,), generator=generator).tolist()

    return Batch(
        prompts=[words(length) for length in prompt_lengths],
        better=[[*words(length - 1), EOS] for length, _ in LENGTHS],
        worse=[[*words(length - 1), EOS] for _, length in LENGTHS],
    )


def policy_and_reference() -> tuple[Any, Any]:
    """Two models near each other, so that no loss is saturated."""
    policy, reference = tiny_llama(seed=1), tiny_llama(seed=1)
    other = tiny_llama(seed=2)
    with torch.no_grad():
        for ours, theirs in zip(policy.parameters(), other.parameters(), strict=True):
            ours.lerp_(theirs, 0.05)
    return policy, reference


def summed_logprobs(model: Any, prompts: list[Ids], responses: list[Ids]) -> Tensor:
    """[P] log-probability of whole responses, one row at a time: nothing is padded."""
    sums = []
    for prompt, response in zip(prompts, responses, strict=True):
        ids = torch.tensor([prompt + response])
        logits = model(ids).logits[0, len(prompt) - 1 : -1]
        chosen = logits.log_softmax(dim=-1)[range(len(response)), response]
        sums.append(chosen.sum())
    return torch.stack(sums)


def our_sides(given: Batch, policy: Any, reference: Any) -> Sides:
    with torch.no_grad():
        ref_first = summed_logprobs(reference, given.prompts, given.better)
        ref_second = summed_logprobs(reference, given.prompts, given.worse)
    return Sides(
        first=summed_logprobs(policy, given.prompts, given.better),
        second=summed_logprobs(policy, given.prompts, given.worse),
        ref_first=ref_first,
        ref_second=ref_second,
        first_length=torch.tensor([len(ids) for ids in given.better]),
        second_length=torch.tensor([len(ids) for ids in given.worse]),
    )


def slopes(model: Any, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters)
    return dict(zip(names, found, strict=True))


def same(ours: Tensor, our_model: Any, theirs: Tensor, their_model: Any) -> None:
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    ours_by_name, theirs_by_name = slopes(our_model, ours), slopes(their_model, theirs)
    assert ours_by_name.keys() == theirs_by_name.keys()
    for name, found in ours_by_name.items():
        assert (found - theirs_by_name[name]).abs().max().item() < 1e-5, name
    assert max(found.abs().max().item() for found in ours_by_name.values()) > 1e-3


def trainer_of(
    trainer: Callable[..., Any],
    config: Callable[..., Any],
    rows: dict[str, list[Any]],
    folder: Path,
    **settings: Any,
) -> Any:
    from datasets import Dataset

    models = {key: settings.pop(key) for key in ("model", "ref_model") if key in settings}
    arguments = config(
        output_dir=str(folder),
        per_device_train_batch_size=8,
        gradient_checkpointing=False,
        max_length=None,
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
        **settings,
    )
    built = trainer(
        args=arguments,
        processing_class=tiny_tokenizer(),
        train_dataset=Dataset.from_dict(rows),
        **models,
    )
    built.model.eval()
    return built


TEXT_PAIRS = {"prompt": ["w2 w3"] * 8, "chosen": [" w4 w5"] * 8, "rejected": [" w6"] * 8}

DPO_TYPES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("sigmoid", {}, {}),
    ("hinge", {}, {}),
    ("ipo", {}, {}),
    ("robust", {"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    ("exo_pair", {"label_smoothing": 1e-3}, {}),
    ("nca_pair", {}, {}),
    ("bco_pair", {}, {}),
    ("sppo_hard", {}, {}),
    ("apo_zero", {}, {}),
    ("apo_down", {}, {}),
    ("discopop", {}, {}),
    ("sigmoid_norm", {}, {}),
]
DIVERGENCES = ["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]


def compare_dpo(
    folder: Path,
    loss: Callable[[Sides], Tensor],
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> None:
    from trl import DPOConfig, DPOTrainer

    policy, reference = (model.to(dtype) for model in policy_and_reference())
    theirs = trainer_of(
        DPOTrainer,
        DPOConfig,
        TEXT_PAIRS,
        folder,
        model=copy.deepcopy(policy),
        ref_model=copy.deepcopy(reference),
        beta=BETA,
        **settings,
    )
    given = batch()
    rows = zip(given.prompts, given.better, given.worse, strict=True)
    inputs = theirs.data_collator(
        [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in rows]
    )
    their_loss = theirs.compute_loss(theirs.model, inputs)
    our_loss = loss(our_sides(given, policy, reference)).mean()
    same(our_loss, policy, their_loss, theirs.model)


@pytest.mark.parametrize(("name", "theirs", "ours"), DPO_TYPES, ids=[row[0] for row in DPO_TYPES])
def test_dpo_trainer(
    name: str, theirs: dict[str, Any], ours: dict[str, Any], tmp_path: Path
) -> None:
    loss = PAIR_LOSSES[TRL_LOSS_TYPES[name]]
    # The slopes of a square are tens: float32 rounds them by more than 1e-5.
    dtype = torch.float64 if name == "sppo_hard" else torch.float32
    compare_dpo(tmp_path, lambda s: loss(s, beta=BETA, **ours), dtype, loss_type=name, **theirs)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_divergences(divergence: str, tmp_path: Path) -> None:
    fdpo = PAIR_LOSSES["fdpo"]
    compare_dpo(
        tmp_path,
        lambda s: fdpo(s, beta=BETA, f_divergence=divergence),
        f_divergence_type=divergence,
    )


def test_dpo_with_a_likelihood(tmp_path: Path) -> None:
    """Their NLL is a mean over the batch's tokens: ``nll_length`` is the better sides' mean."""
    compare_dpo(
        tmp_path,
        lambda s: PAIR_LOSSES["dpo"](
            s, beta=BETA, sft_coef=0.7, nll_length=s.first_length.float().mean()
        ),
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 0.7],
    )


AGENTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"loss_type": "ipo"}, {"loss_type": "ipo"}),
    ({"loss_type": "apo_down"}, {"loss_type": "apo_down"}),
    (
        {"sft_coef": 0.7, "sft_normalization": "batch"},
        {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]},
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), AGENTS, ids=["dpo", "ipo", "apo_down", "dpo + sft"])
def test_the_agent_learns_by_the_same_gradient(
    ours: dict[str, Any], theirs: dict[str, Any], tmp_path: Path
) -> None:
    """The whole way: pairs of ids, packed passes with shared prompts, micro-batches."""
    from trl import DPOConfig, DPOTrainer

    policy, reference = policy_and_reference()
    given = batch()
    triples = list(zip(given.prompts, given.better, given.worse, strict=True))
    agent = DPO(
        make_envs(dataclasses.replace(tiny_llama_task(), reference=reference)),
        policy=copy.deepcopy(policy),
        preferences=[ResponseGroup.pair(*triple) for triple in triples],
        episodes_per_update=16,
        beta=BETA,
        **ours,
    )
    trainer = trainer_of(
        DPOTrainer,
        DPOConfig,
        TEXT_PAIRS,
        tmp_path,
        model=copy.deepcopy(policy),
        ref_model=copy.deepcopy(reference),
        beta=BETA,
        **theirs,
    )
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    inputs = trainer.data_collator([dict(zip(names, triple, strict=True)) for triple in triples])
    expected = slopes(trainer.model, trainer.compute_loss(trainer.model, inputs))
    gradient(agent)
    found = {name: one.grad for name, one in agent.policy.model.named_parameters()}
    assert found.keys() == expected.keys()
    for name, their_slope in expected.items():
        assert (found[name] - their_slope).abs().max().item() < 1e-5, name
    assert max(one.abs().max().item() for one in expected.values()) > 1e-3


def padded(rows: list[Ids], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], True, value)


def concatenated(given: Batch) -> dict[str, Tensor]:
    """The batch of the CPO and ORPO trainers."""
    fields = {"prompt_input_ids": padded(given.prompts, 0)}
    for side, responses in (("chosen", given.better), ("rejected", given.worse)):
        pairs = list(zip(given.prompts, responses, strict=True))
        fields[f"{side}_input_ids"] = padded([p + r for p, r in pairs], 0)
        fields[f"{side}_attention_mask"] = padded([[1] * len(p + r) for p, r in pairs], 0)
        fields[f"{side}_labels"] = padded([[-100] * len(p) + r for p, r in pairs], -100)
    return fields


CPO_KINDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("cpo", {"loss_type": "sigmoid", "cpo_alpha": 0.6}, {"sft_coef": 0.6}),
    # Their SimPO adds the likelihood unless it is told not to.
    ("simpo", {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": 0.5}, {"simpo_gamma": 0.5}),
]


@pytest.mark.parametrize(("name", "theirs", "ours"), CPO_KINDS, ids=["cpo", "simpo"])
def test_cpo_trainer(
    name: str, theirs: dict[str, Any], ours: dict[str, Any], tmp_path: Path
) -> None:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    policy, reference = policy_and_reference()
    trainer = trainer_of(
        CPOTrainer,
        CPOConfig,
        TEXT_PAIRS,
        tmp_path,
        model=copy.deepcopy(policy),
        beta=BETA,
        **theirs,
    )
    their_loss = trainer.compute_loss(trainer.model, concatenated(batch()))
    sides = our_sides(batch(), policy, reference)
    tokens = {"nll_length": sides.first_length.float().mean()} if name == "cpo" else {}
    our_loss = PAIR_LOSSES[name](sides, beta=BETA, **ours, **tokens).mean()
    same(our_loss, policy, their_loss, trainer.model)


def test_orpo_trainer(tmp_path: Path) -> None:
    """Their NLL is over prompt and response; of a prompt of one token it is over the response."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    policy, reference = policy_and_reference()
    trainer = trainer_of(
        ORPOTrainer, ORPOConfig, TEXT_PAIRS, tmp_path, model=copy.deepcopy(policy), beta=BETA
    )
    given = batch([1] * 8)
    their_loss = trainer.compute_loss(trainer.model, concatenated(given))
    sides = our_sides(given, policy, reference)
    tokens = sides.first_length.float().mean()
    our_loss = PAIR_LOSSES["orpo"](sides, beta=BETA, nll_length=tokens).mean()
    same(our_loss, policy, their_loss, trainer.model)


@pytest.mark.parametrize("name", ["kto", "apo_zero_unpaired"])
def test_kto_trainer(name: str, tmp_path: Path) -> None:
    """Five good and three bad examples; mismatched ones are their neighbors' responses."""
    from trl import KTOConfig, KTOTrainer

    policy, reference = policy_and_reference()
    rows = {
        "prompt": [f"w{i} w3" for i in range(2, 10)],
        "completion": [f" w{i}" for i in range(10, 18)],
        "label": [True, False] * 4,
    }
    trainer = trainer_of(
        KTOTrainer,
        KTOConfig,
        rows,
        tmp_path,
        model=copy.deepcopy(policy),
        ref_model=copy.deepcopy(reference),
        beta=BETA,
        desirable_weight=0.8,
        undesirable_weight=1.2,
        loss_type=name,
    )
    given, good = batch(), torch.tensor([1, 0, 1, 1, 0, 1, 0, 1]).bool()
    mismatched = [*given.better[1:], given.better[0]]
    inputs = trainer.data_collator(
        [
            {"prompt_ids": p, "completion_ids": c, "KL_completion_ids": other, "label": label}
            for p, c, other, label in zip(
                given.prompts, given.better, mismatched, good.tolist(), strict=True
            )
        ]
    )
    their_loss = trainer.compute_loss(trainer.model, inputs)

    def log_ratios(responses: list[Ids]) -> Tensor:
        new = summed_logprobs(policy, given.prompts, responses)
        return new - summed_logprobs(reference, given.prompts, responses).detach()

    kl = kto_baseline(log_ratios(mismatched))
    assert kl.item() > 1e-3, "this batch would not show that the KL is subtracted"
    losses = SINGLE_LOSSES[TRL_LOSS_TYPES[name]](
        log_ratios(given.better),
        good.float(),
        beta=BETA,
        kl=kl if name == "kto" else 0.0,
        desirable_weight=0.8,
        undesirable_weight=1.2,
    )
    same(losses.mean(), policy, their_loss, trainer.model)
