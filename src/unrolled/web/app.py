"""The Flask application: the main page, its stream and a health check; the history and the API have their own modules.

A request is validated before the first byte of its answer, so that a bad one is a 400 with a message, never a truncated
text. Each request has its own random generator and state; models are shared and read-only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flask import Blueprint, Flask, Response, jsonify, render_template, request
from werkzeug.middleware.proxy_fix import ProxyFix

from unrolled.errors import UserError
from unrolled.serving.models import ModelFolder
from unrolled.serving.session import GenerationSession
from unrolled.serving.settings import WebSettings
from unrolled.version import __version__
from unrolled.web.api import routes as api_routes
from unrolled.web.context import BROKEN, REFUSALS, AppContext, app_context
from unrolled.web.history import pages as history_pages
from unrolled.web.history.history import History, default_history_file
from unrolled.web.pages.form_fields import (
    OWN,
    SAMPLING_STYLES,
    STOP,
    UNKNOWN,
    number_fields,
    plain_number,
    shown_values,
)
from unrolled.web.pages.form_reading import json_fields
from unrolled.web.pages.view import Answer, answer_facts, continuation_of, model_card
from unrolled.web.security import answers
from unrolled.web.security.prefix import PrefixStripped

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel

LOG = logging.getLogger("unrolled.web")

routes = Blueprint("web", __name__)


def create_app(
    models: Sequence[TrainedModel | ModelFolder], settings: WebSettings | None = None, history: History | None = None
) -> Flask:
    """Build the application around models; the first one is offered first.

    Args:
        models: loaded models, or folders of models that are loaded on first use.
        settings: limits, addresses and history.
        history: where samples are stored; None: according to `settings.history`, where `auto` means `off` here.

    Raises:
        ValueError: `models` is empty.
        UserError: the history cannot be opened.
    """
    if not models:
        raise ValueError("the web application needs at least one model")
    app = Flask("unrolled.web")
    settings = WebSettings() if settings is None else settings
    if history is None and settings.history in ("on", "hidden"):
        history = open_history(settings)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.json.sort_keys = False
    app.extensions["unrolled"] = AppContext(models, settings, history)
    for blueprint in (routes, history_pages.routes, api_routes.routes):
        app.register_blueprint(blueprint)
    answers.install(app)
    if settings.prefix or settings.behind_proxy:
        app.wsgi_app = PrefixStripped(app.wsgi_app, settings.prefix)
    if settings.behind_proxy:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1, x_prefix=1)
    return app


def open_history(settings: WebSettings) -> History:
    """Open the history that the settings name.

    Raises:
        UserError: its file cannot be used.
    """
    file = default_history_file() if settings.history_file is None else settings.history_file
    return History(file, settings.keep_days)


@routes.get("/")
def home() -> str | tuple[str, int]:
    """Show the empty page for the model in the query string (`?model=ID`)."""
    context = app_context()
    asked = request.args.get("model", context.default_id)
    if asked not in context.models:
        problem = f"There is no model “{asked[:80]}”; choose one of {', '.join(context.models)}."
        return _page({"prompt": context.settings.default_prompt}, problems={"model": problem}), 400
    return _page({"prompt": context.settings.default_prompt, "model": asked})


@routes.post("/")
def write() -> str | tuple[str, int, dict[str, str]]:
    """Answer the plain form with the complete text on a new page."""
    context, values = app_context(), answers.form_values()
    typed = {name: sent[0] for name, sent in values.items() if isinstance(sent[0], str)}
    style = _style_values(values.get("preset"), typed.get("model"))
    if style is not None:
        return _page(typed | style)
    try:
        session = context.open(context.read(values))
        text = "".join(session.deltas())
    except REFUSALS as error:
        body, status, headers = context.refusal(error)
        problems = body.get("fields")
        return _page(typed, problems=problems, message=None if problems else body["error"]), status, headers
    facts = answer_facts(session, context.settings, context.keep(session, "page"))
    return _page(typed | {"prompt": session.prompt}, answer=Answer(session.prompt, text, facts))


@routes.post("/stream")
def stream() -> Response | tuple[Response, int, dict[str, str]]:
    """Answer with one JSON object per line: the text in deltas, then the facts about it."""
    context = app_context()
    try:
        values = json_fields(request.get_data()) if request.is_json else answers.form_values()
        session = context.open(context.read(values))
    except REFUSALS as error:
        body, status, headers = context.refusal(error)
        return jsonify(body), status, headers
    response = Response(_lines(session, context), mimetype="application/x-ndjson")
    response.headers["X-Accel-Buffering"] = "no"  # nginx then forwards each line immediately
    response.headers["X-Unrolled-Seed"] = str(session.seed)
    response.call_on_close(session.close)
    return response


@routes.get("/health")
def health() -> Response:
    """Report that the server is up."""
    return jsonify(status="ok")


def _lines(session: GenerationSession, context: AppContext) -> Iterator[str]:
    deltas = session.deltas()
    try:
        for text in deltas:
            yield _line({"text": text})
    except GeneratorExit:  # the client left
        deltas.close()
        context.keep(session, "page")
        raise
    except UserError as error:
        yield _line({"error": str(error)})
    except Exception:
        LOG.exception("generation failed")
        yield _line({"error": BROKEN})
    else:
        yield _line(answer_facts(session, context.settings, context.keep(session, "page")))


def _line(value: dict[str, object]) -> str:
    return json.dumps(value) + "\n"


def _style_values(sent: list[object] | None, model_id: str | None) -> dict[str, str] | None:
    """Return the field values that the button of a sampling style sets, or None if no button was pressed."""
    context = app_context()
    if sent == [OWN] and model_id in (None, "", *context.models):
        return shown_values(context.models[model_id or context.default_id].sampling, context.settings)
    chosen = next((style for style in SAMPLING_STYLES if sent == [style.name]), None)
    return None if chosen is None else {name: plain_number(value) for name, value in chosen.values.items()}


def _page(
    typed: dict[str, str],
    *,
    problems: dict[str, str] | None = None,
    message: str | None = None,
    answer: Answer | None = None,
) -> str:
    """Render the page with the form as typed and the chosen model's own settings in all other fields."""
    context = app_context()
    cards = {served.id: model_card(served, context.settings) for served in context.models.values()}
    chosen = cards.get(typed.get("model", ""), cards[context.default_id])
    return render_template(
        "page.html",
        version=__version__,
        models=cards,
        chosen=chosen,
        fields=number_fields(context.settings),
        stop=STOP,
        choice=UNKNOWN,
        typed={"seed": ""} | chosen.values | typed,
        styles=SAMPLING_STYLES,
        settings=context.settings,
        problems={} if problems is None else problems,
        message=message,
        answer=answer,
        following=continuation_of(answer.prompt, answer.text, context.settings) if answer else None,
        kept=context.history,
        browsable=context.shown_history,
    )
