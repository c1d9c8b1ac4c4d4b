"""The history in the browser: search, page through, delete and export."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from flask import Blueprint, Response, abort, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response as WerkzeugResponse

from unrolled.text.unicode import well_formed
from unrolled.version import __version__
from unrolled.web.context import app_context
from unrolled.web.history.exports import as_csv, as_json_lines, time_words
from unrolled.web.history.history import History, HistoryTrouble, Query
from unrolled.web.security.answers import form_values

PAGE_SIZE = 20
LONGEST_SEARCH = 200
EXPORTS = {"csv": (as_csv, "text/csv; charset=utf-8"), "jsonl": (as_json_lines, "application/x-ndjson")}

routes = Blueprint("history", __name__)


@routes.get("/history")
def browse() -> str:
    """Show a page of the entries that match a search, newest first."""
    history, query = _history(), _query(request.args)
    history.check()
    found = history.count(query)
    pages = max(1, -(-found // PAGE_SIZE))
    number = min(_page_number(request.args.get("page", "1")), pages)
    entries = history.page(query, (number - 1) * PAGE_SIZE, PAGE_SIZE)
    return render_template(
        "history.html",
        version=__version__,
        history=history,
        query=query,
        entries=entries,
        found=found,
        number=number,
        pages=pages,
        models=history.models(),
        public=app_context().settings.public,
        time_words=time_words,
        address=_address,
    )


@routes.post("/history")
def delete() -> WerkzeugResponse:
    """Delete one entry (`delete=ID`) or all that match the search (`delete=matching`), and show the rest."""
    history, values = _history(), MultiDict(form_values())
    query, which = _query(values), str(values.get("delete", ""))
    if which == "matching":
        history.delete_matching(query)
    elif which.isascii() and which.isdigit() and len(which) < 19:
        history.delete(int(which))
    else:
        abort(400, "Say which sample to delete: its number, or “matching” for all that match the search.")
    return redirect(f"./history{_address(query)}", 303)


@routes.get("/history.<kind>")
def export(kind: str) -> Response:
    """Send all entries that match a search as a file."""
    if kind not in EXPORTS:
        abort(404, f"The history is exported as {' or '.join(f'history.{name}' for name in EXPORTS)}.")
    write, content_type = EXPORTS[kind]
    history, query = _history(), _query(request.args)
    history.count(query)  # reports an unreadable file before the first byte of the answer
    response = Response(write(history.entries(query)), content_type=content_type)
    response.headers["Content-Disposition"] = f"attachment; filename=unrolled-history.{kind}"
    return response


@routes.errorhandler(HistoryTrouble)
def trouble(error: HistoryTrouble) -> tuple[str, int]:
    """Report that the history cannot be used now; only a local user sees the path of its file."""
    place = "" if app_context().settings.public else f" It is the file {_history().file}."
    return render_template("error.html", code=503, name="History not available", text=f"{error}{place}"), 503


def _history() -> History:
    history = app_context().shown_history
    if history is None:
        abort(404, "This server does not store a history, or does not show it.")
    return history


def _query(values: Mapping[str, object]) -> Query:
    """Return the search in a query string or a form."""
    return Query(*(well_formed(str(values.get(name, "")))[:LONGEST_SEARCH].strip() for name in ("q", "model")))


def _page_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10):
        abort(400, "A page has a number from 1 on.")
    return max(1, int(text))


def _address(query: Query, **more: object) -> str:
    """Return a search as a query string."""
    values = {"q": query.text, "model": query.model, **more}
    pairs = urlencode({name: value for name, value in values.items() if value != ""})
    return f"?{pairs}" if pairs else ""
