"""What all views share: the models by id, the settings, the generation slots and the history."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from flask import current_app, request

from unrolled.errors import UserError
from unrolled.serving.loading import ModelLoader, ModelLoading, ModelUnavailable
from unrolled.serving.models import ModelFolder, NoSuchModel, served_models
from unrolled.serving.request import GenerationRequest
from unrolled.serving.session import Busy, GenerationSession, GenerationSlots
from unrolled.serving.settings import WebSettings
from unrolled.web.history.history import Entry, History
from unrolled.web.pages.form_reading import FormProblems, read_fields

if TYPE_CHECKING:
    from unrolled.trained import TrainedModel

BUSY = "The server is busy with other requests; please try again in a few seconds."
REFUSALS = (UserError, Busy)
BROKEN = "Something went wrong on the server; the error was logged. Please try again."


class AppContext:
    """One per application; views get it from `app_context`."""

    def __init__(
        self, models: Sequence[TrainedModel | ModelFolder], settings: WebSettings, history: History | None
    ) -> None:
        self.while_waiting: Callable[[], AbstractContextManager] = nullcontext  # a server adds a thread while one waits

        def waiting() -> AbstractContextManager:
            return self.while_waiting()

        limits = (settings.models_at_once, settings.load_seconds, settings.requests_waiting_for_loads)
        self.models = served_models(models, ModelLoader(not settings.public, *limits, waiting))
        self.settings = settings
        self.slots = GenerationSlots(settings, while_waiting=waiting)
        self.history = history

    @property
    def default_id(self) -> str:
        """The id of the first model."""
        return next(iter(self.models))

    @property
    def shown_history(self) -> History | None:
        """The history, if clients may read it."""
        return None if self.settings.history == "hidden" else self.history

    def read(self, values: dict[str, list[object]]) -> GenerationRequest:
        """Validate submitted fields; see `read_fields`."""
        return read_fields(values, self.settings, list(self.models))

    def open(self, generation: GenerationRequest) -> GenerationSession:
        """Load the model of a request and take a slot, waiting if necessary; see `GenerationSlots.open`."""
        is_gone = request.environ.get("waitress.client_disconnected", lambda: False)
        return self.slots.open(self.models[generation.model_id].ready, generation, is_gone)

    def refusal(self, error: UserError | Busy) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Return the refusal of a request: the JSON body, the status and the headers."""
        if isinstance(error, Busy):
            return {"error": BUSY}, 503, {"Retry-After": str(error.retry_after)}
        body: dict[str, Any] = {"error": str(error)}
        if isinstance(error, NoSuchModel):
            return body | {"models": error.known}, 404, {}
        if isinstance(error, FormProblems):
            return body | {"fields": error.fields}, 400, {}
        if isinstance(error, ModelLoading):
            return body, 503, {"Retry-After": str(self.slots.retry_after())}
        return body, 503 if isinstance(error, ModelUnavailable) else 400, {}

    def keep(self, session: GenerationSession, source: str) -> str | None:
        """Add the samples to the history; return a sentence for the reader if that failed."""
        if self.history is None:
            return None
        settings = session.sampling.model_dump(mode="json", exclude={"n", "seed"})
        facts = (time.time(), source, session.model_id, session.prompt)
        seconds = round(session.outcome.seconds, 3)
        return self.history.keep(
            [
                Entry(*facts, sample.text, sample.finish_reason, sample.tokens, seconds, sample.seed, settings)
                for sample in session.samples
            ]
        )


def app_context() -> AppContext:
    """Return the context of the application that handles the current request."""
    return current_app.extensions["unrolled"]
