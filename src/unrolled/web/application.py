"""The Flask application: one page, one stream, one health check, and the rules that hold for all of them.

Everything is validated before the first byte of an answer, so that a bad request is a 400 with a message and never a
text that breaks off. Each request has its own generator and state; models are shared and never changed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, abort, current_app, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from unrolled.errors import UserError
from unrolled.version import __version__
from unrolled.web.forms import (
    PRESETS,
    FormProblems,
    WriteRequest,
    json_fields,
    number_fields,
    plain_number,
    read_fields,
)
from unrolled.web.hosts import host_is_allowed
from unrolled.web.page import Answer, answer_facts, continuation_of, served_models
from unrolled.web.settings import WebSettings
from unrolled.web.writing import Busy, Desk, Writing

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel

LOG = logging.getLogger("unrolled.web")
BUSY = "Every writing place is taken at the moment; please try again in a few seconds."
BROKEN = "Something went wrong here, and it was noted. Please try again."
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")

routes = Blueprint("web", __name__)


def create_app(models: Sequence[TrainedModel], settings: WebSettings | None = None) -> Flask:
    """Build the application around loaded models; the first one is offered first.

    Raises:
        ValueError: there is no model.
    """
    if not models:
        raise ValueError("the web application needs at least one model")
    app = Flask("unrolled.web")
    settings = WebSettings() if settings is None else settings
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.extensions["unrolled"] = Room(models, settings)
    app.register_blueprint(routes)
    app.before_request(_guard)
    app.after_request(_harden)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)
    return app


class Room:
    """What the views share: the models by id, the limits, and the desk."""

    def __init__(self, models: Sequence[TrainedModel], settings: WebSettings) -> None:
        self.models = served_models(models)
        self.settings = settings
        self.desk = Desk(settings)

    def read(self, values: dict[str, list[object]]) -> WriteRequest:
        """Validate submitted fields; see `read_fields`."""
        return read_fields(values, self.settings, list(self.models))

    def open(self, asked: WriteRequest) -> Writing:
        """Take a slot for a valid request; see `Desk.open`."""
        is_gone = request.environ.get("waitress.client_disconnected", lambda: False)
        return self.desk.open(self.models[asked.model_id].model, asked, is_gone)


def _room() -> Room:
    return current_app.extensions["unrolled"]


@routes.get("/")
def home() -> str:
    """Show the empty page."""
    return _page({"prompt": _room().settings.default_prompt})


@routes.post("/")
def write() -> str | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Answer the plain form: the whole text on a new page."""
    room, values = _room(), _form_values()
    typed = {name: sent[0] for name, sent in values.items() if isinstance(sent[0], str)}
    chosen = next((preset for preset in PRESETS if values.get("preset") == [preset.name]), None)
    if chosen is not None:
        return _page(typed | {name: plain_number(value) for name, value in chosen.values.items()})
    try:
        asked = room.read(values)
        writing = room.open(asked)
    except FormProblems as problems:
        return _page(typed, problems=problems.fields), 400
    except UserError as error:
        return _page(typed, message=str(error)), 400
    except Busy:
        return _page(typed, message=BUSY), 503, {"Retry-After": str(room.settings.retry_after_seconds)}
    try:
        text = "".join(writing.pieces())
    except UserError as error:
        return _page(typed, message=str(error)), 400
    answer = Answer(asked.prompt, text, answer_facts(asked, writing.outcome, room.settings))
    return _page(typed | {"prompt": asked.prompt}, answer=answer)


@routes.post("/stream")
def stream() -> Response | tuple[Response, int] | tuple[Response, int, dict[str, str]]:
    """Answer with one JSON object a line: pieces of text, then how the text was made."""
    room = _room()
    try:
        values = json_fields(request.get_data()) if request.is_json else _form_values()
        asked = room.read(values)
        writing = room.open(asked)
    except FormProblems as problems:
        return jsonify(error=str(problems), fields=problems.fields), 400
    except UserError as error:
        return jsonify(error=str(error)), 400
    except Busy:
        return jsonify(error=BUSY), 503, {"Retry-After": str(room.settings.retry_after_seconds)}
    response = Response(_lines(writing, asked, room.settings), mimetype="application/x-ndjson")
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["X-Unrolled-Seed"] = str(writing.seed)
    response.call_on_close(writing.close)
    return response


@routes.get("/health")
def health() -> Response:
    """Say that the server answers."""
    return jsonify(status="ok")


def _lines(writing: Writing, asked: WriteRequest, settings: WebSettings) -> Iterator[str]:
    try:
        for piece in writing.pieces():
            yield _line({"text": piece})
        yield _line(answer_facts(asked, writing.outcome, settings))
    except UserError as error:
        yield _line({"error": str(error)})
    except Exception:
        LOG.exception("generation failed")
        yield _line({"error": BROKEN})


def _line(value: dict[str, object]) -> str:
    return json.dumps(value) + "\n"


def _form_values() -> dict[str, list[object]]:
    """Return all values sent under each name; a body of another type is refused rather than read as an empty form."""
    if request.content_length and request.mimetype not in FORM_TYPES:
        abort(415, "Send the fields as a form or, to /stream, as a JSON object.")
    values: dict[str, list[object]] = {name: list(sent) for name, sent in request.form.lists()}
    for name, files in request.files.lists():
        values.setdefault(name, []).extend(files)
    return values


def _page(
    typed: dict[str, str],
    *,
    problems: dict[str, str] | None = None,
    message: str | None = None,
    answer: Answer | None = None,
) -> str:
    """Render the page with the form filled in as typed."""
    room = _room()
    fields = number_fields(room.settings)
    chosen = typed.get("model")
    return render_template(
        "page.html",
        version=__version__,
        models=room.models,
        chosen=chosen if chosen in room.models else next(iter(room.models)),
        fields=fields,
        typed={field.name: plain_number(field.default) for field in fields} | typed,
        presets=PRESETS,
        settings=room.settings,
        problems=problems or {},
        message=message,
        answer=answer,
        following=continuation_of(answer.prompt, answer.text, room.settings) if answer else None,
    )


def _guard() -> None:
    """Answer only to the server's own names, and run nothing for a form that another site submits."""
    if not host_is_allowed(request.environ.get("HTTP_HOST"), _room().settings):
        abort(400, "This server does not answer to that host name; open it by the address that it printed.")
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        abort(403, "This form was sent by another site; please use the page of this server.")


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store, no-cache"
    return response


def _http_error(error: HTTPException) -> Response:
    """Turn any HTTP error into a plain page, or into JSON where a script asked; status and headers stay."""
    code = error.code or 500
    if code < 400:
        return error.get_response()
    if code == 413:
        text = "That is more than this server reads at once; please send a shorter prompt."
    else:
        text = error.description or BROKEN
    response = error.get_response()
    if request.path in ("/stream", "/health"):
        response.data, response.mimetype = json.dumps({"error": text}), "application/json"
    else:
        response.data = render_template("error.html", code=code, name=error.name, text=text)
    return response


def _unexpected_error(error: Exception) -> Response | tuple[Response, int] | tuple[str, int]:
    """Note an error that nobody foresaw, and show a visitor nothing of it."""
    LOG.error("unexpected error", exc_info=error)
    if request.path == "/stream":
        return jsonify(error=BROKEN), 500
    return render_template("error.html", code=500, name="Server error", text=BROKEN), 500
