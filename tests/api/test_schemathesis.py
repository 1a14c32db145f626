"""Requests made up from the OpenAPI description: no 5xx, nothing that is not documented."""

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy, booleans
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import served

LONG = bool(os.environ.get("SOAK"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home: Path = tmp_path_factory.mktemp("schemathesis")
    with served(home, EMBEDSVC_EMBEDDING="hash:16", EMBEDSVC_MAX_BODY_MB="1") as address:
        body = {"documents": [{"id": "0", "text": "a text", "metadata": {"year": 2020}}]}
        httpx.post(f"{address}/v1/collections/{COLLECTION}/documents", json=body).raise_for_status()
        yield address


COLLECTION = "fuzzed"
REFUSED_BY_THE_HTTP_PARSER = b"Invalid HTTP request received."  # such as a URL of 64 KB
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_every_answer_is_documented_and_none_is_a_failure(url: str) -> None:
    described = schemathesis.openapi.from_url(f"{url}/schema/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 15
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                probe(operation.as_strategy(generation_mode=mode))
            except Unsatisfiable:  # a request without any part cannot be made wrong
                assert mode is GenerationMode.NEGATIVE, operation.label


def probe(cases: SearchStrategy[schemathesis.Case]) -> None:
    @given(case=cases, existing=booleans())
    @settings(
        max_examples=300 if LONG else 8,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(case: schemathesis.Case, existing: bool) -> None:
        if existing and "collection" in (case.path_parameters or {}):
            case.path_parameters["collection"] = COLLECTION
        answer = case.call(timeout=30)
        if answer.content != REFUSED_BY_THE_HTTP_PARSER:
            case.validate_response(answer, checks=CHECKS)

    one()
