"""Sequence classifiers as rewards: their own ids, one label, and scores that no padding changes."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    XLNetConfig,
    XLNetForSequenceClassification,
)

from rlhf_env.rewards import ClassifierReward, PrefixReward
from rlhf_env.rewards.protocol import as_reward, score
from rlhf_env.task import Task
from tests.toys import EOS, tiny_llama, tiny_tokenizer

VOCAB = 32
PROMPTS = [torch.tensor(ids) for ids in ([2, 3], [4], [5, 6, 7], [8])]
RESPONSES = [torch.tensor(ids) for ids in ([9, 9, 10, EOS], [EOS], [11] * 9, [12, 13, EOS])]
# The same texts as the classifier spells them: word i is its token 33 - i, and EOS is no word.
OWN_IDS = [[31, 30, 24, 24, 23], [29], [28, 27, 26] + [22] * 9, [25, 21, 20]]
TEMPLATE = (
    "{{ '<s>' }}{% for m in messages %} {{ m.role }} {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %} assistant{% endif %}"
)


def reversed_tokenizer(pad: str | None = "<pad>") -> PreTrainedTokenizerFast:
    """The policy's words under other ids: "w2" is 31, "w31" is 2."""
    words = ["<pad>", "</s>", *(f"w{33 - i}" for i in range(2, VOCAB))]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token=pad)


def random_weights(model: PreTrainedModel) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 1.5 / math.sqrt(parameter.shape[-1]), generator=generator)
    return model.eval()


def gpt2(labels: int = 1, **changes: Any) -> PreTrainedModel:
    config = GPT2Config(
        vocab_size=VOCAB,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        num_labels=labels,
        **{"pad_token_id": 0, "bos_token_id": None, "eos_token_id": EOS, **changes},
    )
    return random_weights(GPT2ForSequenceClassification(config))


def llama(labels: int = 1, **changes: Any) -> PreTrainedModel:
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        num_labels=labels,
        **{"pad_token_id": 0, "bos_token_id": None, "eos_token_id": EOS, **changes},
    )
    return random_weights(LlamaForSequenceClassification(config))


def bert(labels: int = 1, **changes: Any) -> PreTrainedModel:
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_attention_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=64,
        num_labels=labels,
        **{"pad_token_id": 0, **changes},
    )
    return random_weights(BertForSequenceClassification(config))


KINDS = {"gpt2": gpt2, "llama": llama, "bert": bert}


def reward_of(model: PreTrainedModel, **options: Any) -> ClassifierReward:
    return ClassifierReward(
        model=model,
        **{"tokenizer": reversed_tokenizer(), "policy_tokenizer": tiny_tokenizer(), **options},
    )


@torch.no_grad()
def alone(model: PreTrainedModel, label: int = 0) -> list[float]:
    """The model's own answer to each text by itself, without any padding."""
    return [model(input_ids=torch.tensor([ids])).logits[0, label].item() for ids in OWN_IDS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_scores_like_each_text_alone(kind: str) -> None:
    """Traps B7 and B8: own ids, and neither padding nor neighbors count."""
    model = KINDS[kind]()
    expected = alone(model)
    for size in (1, 2, 4):
        scores = score(reward_of(model, batch_size=size), PROMPTS, RESPONSES)
        assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.1


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_tokenizer_s_padding_side_is_no_matter(kind: str, side: str) -> None:
    """Trap B8."""
    model = KINDS[kind]()
    tokenizer = reversed_tokenizer()
    tokenizer.padding_side = side
    scores = score(reward_of(model, tokenizer=tokenizer), PROMPTS, RESPONSES)
    assert scores.tolist() == pytest.approx(alone(model), abs=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("pad", ["</s>", None])
def test_pad_is_eos_or_missing(kind: str, pad: str | None) -> None:
    """Trap B8: the model's own pooling refuses batches without a pad token."""
    model = KINDS[kind](pad_token_id=None)
    reward = reward_of(model, tokenizer=reversed_tokenizer(pad))
    assert score(reward, PROMPTS, RESPONSES).tolist() == pytest.approx(alone(model), abs=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_pad_id_inside_a_text_is_a_token(kind: str) -> None:
    """Trap B8: the model's own pooling would stop short of a text that ends in the pad id."""
    expected = alone(KINDS[kind](pad_token_id=None))
    model = KINDS[kind](pad_token_id=23)
    reward = reward_of(model, tokenizer=reversed_tokenizer("w10"))
    # "w10", id 23, now pads and ends the first text.
    assert reward.score_texts(["w2 w3 w9 w9 w10"]).tolist() == pytest.approx(expected[:1], abs=1e-5)


def test_a_head_that_reads_padding_is_refused() -> None:
    config = XLNetConfig(
        vocab_size=VOCAB, d_model=16, n_layer=1, n_head=2, d_inner=16, num_labels=1
    )
    model = random_weights(XLNetForSequenceClassification(config))
    with pytest.raises(ValueError, match=r"XLNet.* a padded text like .*; set batch_size=1"):
        reward_of(model)
    scores = score(reward_of(model, batch_size=1), PROMPTS, RESPONSES)
    assert scores.tolist() == pytest.approx(alone(model), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_prefixes(kind: str) -> None:
    model = KINDS[kind]()
    reward = reward_of(model)
    assert isinstance(reward, PrefixReward)
    rows = reward.prefix_scores(PROMPTS, RESPONSES)
    assert [len(row) for row in rows] == [5, 2, 10, 4]
    assert [row[-1].item() for row in rows] == pytest.approx(alone(model), abs=1e-5)
    middle = score(reward, PROMPTS[:1], [RESPONSES[0][:2]])
    assert rows[0][2].item() == pytest.approx(middle.item(), abs=1e-5)


class TestLabels:
    def test_several_need_a_choice(self) -> None:
        """Case: say how to choose."""
        with pytest.raises(
            ValueError, match=r"which of the classifier's 3 labels .* 'LABEL_0' \(0\), 'LABEL_1'"
        ):
            reward_of(llama(3))
        for label in ("LABEL_3", 3, -1, True, 1.5):
            with pytest.raises(ValueError, match=r"label must be one of 'LABEL_0' \(0\), .* got "):
                reward_of(llama(3), label=label)

    @pytest.mark.parametrize("label", [1, "good"])
    def test_the_chosen_one_s_log_probability(self, label: int | str) -> None:
        model = llama(2, id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
        scores = score(reward_of(model, label=label), PROMPTS, RESPONSES)
        gaps = [b - a for a, b in zip(alone(model, 0), alone(model, 1), strict=True)]
        assert scores.tolist() == pytest.approx(
            [-math.log1p(math.exp(-gap)) for gap in gaps], abs=1e-5
        )

    def test_labels_that_do_not_exclude_each_other(self) -> None:
        model = llama(3, problem_type="multi_label_classification")
        scores = score(reward_of(model, label=2), PROMPTS, RESPONSES)
        assert scores.tolist() == pytest.approx(
            [-math.log1p(math.exp(-logit)) for logit in alone(model, 2)], abs=1e-5
        )

    def test_one_may_be_named(self) -> None:
        reward = reward_of(llama(), label="LABEL_0")
        assert score(reward, PROMPTS, RESPONSES).tolist() == pytest.approx(
            alone(reward.model), abs=1e-5
        )


class TestTexts:
    def test_ids_need_the_policy_s_tokenizer(self) -> None:
        """Trap B7."""
        reward = reward_of(llama(), policy_tokenizer=None)
        with pytest.raises(ValueError, match=r"must know the policy's tokenizer .* to a Task"):
            score(reward, PROMPTS, RESPONSES)
        bound = as_reward(reward, tiny_tokenizer())
        assert as_reward(bound, tiny_tokenizer()) is bound
        assert score(bound, PROMPTS, RESPONSES).tolist() == pytest.approx(
            alone(reward.model), abs=1e-5
        )

    def test_nothing_but_special_tokens(self) -> None:
        """Trap B12: the text is empty, and the classifier's own start or end token stands in."""
        model = llama()
        empty = score(reward_of(model), [torch.tensor([EOS])], [torch.tensor([EOS])])
        with torch.no_grad():
            expected = model(input_ids=torch.tensor([[1]])).logits.item()
        assert empty.item() == pytest.approx(expected, abs=1e-5)

    def test_too_long(self) -> None:
        """Trap B10: never cut."""
        long = [torch.full((70,), 9)]
        message = "at most max_length = {} of the classifier's tokens, got {}"
        with pytest.raises(ValueError, match=message.format(64, 72)):
            score(reward_of(llama()), PROMPTS[:1], long)
        with pytest.raises(ValueError, match=message.format(4, 5)):
            score(reward_of(llama(), max_length=4), PROMPTS[:1], RESPONSES[:1])

    def test_a_chat(self) -> None:
        """Prompt and response become messages, and only the template puts special tokens."""
        words = ["<s>", "</s>", "user", "assistant", "w2", "w3", "w9", "w10"]
        inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=inner, bos_token="<s>", eos_token="</s>"
        )
        tokenizer.chat_template = TEMPLATE
        model = llama()
        with torch.no_grad():
            chat, plain = (
                model(input_ids=torch.tensor([ids])).logits.item()
                for ids in ([0, 2, 4, 5, 3, 6, 6, 7], [4, 5, 6, 6, 7])
            )
        for choice, expected in ((None, chat), (True, chat), (False, plain)):
            reward = reward_of(model, tokenizer=tokenizer, chat=choice)
            scores = score(reward, PROMPTS[:1], RESPONSES[:1])
            assert scores.item() == pytest.approx(expected, abs=1e-5)
        with pytest.raises(ValueError, match="chat needs a template"):
            reward_of(model, chat=True)


def test_the_model_is_frozen_and_in_eval_mode() -> None:
    """Trap A4: with dropout, two calls would differ."""
    model = gpt2(resid_pdrop=0.5).train()
    reward = reward_of(model)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(score(reward, PROMPTS, RESPONSES), score(reward, PROMPTS, RESPONSES))


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("max_length", 0)])
def test_bad_settings(option: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{option} must be an integer >= 1, got 0"):
        reward_of(llama(), **{option: value})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifiers") / "judge"
    llama().save_pretrained(folder)
    reversed_tokenizer().save_pretrained(folder)
    return folder


class TestFolders:
    def test_as_the_reward_of_a_task(self, saved: Path) -> None:
        task = Task(
            name="test",
            tokenizer=tiny_tokenizer(),
            reference=tiny_llama(),
            reward=ClassifierReward.from_pretrained(saved, device="cpu"),  # type: ignore[arg-type]
            prompts=PROMPTS,
        )
        assert score(task.reward, PROMPTS, RESPONSES).tolist() == pytest.approx(
            alone(llama()), abs=1e-5
        )
        assert isinstance(task.reward, PrefixReward)

    def test_a_language_model_is_no_classifier(self, tmp_path: Path) -> None:
        """Its classification head would be random."""
        tiny_llama().save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"load the classifier .* weights lack score.weight"):
            ClassifierReward.from_pretrained(tmp_path)

    def test_what_cannot_be_loaded(self, saved: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"classifier must be a folder .* is not a folder"):
            ClassifierReward.from_pretrained(tmp_path / "missing")
        with pytest.raises(ValueError, match="no local folder and no Hub model of that name"):
            ClassifierReward.from_pretrained("no such name")
        folder = Path(shutil.copytree(saved, tmp_path / "pickled"))
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        with pytest.raises(ValueError, match=r"no safetensors weights, .*save_pretrained"):
            ClassifierReward.from_pretrained(folder)
        with pytest.raises(ValueError, match="device must be"):
            ClassifierReward.from_pretrained(saved, device="gpu")
