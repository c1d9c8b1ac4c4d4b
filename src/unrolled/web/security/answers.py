"""Rules for all requests and answers: accepted hosts, security headers, and errors as pages or JSON."""

from __future__ import annotations

import json
import logging

from flask import Flask, Response, abort, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from unrolled.web.context import BROKEN, app_context
from unrolled.web.security.hosts import host_is_allowed, hosts_of, is_own_site
from unrolled.web.security.prefix import relative

LOG = logging.getLogger("unrolled.web")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
OTHER_HOST = "Open the address that it printed, or start it with --allow-host and the name."
FOR_PROGRAMS = ("/stream", "/health", "/openapi.json")  # and everything below /api/: errors are JSON there


def install(app: Flask) -> None:
    """Install the rules in an application."""
    app.before_request(_guard)
    app.after_request(_harden)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)
    app.jinja_env.globals["link"] = lambda target: relative(request.path, target)


def form_values() -> dict[str, list[object]]:
    """Return all values sent under each name; a body of another type is refused, not read as an empty form."""
    if request.content_length and request.mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        abort(415, "Send the fields as a form or, to /stream, as a JSON object.")
    values: dict[str, list[object]] = {name: list(sent) for name, sent in request.form.lists()}
    for name, files in request.files.lists():
        values.setdefault(name, []).extend(files)
    return values


def _guard() -> None:
    """Refuse requests for foreign host names, and forms submitted by other sites."""
    hosts = hosts_of(request.environ)
    for host in hosts:
        if not host_is_allowed(host, app_context().settings):
            abort(400, f"This server does not answer to the host name {host[:80] if host else '(none)'}. {OTHER_HOST}")
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if request.method not in ("GET", "HEAD", "OPTIONS") and not is_own_site(site, origin, hosts):
        abort(403, "This form was sent by another site; please use the page of this server.")


def _harden(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"  # a stricter policy would hide the Origin of our own forms
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store, no-cache"
    return response


def _wants_json() -> bool:
    return request.path in FOR_PROGRAMS or request.path.startswith("/api/")


def _http_error(error: HTTPException) -> Response:
    """Turn an HTTP error into a plain page, or into JSON for programs; status and headers are kept."""
    code = error.code or 500
    if code < 400:
        return error.get_response()
    if code == 413:
        text = "The request is larger than this server accepts; please send a shorter prompt."
    else:
        text = error.description or BROKEN
    response = error.get_response()
    if _wants_json():
        response.data, response.mimetype = json.dumps({"error": text}), "application/json"
    else:
        response.data = render_template("error.html", code=code, name=error.name, text=text)
    return response


def _unexpected_error(error: Exception) -> Response | tuple[Response, int] | tuple[str, int]:
    """Log an unexpected error; the client sees no details."""
    LOG.error("unexpected error", exc_info=error)
    if _wants_json():
        return jsonify(error=BROKEN), 500
    return render_template("error.html", code=500, name="Server error", text=BROKEN), 500
