"""The web application: one page that writes with a trained model.

`application` builds the Flask app, `forms` reads what visitors send, `writing` owns running texts, `page` puts facts
into words, `hosts` guards the name, `server` binds and serves. Nothing here prints.
"""

from unrolled.web.application import create_app
from unrolled.web.server import serve, serve_models
from unrolled.web.settings import WebSettings

__all__ = ["WebSettings", "create_app", "serve", "serve_models"]
