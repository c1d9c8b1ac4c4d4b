"""Requests that schemathesis generates from the server's own OpenAPI document, valid ones and broken ones.

Whatever is sent, the answer has a documented status and the documented shape, and it is never a 5xx; what the document
does not allow is refused. The number of requests is bounded, so that the whole takes less than a minute.
"""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.fakes import FakeModel
from unrolled.web.app import create_app

ALWAYS = [not_a_server_error, status_code_conformance, response_schema_conformance, response_headers_conformance]
BOUNDED = hypothesis.settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)


def operations():
    document = schemathesis.openapi.from_wsgi("/openapi.json", create_app([FakeModel(), FakeModel("Fresh run")]))
    return [result.ok() for result in document.get_all_operations()]


def send_generated(operation, mode, checks):
    """Send requests that schemathesis generates; return the status of each."""
    statuses = []

    @BOUNDED
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def send(case):
        statuses.append(case.call_and_validate(checks=checks).status_code)

    send()
    return statuses


def label(operation):
    return operation.label


@pytest.mark.parametrize("operation", operations(), ids=label)
def test_a_request_that_the_document_allows_gets_a_documented_answer(operation):
    assert 200 in send_generated(operation, GenerationMode.POSITIVE, ALWAYS)


@pytest.mark.parametrize("operation", [each for each in operations() if each.body], ids=label)
def test_a_request_that_the_document_forbids_is_refused(operation):
    statuses = send_generated(operation, GenerationMode.NEGATIVE, [*ALWAYS, negative_data_rejection])
    assert set(statuses) <= {400, 413, 415, 422}
