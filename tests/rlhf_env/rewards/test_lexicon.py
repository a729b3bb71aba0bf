from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import wrappers
from rlhf_env.env import RLHFEnv
from rlhf_env.rewards import PrefixReward
from rlhf_env.rewards.lexicon import LexiconReward
from rlhf_env.task import Task
from tests.toys import EOS, tiny_llama, tiny_tokenizer
from tests.wrappers.episodes import paid

SHARED = Path(__file__).parents[3].parent / "shared/data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not here")
WORTH = {"w2": 1.5, "w3": -2.0}


def rows(name: str) -> list[dict]:
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="module")
def stories() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(SHARED / "stories260k")


def test_words_are_paid_at_their_token() -> None:
    reward = LexiconReward(WORTH, tiny_tokenizer(8))
    response = torch.tensor([2, 5, 3, 2, EOS])
    assert reward.token_scores(torch.tensor([4]), response).tolist() == [1.5, 0, -2.0, 1.5, 0]
    assert reward([torch.tensor([4])], [response]).tolist() == [1.0]
    assert isinstance(reward, PrefixReward)


def test_case_and_punctuation_do_not_matter_but_emoticons_do() -> None:
    reward = LexiconReward({"good": 2.0, ":)": 1.0, "it's": 0.5}, tiny_tokenizer(8))
    assert reward.text_score('"Good", it\'s GOOD! :)') == 5.5
    assert reward.text_score("goods ) :( ...") == 0.0


@needs_data
def test_a_word_of_several_tokens_is_paid_where_it_is_complete(
    stories: PreTrainedTokenizerBase,
) -> None:
    reward = LexiconReward({"unhappy": -1.5, "happy": 2.0}, stories)
    ids = torch.tensor(stories.encode("so unhappy now", add_special_tokens=False))
    scores = reward.token_scores(ids, ids)
    (at,) = scores.nonzero().flatten().tolist()
    assert scores[at] == -1.5
    assert stories.decode(ids[: at + 1]).endswith("unhappy")
    assert not stories.decode(ids[:at]).endswith("unhappy")
    assert at > 1


def test_a_word_that_goes_on_is_taken_back() -> None:
    class Spelling:
        def decode(self, ids: torch.Tensor, **options: object) -> str:
            return "".join(["", "good", "ness"][token] for token in ids.tolist())

    reward = LexiconReward({"good": 2.0, "goodness": 0.5}, Spelling())  # type: ignore[arg-type]
    assert reward.token_scores(torch.tensor([]), torch.tensor([1, 2])).tolist() == [2.0, -1.5]


def test_a_wrapper_pays_it_in_every_step() -> None:
    tokenizer = tiny_tokenizer(8)
    task = Task(
        name="words",
        tokenizer=tokenizer,
        reference=tiny_llama(8),
        reward=LexiconReward(WORTH, tokenizer),
        prompts=[torch.tensor([4])],
        max_prompt_tokens=1,
        max_new_tokens=4,
    )
    assert paid(RLHFEnv(task), [2, 5, 3, EOS]) == [0.0, 0.0, 0.0, -0.5]
    dense = wrappers.TokenReward(RLHFEnv(task), LexiconReward(WORTH, tokenizer).token_scores)
    assert paid(dense, [2, 5, 3, EOS], "token") == [1.5, 0.0, -2.0, 0.0]


@needs_data
def test_the_real_lexicon_agrees_with_human_ratings(stories: PreTrainedTokenizerBase) -> None:
    reward = LexiconReward.from_jsonl(SHARED / "sentiment_lexicon/lexicon.jsonl.gz", stories)
    assert len(reward.worth) > 7000
    assert reward.text_score("$:") == -1.5
    ratings = rows("sentiment_ratings/test.jsonl.gz")
    scores = [reward.text_score(row["text"]) for row in ratings]
    # The data's own page states r = 0.44 for the sum over a sentence's words.
    correlation = np.corrcoef(scores, [row["mean"] for row in ratings])[0, 1]
    assert correlation == pytest.approx(0.44, abs=0.03)


@needs_data
def test_token_scores_add_up_to_the_text_on_real_sentences(
    stories: PreTrainedTokenizerBase,
) -> None:
    reward = LexiconReward.from_jsonl(SHARED / "sentiment_lexicon/lexicon.jsonl.gz", stories)
    for row in rows("sentiment_ratings/test.jsonl.gz")[:20]:
        ids = torch.tensor(stories.encode(row["text"], add_special_tokens=False))
        total = float(reward.token_scores(ids, ids).sum())
        assert total == pytest.approx(float(reward([ids], [ids])[0]), abs=1e-9)


def test_a_bad_lexicon_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.jsonl"
    path.write_text('{"token": "a", "mean": 1}\n{"token": "b"}\n')
    with pytest.raises(ValueError, match=r"line 2 of .* must be .*, got '\{"):
        LexiconReward.from_jsonl(path, tiny_tokenizer(8))
    with pytest.raises(ValueError, match="the worth of 'a' must be a finite number, got nan"):
        LexiconReward({"a": float("nan")}, tiny_tokenizer(8))
