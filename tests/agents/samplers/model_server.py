"""A real HTTP server with a small language model behind it, which speaks as vLLM and SGLang do.

It samples by itself, with torch.multinomial: nothing of the project's decoding is in it.

    python -m tests.agents.samplers.model_server

It prints its port. Before the endpoint a path may name a fault, as in
/faults/text/v1/completions.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from rlhf_env.tasks import load_task
from tests.toys import tiny_gpt2

Json = dict[str, Any]


class Served:
    """The model, and what has been asked of it."""

    def __init__(self) -> None:
        self.model: nn.Module = nn.Module()
        self.lock = threading.Lock()
        self.begin("toy15")

    def begin(self, name: str) -> None:
        """Serve the reference of "toy15", or a tiny "gpt2", and forget what was asked."""
        model = load_task("toy15").reference if name == "toy15" else tiny_gpt2()
        self.model = model.eval()
        self.asked: Counter[str] = Counter()
        self.running = self.most_running = 0

    def load(self, path: str) -> None:
        if path.endswith(".safetensors"):
            weights = load_file(path)
        else:
            weights = AutoModelForCausalLM.from_pretrained(path).state_dict()
        with self.lock:
            self.model.load_state_dict(weights)

    def sample(self, prompt: list[int], asked: Json) -> tuple[list[int], list[float]]:
        """Return ids, the stop token included, and their log-probabilities."""
        generator = torch.Generator().manual_seed(asked["seed"])
        text, ids, told = list(prompt), [], []
        for _ in range(asked["max_tokens"]):
            scaled = self.next_logits(text) / asked["temperature"]
            logprobs = scaled.log_softmax(dim=0)
            token = int(torch.multinomial(logprobs.exp(), 1, generator=generator))
            ids.append(token)
            told.append(float(logprobs[token]))
            text.append(token)
            if token in asked["stop"]:
                break
        return ids, told

    @torch.no_grad()
    def next_logits(self, text: list[int]) -> Tensor:
        with self.lock:
            return self.model(input_ids=torch.tensor([text])).logits[0, -1].double()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    # Else a client that reads headers and body apart waits for a delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    served: Served

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault, _, path = self.path.strip("/").rpartition("faults/")[2].partition("/")
        if not self.path.startswith("/faults/"):
            fault, path = "", self.path.strip("/")
        served = self.served
        with served.lock:
            served.asked[fault] += 1
            number = served.asked[fault]
            served.running += 1
            served.most_running = max(served.most_running, served.running)
        try:
            self.reply(fault, path, body, number)
        finally:
            with served.lock:
                served.running = max(0, served.running - 1)

    def do_GET(self) -> None:
        served = self.served
        self.send(200, {"asked": dict(served.asked), "most_running": served.most_running})

    def reply(self, fault: str, path: str, body: Json, number: int) -> None:
        if path == "begin":
            self.served.begin(body["name"])
            self.send(200, {})
        elif path == "load":
            self.served.load(body["path"])
            self.send(200, {})
        elif fault == "broken" or (fault == "busy" and number <= 2):
            self.send(503, {"error": "no <b>capacity</b>"})
        elif fault == "forbidden":
            self.send(401, {"error": "no key"})
        elif fault == "html":
            self.send(200, None)
        else:
            time.sleep({"slow": 2.0, "pause": 0.2}.get(fault, 0.0))
            answer = self.vllm(body) if path == "v1/completions" else self.sglang(body)
            self.send(200, spoiled(answer, fault))

    def vllm(self, body: Json) -> Json:
        assert body["ignore_eos"] and (body["top_p"], body["top_k"]) == (1.0, -1)
        asked = {name: body[name] for name in ("max_tokens", "temperature", "seed")}
        ids, told = self.served.sample(body["prompt"], {**asked, "stop": body["stop_token_ids"]})
        is_stopped = ids[-1] in body["stop_token_ids"]
        choice = {
            "index": 0,
            "text": "",
            "token_ids": ids,
            "prompt_token_ids": body["prompt"],
            "logprobs": {"token_logprobs": told, "tokens": [f"token_id:{i}" for i in ids]},
            "finish_reason": "stop" if is_stopped else "length",
        }
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": len(ids)}
        return {"object": "text_completion", "choices": [choice], "usage": usage}

    def sglang(self, body: Json) -> Json:
        params = body["sampling_params"]
        assert (params["top_p"], params["top_k"]) == (1.0, -1) and body["return_logprob"]
        asked = {
            "max_tokens": params["max_new_tokens"],
            "temperature": params["temperature"],
            "seed": params["sampling_seed"],
            "stop": params["stop_token_ids"],
        }
        ids, told = self.served.sample(body["input_ids"], asked)
        stop = {"type": "stop", "matched": ids[-1]}
        length = {"type": "length", "length": len(ids)}
        meta = {
            "prompt_tokens": len(body["input_ids"]),
            "output_token_logprobs": [[p, i, None] for p, i in zip(told, ids, strict=True)],
            "finish_reason": stop if ids[-1] in asked["stop"] else length,
        }
        return {"text": "", "output_ids": ids, "meta_info": meta}

    def send(self, status: int, answer: Json | None) -> None:
        told = b"<html>" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def spoiled(answer: Json, fault: str) -> Json:
    """Return a completion with a fault that servers are known to have."""
    if not fault or "choices" not in answer:
        if fault == "no-logprobs":
            del answer["meta_info"]["output_token_logprobs"]
        return answer
    choice = answer["choices"][0]
    told = choice["logprobs"]
    if fault == "no-logprobs":
        choice["logprobs"] = None
    elif fault == "older":
        del choice["token_ids"], choice["prompt_token_ids"]
    elif fault == "text":
        del choice["token_ids"]
        told["tokens"] = [" soup" for _ in told["tokens"]]
    elif fault == "no-stop-token" and choice["finish_reason"] == "stop":
        choice["token_ids"].pop()
        told["token_logprobs"].pop()
    elif fault == "short":
        choice["token_ids"], told["token_logprobs"] = [1], [-1.0]
        choice["finish_reason"] = "length"
    elif fault == "cut-prompt":
        choice["prompt_token_ids"] = []
    elif fault == "outside":
        choice["token_ids"].insert(0, 1_000_000)
        told["token_logprobs"].insert(0, -1.0)
    elif fault == "not-numbers":
        told["token_logprobs"][0] = None
    elif fault == "positive":
        told["token_logprobs"][0] = 0.5
    elif fault == "aborted":
        choice["finish_reason"] = "abort"
    return answer


class Server(ThreadingHTTPServer):
    """Room for many connections that come at once."""

    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    """Serve until the process is ended."""
    torch.set_num_threads(1)
    Handler.served = Served()
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
