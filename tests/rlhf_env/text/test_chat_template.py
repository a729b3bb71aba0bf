"""Chat templates of strangers: loops, gigabytes, and regular expressions that explode."""

from __future__ import annotations

import resource
import sys
import threading
from typing import Any

import pytest
from tokenizers import Regex, pre_tokenizers

from rlhf_env.rewards.feedback.spans import span_token_labels
from rlhf_env.text import chat_template
from rlhf_env.text.text_ids import chat_ids, plain_ids
from tests.rlhf_env.text.test_text_ids import USER, byte_tokenizer
from tests.toys import tiny_tokenizer

LOOP = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3
DOUBLING = (
    "{% set all = namespace(text='aaaaaaaa') %}"
    "{% for i in range(40) %}{% set all.text = all.text + all.text %}{% endfor %}{{ all.text }}"
)


def refusal(template: str) -> str:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(
        ValueError, match=r"prompt 0 cannot be rendered by .* chat template"
    ) as told:
        chat_ids(USER, "prompt 0", tokenizer)
    return str(told.value).partition("template: ")[2]


def on_thread(template: str) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(refusal(template)))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("run", [refusal, on_thread])
def test_a_template_that_loops(monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    monkeypatch.setattr(chat_template, "MAX_SECONDS", 0.3)
    # Those of other tests may sleep for longer.
    before = {*threading.enumerate()}
    assert run(LOOP) == "no answer within 0.3 s"
    for thread in {*threading.enumerate()} - before:
        if thread.name == "limited call":
            # It goes on in no thread.
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
@pytest.mark.parametrize("template", [DOUBLING, "{{ 'a' * 10**12 }}", "{{ 'a'|center(10**12) }}"])
@pytest.mark.parametrize("run", [refusal, on_thread])
def test_a_template_that_builds_gigabytes(
    monkeypatch: pytest.MonkeyPatch, run: Any, template: str
) -> None:
    monkeypatch.setattr(chat_template, "MAX_MEMORY", 1 << 26)
    before = resource.getrlimit(resource.RLIMIT_AS)
    assert run(template) == "it takes too much memory"
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_a_long_text() -> None:
    assert refusal("{{ 'a' * 4194305 }}") == (
        "it writes 4194305 characters, more than the limit of 4194304"
    )


def test_templates_nested_too_deeply() -> None:
    assert refusal("{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}").startswith(
        "maximum recursion depth exceeded"
    )


def test_the_tokenizer_of_the_caller_is_left_alone() -> None:
    tokenizer = byte_tokenizer()
    kind = type(tokenizer)
    ids = chat_ids(USER, "prompt 0", tokenizer)
    assert type(tokenizer) is kind
    assert tokenizer.decode(ids) == "<s><|turn|>user:hi</s><|turn|>assistant:"


def exploding(tokenizer: Any) -> Any:
    split: Any = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    tokenizer.backend_tokenizer.pre_tokenizer = split
    return tokenizer


def test_a_regular_expression_that_explodes() -> None:
    """The library gives up with a panic, which is no Exception in Python."""
    text = "a" * 40 + "b"
    with pytest.raises(ValueError, match=r"prompt 3 cannot be encoded, .* retry-limit"):
        plain_ids(text, "prompt 3", exploding(tiny_tokenizer()))
    with pytest.raises(ValueError, match=r"prompt 3 cannot be rendered .* retry-limit"):
        chat_ids([{"role": "user", "content": text}], "prompt 3", exploding(byte_tokenizer()))
    with pytest.raises(ValueError, match=r"text cannot be encoded, .* retry-limit"):
        span_token_labels(text, [], exploding(tiny_tokenizer()), types=())
