"""Requests and answers of the JSON API as pydantic models, from which `/openapi.json` is generated.

A request is a `SamplingSettings` with the narrower limits of the server, a prompt and a model. Nothing is converted: a
number in quotes is not a number.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model, model_validator
from pydantic.json_schema import models_json_schema

from unrolled.config import SamplingSettings, sampling_range
from unrolled.serving.settings import WebSettings
from unrolled.version import __version__


class SampleAnswer(BaseModel):
    """One continuation, without the prompt."""

    text: str
    finish_reason: Literal["stop", "length", "deadline", "shutdown", "disconnected", "error"] = Field(
        description="stop: a stop string or the end of a text; length: max_tokens; deadline: too slow"
    )
    tokens: int = Field(ge=0, description="all tokens drawn, including those of a stop string")
    seed: int = Field(description="reproduces this text as the only sample")


class GenerateAnswer(BaseModel):
    """The result: the same as `unrolled generate --json`, with the model's id and warnings."""

    seed: int = Field(description="the seed used; drawn if none was given")
    samples: list[SampleAnswer]
    prompt: str
    unknown: list[str] = Field(description="parts of the prompt that the model does not know and read as unknown")
    model: str
    warnings: list[str] = Field(description="warnings for users of this model")
    note: str | None = Field(description="why a sample is shorter than requested, or was not stored")


class ModelAnswer(BaseModel):
    """A model of this server."""

    id: str
    name: str
    default: bool = Field(description="whether it is used if a request names no model")
    loaded: bool = Field(description="if false, the first request also waits for it to load")
    tokenizer: str = Field(description="kind of its tokens: character, word or bpe; token if not yet known")
    vocabulary_size: int | None
    parameters: int | None
    warnings: list[str]
    sampling: dict[str, Any] = Field(description="its own decoding settings, used for what a request does not set")


class ModelsAnswer(BaseModel):
    """All models of this server."""

    models: list[ModelAnswer]


class ErrorAnswer(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="all problems in one text")
    models: list[str] | None = Field(None, description="the ids of all models, if the requested one does not exist")


@lru_cache(maxsize=8)
def request_model(settings: WebSettings) -> type[SamplingSettings]:
    """Return the model of a request to `/api/generate`: the decoding settings within this server's limits."""
    highest = {
        "max_tokens": settings.max_tokens,
        "min_tokens": settings.max_tokens,
        "temperature": settings.max_temperature,
        "top_k": settings.max_top_k,
        "repetition_penalty": settings.max_repetition_penalty,
        "repetition_window": settings.max_repetition_window,
        "n": settings.max_samples,
    }
    kinds = {
        **{name: _number_up_to(name, most) for name, most in highest.items()},
        "stop": Annotated[tuple[_stop_text(settings), ...], Field(max_length=settings.max_stops)],
        "prompt": Annotated[str, Field(max_length=settings.max_prompt_characters, description="text to continue")],
        "model": Annotated[str | None, Field(description="an id from /api/models; null: the first model")],
    }
    own = SamplingSettings.model_fields
    defaults = {name: own[name].default for name in own} | {"prompt": "", "model": None}
    words = {name: own[name].description for name in own}
    fields = {
        name: (kind, Field(defaults[name], description=words[name]) if name in words else defaults[name])
        for name, kind in kinds.items()
    }
    check = model_validator(mode="after")(_not_too_much_together(settings.max_tokens_together))
    return create_model("GenerateRequest", __base__=SamplingSettings, __validators__={"together": check}, **fields)


def openapi_document(settings: WebSettings, root: str) -> dict[str, Any]:
    """Return the description of the JSON API in OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1.html).

    Args:
        settings: the limits that requests have here.
        root: the path under which the application is served, if known.
    """
    _, definitions = models_json_schema(
        [(request_model(settings), "validation"), *((answer, "serialization") for answer in ANSWERS)],
        ref_template="#/components/schemas/{model}",
    )
    request = definitions["$defs"]["GenerateRequest"]
    request["description"] = "A prompt and decoding settings; settings not given are the model's own (see /api/models)."
    for name, schema in request["properties"].items():
        if name not in ("prompt", "model", "n"):
            schema.pop("default", None)
    one, several = dict(request["properties"]["stop"]["items"]), request["properties"]["stop"]
    words = {name: several.pop(name) for name in ("title", "description") if name in several}
    request["properties"]["stop"] = {**words, "anyOf": [one, several]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "unrolled", "version": __version__, "description": "Text from recurrent language models."},
        "servers": [{"url": root or "."}],
        "paths": _paths(settings),
        "components": {"schemas": definitions["$defs"]},
    }


ANSWERS = (GenerateAnswer, ModelsAnswer, ErrorAnswer)


def _paths(settings: WebSettings) -> dict[str, Any]:
    busy = {"description": "Busy, or the model is still loading; retry after the seconds in Retry-After."}
    return {
        "/api/generate": {
            "post": {
                "operationId": "generate",
                "summary": "Generate text from a prompt.",
                "requestBody": {"required": True, "content": _json("GenerateRequest")},
                "responses": {
                    "200": {"description": "The samples.", "content": _json("GenerateAnswer")},
                    "400": {"description": "All problems of the request.", "content": _json("ErrorAnswer")},
                    "403": {
                        "description": "It comes from a page of another site.",
                        "content": _json("ErrorAnswer"),
                    },
                    "404": {"description": "The model does not exist.", "content": _json("ErrorAnswer")},
                    "413": {"description": "The request is too large.", "content": _json("ErrorAnswer")},
                    "415": {
                        "description": "The body is not application/json.",
                        "content": _json("ErrorAnswer"),
                    },
                    "503": busy | {"content": _json("ErrorAnswer")},
                },
            }
        },
        "/api/models": {
            "get": {
                "operationId": "models",
                "summary": "List the models and their own settings.",
                "responses": {"200": {"description": "All models.", "content": _json("ModelsAnswer")}},
            }
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _number_up_to(name: str, most: float) -> Any:
    """Return the type of a decoding setting whose upper bound is lowered to `most`."""
    low, high = sampling_range(name)
    kind = SamplingSettings.model_fields[name].annotation
    return Annotated[kind, Field(ge=low, le=min(most, high), allow_inf_nan=False if kind is float else None)]


def _stop_text(settings: WebSettings) -> Any:
    return Annotated[str, Field(min_length=1, max_length=settings.max_stop_characters)]


def _not_too_much_together(most: int):
    def check(self: SamplingSettings) -> SamplingSettings:
        asked = self.n * self.max_tokens
        if "max_tokens" in self.model_fields_set and asked > most:
            raise ValueError(f"n * max_tokens is {asked:,}; this server generates at most {most:,} tokens per request")
        return self

    return check
