"""A reward model with its tokenizer: the result of training, to save and use as a reward."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlhf_env.files import sync_folder
from rlhf_env.rewards.bradley_terry import ScalarRewardModel
from rlhf_env.rewards.ensemble import Ensemble
from rlhf_env.rewards.feedback.prompt_and_response import Prompt
from rlhf_env.rewards.protocol import Reward, TextReward
from rlhf_env.rewards.training.elements import prompt_ids
from rlhf_env.rewards.training.header import read_header, sync_tree, write_header
from rlhf_env.text.responses import response_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = "reward_model/1"
WEIGHTS = "model.safetensors"


class TrainedReward:
    """Scores responses with a causal reward model; it can score prefixes, all in one pass.

    Ids of a policy with the same vocabulary are read as they are. If the policy's
    vocabulary differs, texts are decoded and encoded again, and every prefix is a pass.
    """

    def __init__(
        self,
        model: ScalarRewardModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_tokens: int,
        per_token: bool = False,
    ) -> None:
        """Freeze a model and join it to its tokenizer.

        Args:
            model: the scores; it is frozen and put into eval mode in place.
            tokenizer: of the texts that it was trained on.
            max_tokens: longest prompt with response that it was made for.
            per_token: its score at a token is the log-odds that the token is fine. A response's
                score is then the log-probability that all of its tokens are, in nats, and the
                empty response's is 0.
        """
        self.model = model.requires_grad_(False).eval()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.per_token = per_token

    def __call__(self, prompts: list[Tensor], responses: list[Tensor]) -> Tensor:
        """Return one score per response, [B].

        Raises:
            ValueError: if a text is longer than ``max_tokens``.
        """
        scored = self.prefix_scores(prompts, responses)
        return torch.stack([row[-1] for row in scored]) if scored else torch.zeros(0)

    def prefix_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return the score after each response token, [len + 1]; index 0 is the bare prompt's."""
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            if len(prompt) + len(response) > self.max_tokens:
                raise ValueError(
                    f"prompt and response must have at most {self.max_tokens} tokens, as the "
                    f"reward model was made for, got {len(prompt)} and {len(response)} in row {row}"
                )
        rows = self.model.prefix_scores(prompts, responses)
        if not self.per_token:
            return rows
        return [torch.cat([row.new_zeros(1), logsigmoid(row[1:]).cumsum(0)]) for row in rows]

    def token_scores(self, prompts: list[Tensor], responses: list[Tensor]) -> list[Tensor]:
        """Return what each token adds to the score, [len] per response."""
        return [row.diff() for row in self.prefix_scores(prompts, responses)]

    def score_texts(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Tensor:
        """Return the scores of finished responses given as texts, [B] float32 on the CPU.

        Raises:
            ValueError: if a text cannot be encoded or is too long.
        """
        rows = list(enumerate(zip(prompts, responses, strict=True)))
        asked = [prompt_ids(p, f"prompt {i}", self.tokenizer) for i, (p, _) in rows]
        said = [
            response_ids(text, f"response {i}", self.tokenizer, prompt)
            for i, (prompt, text) in rows
        ]
        return self(asked, said).float().cpu()

    def normalize(self, prompts: list[Tensor], responses: list[Tensor]) -> None:
        """Shift and scale the scores to mean 0 and spread 1 on reference responses, in place.

        Raises:
            ValueError: if tokens are scored: their sum has no free scale.
        """
        if self.per_token:
            raise ValueError(
                "a reward of marked tokens is a log-probability and has a scale, got "
                "a call of normalize; leave it out"
            )
        self.model.normalize(prompts, responses)

    def with_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> Reward:
        """Return the reward for ids of ``tokenizer``; itself if the vocabularies are equal."""
        if tokenizer.get_vocab() == self.tokenizer.get_vocab():
            return self

        def trained_reward(prompts: list[str], responses: list[str]) -> list[float]:
            return self.score_texts(prompts, responses).tolist()

        return TextReward(trained_reward, tokenizer)

    def save(self, folder: str | Path) -> None:
        """Write a folder with weights, configuration and tokenizer, as a whole or not at all.

        Raises:
            ValueError: if the folder is neither new nor empty.
        """
        write_new_folder(Path(folder), self._write)

    def _write(self, folder: Path) -> None:
        self.model.trunk.config.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_model(self.model, str(folder / WEIGHTS))
        write_header(
            folder,
            {"format": FORMAT, "max_tokens": self.max_tokens, "per_token": self.per_token},
        )


def save_reward(reward: TrainedReward | Ensemble, folder: str | Path) -> None:
    """Write a trained reward, or an ensemble of them with its rule, as a whole or not at all.

    Raises:
        ValueError: if the folder is neither new nor empty, or a member was not trained here.
    """
    if isinstance(reward, TrainedReward):
        reward.save(folder)
        return
    if not all(isinstance(member, TrainedReward) for member in reward.members):
        raise ValueError("members must be trained rewards to be saved, got others; save your own")
    members = cast(tuple[TrainedReward, ...], reward.members)

    def write(target: Path) -> None:
        for number, member in enumerate(members):
            member.save(target / f"member_{number}")
        header = {
            "format": FORMAT,
            "members": len(members),
            "rule": reward.rule,
            "coef": reward.coef,
        }
        write_header(target, header)

    write_new_folder(Path(folder), write)


def load_reward(folder: str | Path, device: str | torch.device = "cpu") -> TrainedReward | Ensemble:
    """Return what `save_reward` wrote.

    Raises:
        ValueError: if there is no such folder, or it is damaged or of another kind.
    """
    path = Path(folder)
    try:
        header = read_header(path)
        if header["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {header['format']!r}")
        if "members" in header:
            names = [path / f"member_{number}" for number in range(int(header["members"]))]
            members = [load_reward(name, device) for name in names]
            return Ensemble(members, header["rule"], header["coef"])
        return _loaded(path, header, device)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"a reward model must be a folder that save_reward() wrote, got {str(path)!r}: {reason}"
        ) from error


def _loaded(path: Path, header: dict[str, Any], device: str | torch.device) -> TrainedReward:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    where = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(path, **where)
    # Making a model draws weights, which are loaded over; the global generator stays untouched.
    with torch.random.fork_rng(devices=[]):
        model = ScalarRewardModel(AutoModel.from_config(config))
    load_model(model, path / WEIGHTS)
    return TrainedReward(
        model.to(device),
        AutoTokenizer.from_pretrained(path, **where),
        max_tokens=int(header["max_tokens"]),
        per_token=bool(header["per_token"]),
    )


def check_new_folder(folder: str | Path) -> None:
    """Raise ValueError unless a folder is new or empty."""
    path = Path(folder)
    is_taken = path.is_symlink() or (any(path.iterdir()) if path.is_dir() else path.exists())
    if is_taken:
        raise ValueError(
            f"folder must be new or empty, got {str(path)!r}, which is taken; name another"
        )


def write_new_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make a folder that has its name only once ``write(folder)`` has written all of it."""
    check_new_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        written = Path(temporary) / "reward"
        written.mkdir()
        write(written)
        for path in written.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        # Before the rename: what has its name after a power cut must have its content too.
        sync_tree(written)
        os.replace(written, folder)
    sync_folder(folder.parent)
