"""A sampler that asks a serving engine over HTTP: vLLM, SGLang, or what speaks as they do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from agents.samplers.protocol import Completion, SamplerError, SamplingRequest
from agents.samplers.wire_formats import FORMATS, Answer
from rlhf_env.checks import check_choice, check_count, check_positive
from rlhf_env.extras import importing

Refresh = Callable[[Any, int], int | None]

# Of the pause before the first further try, in seconds; each one is twice as long.
_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
# Seconds for which the other requests may end after one of them failed.
_END_OF_REST = 5.0
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class CompletionServer:
    """A sampler behind an address; see `agents.samplers.protocol.Sampler`.

    Every response is a request of its own, so that each has its own seed; the engine batches those
    that run at once.

    Example:
        >>> server = CompletionServer("http://localhost:8000", model="policy")  # doctest: +SKIP
        >>> GRPO(envs, sampler=server, importance="token", importance_cap=2.0)  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        model: str = "default",
        engine: str = "vllm",
        processed_logprobs: bool = False,
        concurrency: int = 64,
        timeout: float = 600.0,
        retries: int = 4,
        api_key: str | None = None,
        refresh: Refresh | None = None,
    ) -> None:
        """Describe a server; nothing is sent yet.

        Args:
            url: its address without the endpoint, such as "http://localhost:8000".
            model: the name that it serves the policy under.
            engine: one of `agents.samplers.wire_formats.FORMATS`.
            processed_logprobs: vLLM was started with ``--logprobs-mode processed_logprobs``. By
                default its log-probabilities are those before the temperature, which are
                the sampler's at temperature 1 only.
            concurrency: the most requests at once.
            timeout: seconds that one request may take.
            retries: further tries of a request that failed for want of a connection, time or
                capacity.
            api_key: sent as a bearer token.
            refresh: see `agents.samplers.protocol.RefreshedSampler`; without it the server is
                taken to keep the weights of the beginning.

        Raises:
            ValueError: if an argument is out of range.
            MissingExtraError: if the extra "serving" is not installed.
        """
        check_choice("engine", engine, tuple(FORMATS))
        check_count("concurrency", concurrency)
        check_count("retries", retries, minimum=0)
        check_positive("timeout", timeout)
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise ValueError(
                f"url must be a server's address, such as 'http://localhost:8000', got {url!r}"
            )
        with importing("serving"):
            pass
        self.url = url.rstrip("/").removesuffix("/v1")
        self.model = model
        self.engine = engine
        self.processed_logprobs = processed_logprobs
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._refresh = refresh

    def refresh(self, agent: Any, update: int) -> int | None:
        """Hand the weights over as the given function does."""
        return 0 if self._refresh is None else self._refresh(agent, update)

    def sample(self, request: SamplingRequest) -> Sequence[Completion]:
        """Return the responses to the prompts, in their order.

        Raises:
            ValueError: if the log-probabilities would not be those of the temperature.
            SamplerError: if the server does not answer, or with something that is no response.
        """
        import httpx2 as httpx

        if self.engine == "vllm" and request.temperature != 1.0 and not self.processed_logprobs:
            raise ValueError(
                "vLLM's log-probabilities are by default those before the temperature, got "
                f"temperature = {request.temperature:g}; start it with --logprobs-mode "
                "processed_logprobs and set processed_logprobs=True, or use temperature 1"
            )
        limits = httpx.Limits(max_connections=self.concurrency)
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="sampler")
        asked: list[Future[Completion]] = []
        with httpx.Client(timeout=self.timeout, limits=limits, headers=self._headers) as client:
            try:
                for episode in range(len(request.prompts)):
                    asked.append(pool.submit(self._one, client, request, episode))
                return [each.result() for each in asked]
            except (SamplerError, ValueError):
                pool.shutdown(wait=False, cancel_futures=True)
                # A connection that is in use when its client is closed stays open.
                wait([each for each in asked if each.running()], timeout=_END_OF_REST)
                raise
            finally:
                # Whoever interrupts does not wait for the server; a closed client ends the rest.
                pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, client: Any, request: SamplingRequest, episode: int) -> Completion:
        format_ = FORMATS[self.engine]
        body = format_.body(request, episode, self.model)
        answer = format_.read(self._posted(client, self.url + format_.path, body))
        _check_answer(answer, request, episode)
        return answer.tokens, answer.logprobs

    def _posted(self, client: Any, url: str, body: dict[str, Any]) -> Any:
        """Return the JSON that a request is answered with."""
        import httpx2 as httpx

        failure = ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(min(_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
            try:
                response = client.post(url, json=body)
            except httpx.TimeoutException:
                failure = f"gave no answer in {self.timeout:g} s; raise timeout"
                continue
            except httpx.TransportError as error:
                failure = f"cannot be reached: {str(error)!r:.120}; start it, or correct url"
                continue
            if response.status_code in _BUSY:
                failure = f"answered {response.status_code}: {response.text!r:.160}; see its log"
                continue
            if response.status_code != 200:
                raise SamplerError(
                    f"the server at {url} refused a request with {response.status_code}: "
                    f"{response.text!r:.160}; look at model, engine and api_key"
                )
            try:
                return response.json()
            except ValueError as error:
                raise SamplerError(
                    f"the server at {url} must answer with JSON, got {response.text!r:.80}; "
                    "correct url"
                ) from error
        tries = self.retries + 1
        raise SamplerError(f"after {tries} tries the server at {url} {failure}")


def _check_answer(answer: Answer, request: SamplingRequest, episode: int) -> None:
    """Raise SamplerError where an answer belongs to another prompt, or ended in another way."""
    given = len(request.prompts[episode])
    if answer.prompt_tokens is not None and answer.prompt_tokens != given:
        raise SamplerError(
            f"the server read {answer.prompt_tokens} tokens of prompt {episode}, got {given}: it "
            "cuts prompts or adds to them; raise its longest context, and switch both off"
        )
    is_ended = bool(answer.tokens) and answer.tokens[-1] == request.eos_id
    if answer.finish == "stop" and not is_ended:
        last = answer.tokens[-1] if answer.tokens else "nothing"
        raise SamplerError(
            f"the server stopped response {episode} after token {last}, expected EOS, "
            f"{request.eos_id}, as its last token with its log-probability; do not let it strip "
            "stop tokens, or stop at others"
        )
    if answer.finish == "length" and not is_ended and len(answer.tokens) < request.max_new_tokens:
        raise SamplerError(
            f"the server cut response {episode} after {len(answer.tokens)} of "
            f"{request.max_new_tokens} tokens; raise its longest context"
        )
    if answer.finish not in ("stop", "length"):
        raise SamplerError(
            f"the server ended response {episode} with {answer.finish!r}, expected 'stop' or "
            "'length'; see its log"
        )
