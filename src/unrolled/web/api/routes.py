"""The JSON API: `POST /api/generate`, `GET /api/models`, and their description at `/openapi.json`.

A page of another site can send a form here, but `application/json` only after a CORS preflight, which this server never
grants. The content type is therefore part of the guard, along with the Host and Sec-Fetch-Site headers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Blueprint, Response, abort, jsonify, request
from pydantic import ValidationError

from unrolled.config import validation_problems
from unrolled.errors import UserError
from unrolled.serving.models import NoSuchModel, ServedModel
from unrolled.serving.request import GenerationRequest
from unrolled.serving.session import GenerationSession
from unrolled.serving.settings import WebSettings
from unrolled.strict_json import lenient_number
from unrolled.text.unicode import well_formed
from unrolled.web.api.schemas import (
    GenerateAnswer,
    ModelAnswer,
    ModelsAnswer,
    SampleAnswer,
    openapi_document,
    request_model,
)
from unrolled.web.context import REFUSALS, app_context
from unrolled.web.json_object import read_object
from unrolled.web.pages.view import ending_note

routes = Blueprint("api", __name__)


@routes.post("/api/generate")
def generate() -> Response | tuple[Response, int, dict[str, str]]:
    """Generate from a prompt; the settings have the names of `unrolled generate`."""
    context = app_context()
    if request.mimetype != "application/json":
        abort(415, "Send the request as JSON, with the header Content-Type: application/json.")
    try:
        asked = read_request(request.get_data(), context.settings, list(context.models))
        session = context.open(asked)
        for _ in session.deltas():
            pass
    except REFUSALS as error:
        body, status, headers = context.refusal(error)
        return jsonify(body), status, headers
    return jsonify(_answer(session, context.keep(session, "api"), context.settings))


@routes.get("/api/models")
def models() -> Response:
    """List the models."""
    context = app_context()
    answers = [_model_answer(served, served.id == context.default_id) for served in context.models.values()]
    return jsonify(ModelsAnswer(models=answers).model_dump(mode="json"))


@routes.get("/openapi.json")
def openapi() -> Response:
    """Describe the API."""
    return jsonify(openapi_document(app_context().settings, request.script_root))


def read_request(body: bytes, settings: WebSettings, model_ids: list[str]) -> GenerationRequest:
    """Read the body of a request.

    Args:
        body: a JSON object in UTF-8.
        settings: the limits.
        model_ids: the ids of the served models; the first is the default.

    Raises:
        NoSuchModel: it names a model that is not served.
        UserError: it is not a JSON object, or has invalid values; one message lists all problems.
    """
    values = read_object(body, _UniqueNames, lenient_number)
    if isinstance(values.get("stop"), list):
        values["stop"] = tuple(values["stop"])  # the type of the setting; nothing else is converted
    model = request_model(settings)
    try:
        asked = model.model_validate(values, strict=True)
    except ValidationError as error:
        problems = validation_problems(error, list(model.model_fields))
        raise UserError(f"The request cannot be used: {'; '.join(problems)}.") from None
    model_id = model_ids[0] if asked.model is None else asked.model
    if model_id not in model_ids:
        raise NoSuchModel(model_id, model_ids)
    given = asked.model_dump(exclude_unset=True, exclude={"model", "prompt", "seed"})
    return GenerationRequest(model_id, well_formed(asked.prompt), given, asked.seed)


class _UniqueNames(dict):
    """A JSON object as a dict; duplicate names are refused."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        super().__init__()
        for name, value in pairs:
            if name in self:
                raise UserError(f"The name {name!r} was sent twice; send it once.")
            self[name] = value


def _answer(session: GenerationSession, notice: str | None, settings: WebSettings) -> dict[str, Any]:
    note = " ".join(filter(None, (ending_note(session.outcome.finish_reason, settings), notice)))
    return GenerateAnswer(
        seed=session.seed,
        samples=[SampleAnswer(**vars(sample)) for sample in session.samples],
        prompt=session.prompt,
        unknown=list(session.unknown),
        model=session.model_id,
        warnings=list(session.warnings),
        note=note or None,
    ).model_dump(mode="json")


def _model_answer(served: ServedModel, is_default: bool) -> ModelAnswer:
    tokenizer = None if served.loaded is None else served.loaded.tokenizer
    return ModelAnswer(
        id=served.id,
        name=served.name,
        default=is_default,
        loaded=served.loaded is not None,
        tokenizer=served.kind,
        vocabulary_size=None if tokenizer is None else tokenizer.vocabulary_size,
        parameters=served.info.get("parameters"),
        warnings=list(served.warnings),
        sampling=served.sampling.model_dump(mode="json"),
    )
