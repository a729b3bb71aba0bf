"""What serving engines are asked and what they answer: one request a response, ids both ways.

Of vLLM it is the OpenAI-compatible ``/v1/completions`` with ``return_token_ids`` (or, of older
versions, tokens as ``"token_id:5"``); of SGLang the native ``/generate``, whose
``output_token_logprobs`` are (log-probability, id, text). Both are told to change nothing of the
distribution but its temperature: a model folder may come with a top-k or top-p of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agents.samplers.protocol import SamplerError, SamplingRequest

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One response, as an engine tells it."""

    tokens: list[int]
    """Its ids."""
    logprobs: list[float]
    """Of each of them, under the distribution that it was drawn from."""
    finish: str
    """Why it ended: "stop", "length", or what else the engine says."""
    prompt_tokens: int | None
    """How many tokens of prompt the engine read, if it says so."""


@dataclass(frozen=True, kw_only=True)
class WireFormat:
    """How to talk to one kind of engine."""

    path: str
    """Of the endpoint, after the server's address."""
    body: Callable[[SamplingRequest, int, str], Json]
    """From a request, the number of a response and the model's name to what is sent."""
    read: Callable[[Any], Answer]
    """From the JSON that came back to the response; raises SamplerError."""


def vllm_body(request: SamplingRequest, episode: int, model: str) -> Json:
    """Return the body of a completion request."""
    return {
        "model": model,
        "prompt": request.prompts[episode].tolist(),
        "max_tokens": request.max_new_tokens,
        "temperature": request.temperature,
        "seed": request.seeds[episode],
        "n": 1,
        "logprobs": 0,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        # Only the task's own EOS ends a response, whatever the model folder names.
        "ignore_eos": True,
        "stop_token_ids": [request.eos_id],
        "add_special_tokens": False,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
    }


def read_vllm(answer: Any) -> Answer:
    """Return the response of a completion.

    Raises:
        SamplerError: if it lacks log-probabilities or ids.
    """
    choice = _first(_entry(answer, "choices", "a completion"))
    told = choice.get("logprobs") if isinstance(choice, Mapping) else None
    logprobs = told.get("token_logprobs") if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or not isinstance(logprobs, list):
        raise SamplerError(
            "the server answered without log-probabilities, which the importance ratios need; use "
            "one that returns logprobs of completions, such as vLLM"
        )
    tokens = choice.get("token_ids")
    if not isinstance(tokens, list):
        tokens = [_named_id(name) for name in told.get("tokens") or []]
    usage = answer.get("usage")
    read = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
    prompt = choice.get("prompt_token_ids")
    return Answer(
        tokens=tokens,
        logprobs=logprobs,
        finish=str(choice.get("finish_reason")),
        prompt_tokens=len(prompt) if isinstance(prompt, list) else read,
    )


def sglang_body(request: SamplingRequest, episode: int, model: str) -> Json:
    """Return the body of a generate request; the server has one model, so its name is not sent."""
    return {
        "input_ids": request.prompts[episode].tolist(),
        "sampling_params": {
            "max_new_tokens": request.max_new_tokens,
            "temperature": request.temperature,
            "sampling_seed": request.seeds[episode],
            # With ignore_eos SGLang would ignore these, too.
            "stop_token_ids": [request.eos_id],
            "top_p": 1.0,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
        },
        "return_logprob": True,
        "stream": False,
    }


def read_sglang(answer: Any) -> Answer:
    """Return the response that was generated.

    Raises:
        SamplerError: if it lacks log-probabilities.
    """
    told = _entry(answer, "meta_info", "a generated text")
    entries = told.get("output_token_logprobs") if isinstance(told, Mapping) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, list) and len(entry) >= 2 for entry in entries
    ):
        raise SamplerError(
            "the server answered without output_token_logprobs, from which ids and importance "
            "ratios are taken; use SGLang's /generate"
        )
    reason = told.get("finish_reason")
    return Answer(
        tokens=[entry[1] for entry in entries],
        logprobs=[entry[0] for entry in entries],
        finish=str(reason.get("type") if isinstance(reason, Mapping) else reason),
        prompt_tokens=told.get("prompt_tokens"),
    )


FORMATS: Mapping[str, WireFormat] = {
    "vllm": WireFormat(path="/v1/completions", body=vllm_body, read=read_vllm),
    "sglang": WireFormat(path="/generate", body=sglang_body, read=read_sglang),
}
"""By the name of the engine."""


def _entry(answer: Any, name: str, what: str) -> Any:
    if not isinstance(answer, Mapping) or name not in answer:
        raise SamplerError(
            f"the server must answer with {what}, an object with {name!r}, got {answer!r:.80}; "
            "look at its address and at engine="
        )
    return answer[name]


def _first(choices: Any) -> Any:
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        raise SamplerError(f"the server must answer with one choice, got {choices!r:.80}")
    return choices[0]


def _named_id(name: Any) -> int:
    found = re.fullmatch(r"token_id:(\d+)", str(name))
    if found is None:
        raise SamplerError(
            f"the server answered with text instead of token ids, such as {name!r:.40}; use a vLLM "
            "that knows return_token_ids or return_tokens_as_token_ids"
        )
    return int(found[1])
