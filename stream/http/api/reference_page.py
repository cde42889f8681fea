"""The OpenAPI document as a page to read: plain HTML from this process, without scripts or anything from elsewhere."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from stream.config.settings import Settings
from stream.http.api.openapi import openapi_document

__all__ = ["docs_page"]

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .4rem; }
h2 code { font-size: 1rem; } .method { background: #0a6e5c; color: #fff; padding: .1rem .45rem; border-radius: .25rem; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8884; }
td:first-child { white-space: nowrap; width: 10rem; }
pre { overflow-x: auto; background: #8881; padding: .8rem; border-radius: .25rem; font-size: .85rem; }
"""


def docs_page(settings: Settings, *, has_tokens: bool) -> str:
    """Return the page as HTML."""
    document = openapi_document(settings, has_tokens=has_tokens)
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(info['title'])}: HTTP interface</title><style>{STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['summary'])}</p>",
        f'<p>For programs: <a href="/openapi.json">openapi.json</a> (OpenAPI 3.1). {_admission(has_tokens)}</p>',
    ]
    for path, item in document["paths"].items():
        parts += [_operation(path, method, item) for method in ("get", "post") if method in item]
    parts += [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    return "\n".join([*parts, "</html>"])


def _admission(has_tokens: bool) -> str:
    if not has_tokens:
        return "No token is asked for."
    return "Paths under <code>/v1</code> want the header <code>Authorization: Bearer TOKEN</code>."


def _operation(path: str, method: str, item: dict[str, Any]) -> str:
    operation = item[method]
    lines = [
        f'<h2><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2>',
        f"<p><b>{escape(operation['summary'])}.</b> {_prose(operation.get('description', ''))}</p>",
    ]
    if body := operation.get("requestBody"):
        lines += [f"<p>Body: {', '.join(map(_code, body['content']))}, {_names(body['content'])}.</p>"]
    parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
    lines += _table(
        "Parameter",
        ((f"{_code(each['name'])} ({each['in']})", _prose(each["description"])) for each in parameters),
    )
    answers = sorted(operation["responses"].items())
    lines += _table("Answer", ((_code(status), _prose(each["description"])) for status, each in answers))
    return "\n".join(lines)


def _names(content: dict[str, Any]) -> str:
    """Return which schemas a body may have."""
    choices = [choice for media in content.values() for choice in media["schema"]["anyOf"]]
    return " or ".join(
        f"an array of {_link(choice['items'])}" if "items" in choice else f"one {_link(choice)}" for choice in choices
    )


def _link(schema: dict[str, str]) -> str:
    name = escape(schema["$ref"].rpartition("/")[2])
    return f'<a href="#{name}">{name}</a>'


def _schema(name: str, schema: dict[str, Any]) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    summary = f"<h2 id={json.dumps(escape(name))}>{escape(name)}</h2><p>{_prose(schema.get('description', ''))}</p>"
    return f"{summary}<details><summary>JSON Schema</summary><pre>{text}</pre></details>"


def _table(head: str, rows: Iterator[tuple[str, str]]) -> list[str]:
    cells = [f"<tr><td>{left}</td><td>{right}</td></tr>" for left, right in rows]
    return [f"<table><tr><th>{head}</th><th></th></tr>", *cells, "</table>"] if cells else []


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    """Return text as HTML; what stands between backticks is code."""
    parts = text.split("`")
    return "".join(_code(part) if number % 2 else escape(part) for number, part in enumerate(parts))
