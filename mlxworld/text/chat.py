"""What is said to a model as the text that it was trained on: a published template (Jinja), or plain lines."""

import importlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..errors import MlxworldError
from ..files.reading import read_json, read_whole

_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")  # marks what is trained on; nothing here
MOST_BYTES = 4 << 20  # of a template
Message = dict[str, Any]  # "role": "user" or "assistant" or "system"; "content": text, or parts of it


def template(folder: str | Path) -> str | None:
    """The chat template of a model's folder: chat_template.jinja, chat_template.json, or in tokenizer_config.json."""
    folder = Path(folder)
    if (folder / "chat_template.jinja").exists():
        path = folder / "chat_template.jinja"
        try:
            return read_whole(path, MOST_BYTES, "a template").decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise MlxworldError(f"{path} is no text: {error.reason}") from error
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        about = read_json(folder / name, 256 << 20) if (folder / name).exists() else {}
        source = about.get("chat_template") if isinstance(about, dict) else None
        if isinstance(source, list):  # several, by name
            source = next(
                (x.get("template") for x in source if isinstance(x, dict) and x.get("name") == "default"), None
            )
        if isinstance(source, str):
            return source
    return None


def parts(text: str, kinds: Sequence[str] = ()) -> list[dict[str, str]]:
    """A message's parts: pictures and films (kinds "image" or "video") first, then the text."""
    return [*({"type": kind} for kind in kinds), {"type": "text", "text": text}]


def render(source: str, messages: Sequence[Message], **tokens: str | None) -> str:
    """The text of messages, up to where the model is to go on. tokens: bos_token and the like.

    Raises MlxworldError for a template that is wrong, or that refuses the messages.
    """
    try:
        jinja2 = importlib.import_module("jinja2")
        sandbox = importlib.import_module("jinja2.sandbox")
    except ImportError as error:
        raise MlxworldError('chat templates need jinja2: pip install "mlxworld[language]"') from error

    def refuse(reason: str) -> None:
        raise MlxworldError(f"the chat template refuses this: {reason}")

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda x, **options: json.dumps(x, ensure_ascii=False, **options)
    environment.globals |= {"raise_exception": refuse, "strftime_now": lambda how: datetime.now().strftime(how)}
    given = {name: token or "" for name, token in tokens.items()} | {"tools": None, "documents": None}
    source = _GENERATION.sub(lambda tag: f"{tag[1]}{'endif' if tag[2] else 'if true'}{tag[3]}", source)
    try:
        return environment.from_string(source).render(messages=list(messages), add_generation_prompt=True, **given)
    except jinja2.TemplateError as error:
        raise MlxworldError(f"the chat template cannot be used: {error}") from error
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise MlxworldError(f"the chat template does not take these messages: {error}") from error
