"""The web application: a page that writes with trained models, a JSON interface, and a history of what was written.

`application` builds the Flask app from the pages (`application`, `history_pages`), the interface for programs (`api`,
`schemas`) and the rules for every answer (`answers`, `hosts`, `prefix`). `fields` and `forms` read what visitors send,
`models` and `opening` give out models, `writing` owns running texts, `history` and `exports` keep them, `page` puts
facts into words, `server` binds and serves. Nothing here prints.
"""

from unrolled.serving.settings import WebSettings
from unrolled.web.app import create_app
from unrolled.web.options import settings_from_options
from unrolled.web.server import serve, serve_models

__all__ = ["WebSettings", "create_app", "serve", "serve_models", "settings_from_options"]
