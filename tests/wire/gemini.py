"""The Gemini API: models.batchEmbedContents."""

from collections.abc import Mapping
from typing import Any

from wire.embeddings import KEY, Call, Provider
from wire.server import Reply, Request

ROLES = {"RETRIEVAL_DOCUMENT": "document", "RETRIEVAL_QUERY": "query"}
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def google_error(status: int, message: str, *details: Mapping[str, Any]) -> Reply:
    """A google.rpc.Status as JSON."""
    error: dict[str, Any] = {"code": status, "message": message, "status": STATUS[status]}
    if details:
        error["details"] = list(details)
    return Reply(status, {"error": error})


def google_busy(seconds: int) -> Reply:
    """A quota that is spent: no Retry-After, but a RetryInfo."""
    return google_error(
        429,
        "You exceeded your current quota.",
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"},
    )


class Gemini(Provider):
    model = "gemini:gemini-embedding-001"
    dimensions = 3_072
    shortens = 17
    counts = False

    @property
    def variables(self) -> Mapping[str, str]:
        return {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": self.url}

    def read(self, request: Request) -> Call:
        name = request.path.removeprefix("/v1beta/").removesuffix(":batchEmbedContents")
        assert self.others or name == "models/gemini-embedding-001"
        asked = request.json["requests"]
        assert {each["model"] for each in asked} == {name}
        (role,) = {each["taskType"] for each in asked}
        (dimensions,) = {each.get("outputDimensionality") for each in asked}
        texts = [part["text"] for each in asked for part in each["content"]["parts"]]
        return Call(texts, ROLES[role], dimensions, request.headers["x-goog-api-key"])

    def written(self, rows: list[list[float]], call: Call) -> Reply:
        return Reply(body={"embeddings": [{"values": row} for row in rows]})

    def error(self, status: int, message: str) -> Reply:
        return google_error(status, message)

    def busy(self, seconds: int) -> Reply:
        return google_busy(seconds)

    def fewer(self, body: Any) -> Any:
        return {"embeddings": body["embeddings"][:-1]}
