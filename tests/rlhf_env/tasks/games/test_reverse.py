"""The rules of reverse, and the tokens its score comes from."""

from __future__ import annotations

import pytest
import torch

from rlhf_env.exact import solve
from rlhf_env.tasks import load_task
from rlhf_env.tasks.games.reverse import causal_tokens
from rlhf_env.tasks.games.reverse.rules import WORDS, RightLetters, asked_for
from rlhf_env.tasks.games.words import EOS

# Prompt, response, score, and 1 for each word that earned.
SAID = [
    ("c ~ a b sort", f"a b c {EOS}", 1.0, [1, 1, 1, 0]),
    ("c ~ a b sort", f"~ a ~ b # c {EOS}", 1.0, [0, 1, 0, 1, 0, 1, 0]),
    ("c ~ a b reverse", f"b a c {EOS}", 1.0, [1, 1, 1, 0]),
    ("c ~ a b copy", f"c b a {EOS}", 1 / 3, [1, 0, 0, 0]),
    ("c ~ a b copy", f"c {EOS}", 1 / 3, [1, 0]),
    ("a a copy", "~ a b a a", 1 / 2, [0, 1, 0, 0, 0]),
    ("a a copy", f"copy a & sort a {EOS}", 1.0, [0, 1, 0, 0, 1, 0]),
    ("a a copy", EOS, 0.0, [0]),
]


@pytest.mark.parametrize(("prompt", "response", "score", "causal"), SAID)
def test_the_score_and_where_it_comes_from(
    prompt: str, response: str, score: float, causal: list[int]
) -> None:
    asked, said = (WORDS.encode(text.split()) for text in (prompt, response))
    reward = RightLetters()
    assert float(reward([asked], [said])[0]) == pytest.approx(score)
    assert causal_tokens(asked, said).long().tolist() == causal
    (prefixes,) = reward.prefix_scores([asked], [said])
    assert (prefixes.diff() > 0).long().tolist() == causal


def test_a_prompt_without_a_command_is_refused() -> None:
    with pytest.raises(ValueError, match="must end with"):
        asked_for(["a", "b"])


def test_noise_can_be_put_in_anywhere_for_nothing() -> None:
    asked, said = (WORDS.encode(text.split()) for text in ("d a e sort", f"a d d {EOS}"))
    score = float(RightLetters()([asked], [said]))
    for place in range(len(said)):
        noisy = torch.cat([said[:place], torch.tensor([WORDS.id("%")]), said[place:]])
        assert float(RightLetters()([asked], [noisy])) == score
        moved = causal_tokens(asked, said).tolist()
        moved.insert(place, False)
        assert causal_tokens(asked, noisy).tolist() == moved


def test_prompts_are_different_and_the_small_vocabulary_is_the_beginning() -> None:
    task, small = load_task("reverse"), load_task("reverse-small")
    prompts = [tuple(ids.tolist()) for ids in (*task.prompts, *task.eval_prompts)]
    assert len(set(prompts)) == 512 + 64
    assert small.vocab_size == 8
    words = task.tokenizer.convert_ids_to_tokens(list(range(8)))
    assert words == small.tokenizer.convert_ids_to_tokens(list(range(8)))


def test_the_optimum_of_the_small_version_is_that_of_all_its_responses() -> None:
    """J* = beta log Σ pi_ref(y) exp(score(y) / beta), by decoding every response once."""
    task, beta = load_task("reverse-small"), 0.1
    prompt = task.prompts[3]
    totals: list[float] = []

    def extend(said: list[int], logprob: float) -> None:
        if said[-1:] == [task.eos_id] or len(said) == task.max_new_tokens:
            score = float(task.reward([prompt], [torch.tensor(said)]))
            totals.append(logprob + score / beta)
            return
        text = torch.cat([prompt, torch.tensor(said, dtype=torch.int64)])[None]
        with torch.no_grad():
            row = task.reference(input_ids=text).logits[0, -1, : task.vocab_size].log_softmax(0)
        for token, more in enumerate(row.tolist()):
            extend([*said, token], logprob + more)

    extend([], 0.0)
    assert len(totals) == 7**4 + 7**3 + 7**2 + 7 + 1
    best = beta * float(torch.tensor(totals, dtype=torch.float64).logsumexp(0))
    assert solve(task, beta, prompt_index=3).objective == pytest.approx(best, abs=1e-6)
