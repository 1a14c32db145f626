"""Vertex AI: publishers.models.predict, behind Google's OAuth for service accounts."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from wire.embeddings import KEY, Call, Provider, bearer, tokens
from wire.gemini import ROLES, google_busy, google_error
from wire.server import Reply, Request


@cache
def private_key() -> str:
    """A key for a service account that exists nowhere."""
    made = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


class Account:
    """A service account, in a file of its own."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory()

    def remove(self) -> None:
        self._folder.cleanup()

    def variables(self, url: str) -> Mapping[str, str]:
        """Those that lead to the server at `url`."""
        account = Path(self._folder.name) / "account.json"
        account.write_text(
            json.dumps(
                {
                    "type": "service_account",
                    "project_id": "mine",
                    "private_key_id": "1",
                    "private_key": private_key(),
                    "client_email": "test@mine.iam.gserviceaccount.com",
                    "token_uri": f"{url}/token",
                }
            )
        )
        return {
            "GOOGLE_CLOUD_PROJECT": "mine",
            "GOOGLE_CLOUD_LOCATION": "europe-west4",
            "GOOGLE_APPLICATION_CREDENTIALS": str(account),
            "GOOGLE_VERTEX_BASE_URL": url,
        }

    def token(self, request: Request) -> Reply | None:
        """An access token; None where something else is asked for."""
        if request.path != "/token":
            return None
        assert b"jwt-bearer" in request.body
        return Reply(body={"access_token": KEY, "expires_in": 3_599, "token_type": "Bearer"})


class Vertex(Provider):
    model = "vertex:text-embedding-005"
    dimensions = 768
    shortens = 17

    def __init__(self) -> None:
        super().__init__()
        self._account = Account()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._account.remove()

    @property
    def variables(self) -> Mapping[str, str]:
        return self._account.variables(self.url)

    @property
    def calls(self) -> list[Call]:
        return [self.read(request) for request in self.requests if request.path != "/token"]

    def read(self, request: Request) -> Call:
        place = "/v1beta1/projects/mine/locations/europe-west4/publishers/google/models/"
        assert request.path.startswith(place)
        assert request.path.endswith(":predict")
        body = request.json
        (role,) = {each["task_type"] for each in body["instances"]}
        texts = [each["content"] for each in body["instances"]]
        dimensions = body.get("parameters", {}).get("outputDimensionality")
        return Call(texts, ROLES[role], dimensions, bearer(request))

    def answer(self, request: Request) -> Reply:
        return self._account.token(request) or super().answer(request)

    def written(self, rows: list[list[float]], call: Call) -> Reply:
        counts = [tokens(Call([text])) for text in call.texts]
        predictions = [
            {
                "embeddings": {
                    "values": row,
                    "statistics": {"truncated": False, "token_count": count},
                }
            }
            for row, count in zip(rows, counts, strict=True)
        ]
        meta = {"billableCharacterCount": sum(map(len, call.texts))}
        return Reply(body={"predictions": predictions, "metadata": meta})

    def error(self, status: int, message: str) -> Reply:
        return google_error(status, message)

    def busy(self, seconds: int) -> Reply:
        return google_busy(seconds)

    def fewer(self, body: Any) -> Any:
        return {**body, "predictions": body["predictions"][:-1]}
