"""Amazon Bedrock: InvokeModel, with the models of Cohere and of Amazon."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from wire.embeddings import KEY, Call, Provider, tokens
from wire.server import Reply, Request

ROLES = {"search_document": "document", "search_query": "query"}
ERRORS = {
    400: "ValidationException",
    403: "UnrecognizedClientException",
    429: "ThrottlingException",
    500: "InternalServerException",
}


class Bedrock(Provider):
    model = "bedrock:eu.cohere.embed-v4:0"
    dimensions = 1_536
    shortens = 256

    @property
    def variables(self) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": self.url,
        }

    def read(self, request: Request) -> Call:
        name = unquote(request.path).removeprefix("/model/").removesuffix("/invoke")
        signed = request.headers["authorization"]
        body = request.json
        assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/")
        assert "/eu-central-1/bedrock/aws4_request" in signed
        if name.startswith("amazon.nova"):
            asked = body["singleEmbeddingParams"]
            return Call([asked["text"]["value"]], None, asked.get("embeddingDimension"), KEY, True)
        if name.startswith("amazon."):
            return Call([body["inputText"]], None, body.get("dimensions"), KEY)
        assert name == "eu.cohere.embed-v4:0"
        return Call(body["texts"], ROLES[body["input_type"]], body.get("output_dimension"), KEY)

    def written(self, rows: list[list[float]], call: Call) -> Reply:
        headers = {"X-Amzn-Bedrock-Input-Token-Count": str(tokens(call))}
        if call.nested:
            body: Any = {"embeddings": [{"embeddingType": "TEXT", "embedding": rows[0]}]}
        elif call.role is None:
            body = {"embedding": rows[0], "inputTextTokenCount": tokens(call)}
        else:
            texts = {"texts": list(call.texts), "response_type": "embeddings_by_type"}
            body = {"id": "1", "embeddings": {"float": rows}, **texts}
        return Reply(200, body, headers)

    def error(self, status: int, message: str) -> Reply:
        return Reply(status, {"message": message}, {"x-amzn-ErrorType": ERRORS[status]})

    def busy(self, seconds: int) -> Reply:
        headers = {"x-amzn-ErrorType": ERRORS[429], "Retry-After": str(seconds)}
        return Reply(429, {"message": "Too many requests"}, headers)

    def denied(self, message: str) -> Reply:
        return self.error(403, message)

    def fewer(self, body: Any) -> Any:
        return {**body, "embeddings": {"float": body["embeddings"]["float"][:-1]}}
