"""The web application: a page that generates text with trained models, a JSON API, and a history of the samples.

`app` builds the Flask application; `context` is what its views share; `server` binds an address and serves. `pages`
reads forms and renders answers, `api` is the interface for programs, `history` stores samples, `security` decides which
requests are answered, `transport` is the HTTP server. Models and generation are in `unrolled.serving`. Nothing prints.
"""

from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app
from unrolled.web.options import settings_from_options
from unrolled.web.server import serve, serve_models

__all__ = ["WebSettings", "create_app", "serve", "serve_models", "settings_from_options"]
