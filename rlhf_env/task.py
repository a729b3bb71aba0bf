"""A task: prompts, a reference model and a reward.

Built-in tasks are in `rlhf_env.tasks`; reading prompts from files is in `rlhf_env.text.prompts`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rlhf_env.checks import check_count, check_number
from rlhf_env.conversation import Respond, StepScores, check_conversation
from rlhf_env.defaults import KL_COEF, MAX_NEW_TOKENS, MAX_PROMPT_TOKENS
from rlhf_env.rewards.protocol import Reward, as_reward, check_reward
from rlhf_env.text.prompt_rows import PromptRows
from rlhf_env.text.prompts import encode_rows, read_prompt_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Chat = Sequence[Mapping[str, str]]
Prompts = Sequence[str] | Sequence[Chat] | Sequence[Sequence[int]] | Sequence[Tensor]
RewardLike = Reward | Callable[..., Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One text-generation problem with its reference model and its reward.

    Prompts and rewards are normalized on construction: texts, chats and rows of a data set are
    tokenised (too long a prompt is an error here; `from_pretrained` drops them with a count), plain
    functions become a `Reward` each.
    """

    name: str
    """How the task is called in reports."""
    tokenizer: PreTrainedTokenizerBase
    """The policy's and the reference's tokenizer."""
    reference: nn.Module
    """A decoder-only language model; the policy starts as a copy and is kept near it. It is frozen
    and put into eval mode in place: pass a copy of a model that is being trained.
    """
    reward: Reward
    """What the environment pays at the end of an episode (the proxy, if there is a gold)."""
    prompts: Sequence[Tensor]
    """Token ids of the prompts to train on, one int64 vector each."""
    eval_prompts: Sequence[Tensor] = ()
    """Token ids of the prompts to evaluate on; those of ``prompts`` when empty."""
    gold: Reward | None = None
    """The true objective, never shown to the agent; None where there is none."""
    max_prompt_tokens: int = MAX_PROMPT_TOKENS
    """Longest prompt, in tokens."""
    max_new_tokens: int = MAX_NEW_TOKENS
    """The horizon T."""
    kl_coef: float = KL_COEF
    """Beta, the weight of the KL penalty in nats, >= 0."""
    respond: Respond | None = None
    """In a conversation, what the environment says after a turn of the agent; see
    `rlhf_env.conversation`. None where the agent's first turn is the whole response."""
    end_of_turn_id: int | None = None
    """The token that ends a turn; EOS when None. Another one leaves EOS to end the episode. Without
    ``respond`` the turns are the lines of a single response."""
    max_turns: int | None = None
    """The agent's turns in an episode; only limited by tokens when None."""
    max_environment_tokens: int = 0
    """The most tokens that the environment says in an episode; they do not count for T."""
    step_scores: StepScores | None = None
    """``step_scores(prompts, histories) -> [B]``, the score after an ended turn on the scale of the
    final one; see `rlhf_env.conversation`. None where only whole responses are scored."""
    rows: PromptRows = field(default_factory=PromptRows, repr=False)
    """The rows that the prompts were given as, with the columns that reward functions can name."""

    def __post_init__(self) -> None:
        """Normalize prompts and rewards, and refuse what cannot be an environment."""
        _check_limits(self.max_prompt_tokens, self.max_new_tokens, self.kl_coef)
        if self.tokenizer.eos_token_id is None:
            raise ValueError(
                f"the tokenizer of task {self.name!r} has no end-of-sequence token; "
                "set tokenizer.eos_token to the token that ends a response"
            )
        check_conversation(
            self.respond,
            end_of_turn_id=self.end_of_turn_id,
            max_turns=self.max_turns,
            max_environment_tokens=self.max_environment_tokens,
            step_scores=self.step_scores,
            vocab_size=self.vocab_size,
        )
        train, held_out = (
            encode_rows(read_prompt_rows(given, name), self.tokenizer, self.max_prompt_tokens)
            for name, given in (("prompts", self.prompts), ("eval_prompts", self.eval_prompts))
        )
        if not train:
            raise ValueError(f"task {self.name!r} needs at least one prompt, got none")
        rows = self.rows.updated(PromptRows([*train, *held_out]))
        fields: dict[str, object] = {
            "prompts": tuple(ids for ids, _ in train),
            "eval_prompts": tuple(ids for ids, _ in held_out or train),
            "rows": rows,
            "reward": as_reward(self.reward, self.tokenizer, rows),
            "gold": None if self.gold is None else as_reward(self.gold, self.tokenizer, rows),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        self.reference.requires_grad_(False).eval()

    @property
    def eos_id(self) -> int:
        """The token that ends a response."""
        return self.tokenizer.eos_token_id  # type: ignore[return-value]

    @property
    def turn_end_id(self) -> int:
        """The token that ends a turn, EOS unless there is another one."""
        return self.eos_id if self.end_of_turn_id is None else self.end_of_turn_id

    @property
    def has_turns(self) -> bool:
        """Whether responses are divided into turns of a conversation, or lines."""
        return self.respond is not None or self.end_of_turn_id is not None

    @property
    def pad_id(self) -> int:
        """The id that fills observations; masks come from lengths, so it may equal EOS."""
        pad = self.tokenizer.pad_token_id
        return self.eos_id if pad is None else pad  # type: ignore[return-value]

    @property
    def vocab_size(self) -> int:
        """V: the ids the tokenizer knows; a wider model output is cut before the softmax."""
        return len(self.tokenizer)

    def decode(self, ids: Tensor) -> str:
        """Return the text of some ids without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)  # type: ignore[return-value]

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path | nn.Module,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        reward: RewardLike,
        prompts: Any,
        eval_prompts: Any = (),
        gold: RewardLike | None = None,
        name: str | None = None,
        max_prompt_tokens: int = MAX_PROMPT_TOKENS,
        max_new_tokens: int = MAX_NEW_TOKENS,
        kl_coef: float = KL_COEF,
        dtype: torch.dtype = torch.float32,
    ) -> Task:
        """Build a task from a local model folder or a hub id.

        Args:
            model: folder or hub id of a decoder-only language model with its tokenizer; or such a
                model, of which a copy becomes the reference.
            tokenizer: of a model that is given as an object; else the folder's own is used.
            reward: a `Reward`, or a plain function ``f(prompts, responses) -> list[float]``, which
                gets the other columns of the prompts' rows too if it names them.
            prompts: list of texts or of chats (lists of ``{"role": ..., "content": ...}``, for the
                tokenizer's chat template), a text/JSONL/Parquet file, a list of rows, or a
                ``datasets.Dataset``, whose column "prompt", else "text", is read.
            eval_prompts: the same kinds; the training prompts when empty.
            gold: the true objective, if it is known.
            name: how reports call the task; the model's name by default.
            max_prompt_tokens: longer prompts are dropped, with a warning that counts them.
            max_new_tokens: the horizon T.
            kl_coef: beta, the weight of the KL penalty.
            dtype: the weights' type.

        Raises:
            ValueError: if the model, the prompts or the limits cannot be used.
        """
        from rlhf_env.engine.pretrained import load_language_model

        # Everything that can be wrong without the model fails before it loads.
        _check_model(model, tokenizer)
        _check_limits(max_prompt_tokens, max_new_tokens, kl_coef)
        train = read_prompt_rows(prompts, "prompts")
        held_out = read_prompt_rows(eval_prompts, "eval_prompts")
        columns = {name for row in (*train, *held_out) for name in row.columns}
        for judge in (reward,) if gold is None else (reward, gold):
            check_reward(judge, columns)
        if not train:
            raise ValueError("prompts must hold at least one prompt, got none")
        if isinstance(model, nn.Module):
            reference = copy.deepcopy(model).to(dtype)
            called = getattr(getattr(model, "config", None), "name_or_path", "")
        else:
            reference, tokenizer = load_language_model(
                model, dtype=dtype, max_tokens=max_prompt_tokens + max_new_tokens
            )
            called = str(model)
        assert tokenizer is not None
        train, held_out = (
            encode_rows(rows, tokenizer, max_prompt_tokens, drop_long=True)
            for rows in (train, held_out)
        )
        return cls(
            name=name or called.rstrip("/").rsplit("/", 1)[-1] or type(reference).__name__,
            tokenizer=tokenizer,
            reference=reference,
            reward=reward,  # type: ignore[arg-type]
            prompts=[ids for ids, _ in train],
            eval_prompts=[ids for ids, _ in held_out],
            rows=PromptRows([*train, *held_out]),
            gold=gold,  # type: ignore[arg-type]
            max_prompt_tokens=max_prompt_tokens,
            max_new_tokens=max_new_tokens,
            kl_coef=kl_coef,
        )


def _check_model(model: Any, tokenizer: Any) -> None:
    if isinstance(model, nn.Module):
        if tokenizer is None:
            raise ValueError(
                f"a model object needs tokenizer=, got {type(model).__name__} alone; "
                "pass the tokenizer that it was trained with"
            )
    elif not isinstance(model, str | Path):
        raise ValueError(f"model must be a folder, a hub id or a model, got {type(model).__name__}")
    elif tokenizer is not None:
        raise ValueError(
            f"tokenizer goes with a model object, got one with {str(model)!r}; leave it out"
        )


def _check_limits(max_prompt_tokens: Any, max_new_tokens: Any, kl_coef: Any) -> None:
    check_count("max_prompt_tokens", max_prompt_tokens)
    check_count("max_new_tokens", max_new_tokens)
    check_number("kl_coef", kl_coef, minimum=0.0)
