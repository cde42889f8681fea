"""The OpenAPI document and the server agree: what the document allows is answered as it says, and so is the rest."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from stream.config.settings import Settings
from stream.http.api import openapi_document
from stream.http.api.reference_page import docs_page
from tests.support.servers import Client, list_bytes, publish, serving, settings_on

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
)
ENDLESS = "/v1/users/{id}/recommendations/stream"


@pytest.fixture(scope="module")
def client(broker: Any) -> Iterator[Client]:
    own = settings_on(broker.bootstrap_servers, max_batch_events=5)
    publish(own, *((user, list_bytes(user, 1, "x", "y")) for user in ("0", "a", "00")))
    with serving(own) as client:
        yield client


def test_every_operation_that_ends_is_tried_below(client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    found = {(method.upper(), path) for path, item in paths.items() for method in item if method in ("get", "post")}
    assert found - {("GET", ENDLESS)} == {(method, path) for method, path, _, _ in TRIALS}


TRIALS = [
    ("POST", "/v1/events", GenerationMode.POSITIVE, 202),
    ("POST", "/v1/events", GenerationMode.NEGATIVE, 422),
    ("GET", "/v1/users/{id}/recommendations", GenerationMode.POSITIVE, 404),
    ("GET", "/v1/users/{id}/recommendations", GenerationMode.NEGATIVE, 400),
    *(("GET", path, GenerationMode.POSITIVE, 200) for path in ("/livez", "/readyz", "/metrics")),
]
"""Method, path, whether what is sent follows the document, and a status that must be among the answers."""


@pytest.mark.parametrize(("method", "path", "mode", "expected"), TRIALS)
def test_an_operation_answers_as_the_document_says(
    client: Client, method: str, path: str, mode: GenerationMode, expected: int
) -> None:
    document = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    document.config.update(base_url=f"http://127.0.0.1:{client.port}")
    statuses: set[int] = set()

    @settings(
        max_examples=25,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        statuses.add(case.call_and_validate(checks=CHECKS, timeout=30).status_code)

    answers()
    assert expected in statuses


def test_the_document_is_complete_and_names_only_what_it_has(client: Client) -> None:
    document = client.get("/openapi.json").json()
    text = json.dumps(document)

    assert document["openapi"] == "3.1.0"
    assert {ENDLESS, "/v1/events", "/v1/users/{id}/recommendations"} < set(document["paths"])
    schemas = document["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= set(schemas)
    for value in schemas.values():
        jsonschema.Draft202012Validator.check_schema(value)
    assert "securitySchemes" not in document["components"]


def test_with_tokens_the_document_says_where_they_are_asked_for() -> None:
    document = openapi_document(Settings(), has_tokens=True)

    asked = {
        path: item[method]["security"]
        for path, item in document["paths"].items()
        for method in item
        if method in ("get", "post")
    }
    assert {path for path, security in asked.items() if security} == {
        path for path in document["paths"] if path.startswith("/v1/")
    }
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_the_page_to_read_names_every_path_and_loads_nothing_from_elsewhere(client: Client) -> None:
    answer = client.get("/docs")
    page = answer.body.decode()

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in client.get("/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in page
    targets = re.findall(r"(?:src|href)=\W?([^\s\"'>]+)", page)
    assert {target for target in targets if not target.startswith("#")} == {"/openapi.json"}
    assert "<script" not in page
    assert "Authorization: Bearer" not in page
    assert "Authorization: Bearer" in docs_page(Settings(), has_tokens=True)
