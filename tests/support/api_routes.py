"""The routes of an OpenAPI document, with the smallest bodies that they take."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from deploy.local.demo.picture import shoe_box

BOUNDARY: Final = "part"
NOBODY: Final = "0" * 32
_METHODS: Final = frozenset({"get", "put", "post", "patch", "delete", "head", "options"})
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation; `schema` is its body's, without references, None where it takes none."""

    method: str
    path: str
    schema: Mapping[str, Any] | None
    media_type: str | None
    statuses: frozenset[str]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        return re.findall(r"{(\w+)(?::\w+)?}", self.path)

    def filled(self, ids: Mapping[str, str]) -> str:
        """The path with these ids; the others are nobody's."""
        return re.sub(r"{(\w+)(?::\w+)?}", lambda found: ids.get(found[1], NOBODY), self.path)

    @property
    def members(self) -> Mapping[str, Any]:
        return {} if self.schema is None else self.schema.get("properties", {})

    def body(self, **members: Any) -> Any:
        """The smallest body by the schema, with these members in it."""
        if self.schema is None:
            return None
        if self.media_type == "multipart/form-data":
            return multipart(self.schema)
        return {**smallest(self.schema), **members}

    @property
    def headers(self) -> dict[str, str]:
        if self.media_type == "multipart/form-data":
            return {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        return {}


def routes_of(document: Mapping[str, Any]) -> Iterator[Route]:
    """Every operation of the document."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method not in _METHODS:
                continue
            content = operation.get("requestBody", {}).get("content", {})
            media_type = next(iter(content), None)
            schema = None
            if media_type is not None:
                schema = _resolved(content[media_type].get("schema", {}), document)
                if "properties" not in schema:
                    schema = next(_objects(schema), schema)
            yield Route(method.upper(), path, schema, media_type, frozenset(operation["responses"]))


def _objects(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Of a choice, what is an object."""
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if "properties" in choice:
            yield choice


def _resolved(schema: Any, document: Mapping[str, Any], depth: int = 0) -> Any:
    if depth > 12:
        return {}
    if isinstance(schema, list):
        return [_resolved(each, document, depth) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return _resolved(document["components"]["schemas"][name], document, depth + 1)
    return {key: _resolved(value, document, depth + 1) for key, value in schema.items()}


def smallest(schema: Mapping[str, Any]) -> Any:
    """The least that the schema takes: its example if it has one, else required members only."""
    if examples := schema.get("examples"):
        return examples[0]
    for name in ("default", "const", "example"):
        if name in schema:
            return schema[name]
    if "enum" in schema:
        return schema["enum"][0]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return smallest(choices[0])
    match schema.get("type"):
        case "object":
            members = schema.get("properties", {})
            return {name: smallest(members[name]) for name in schema.get("required", ())}
        case "array":
            return [smallest(schema["items"]) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return int(schema.get("minimum", 1))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema)


def _text(schema: Mapping[str, Any]) -> str:
    number = next(_numbers)
    pattern = schema.get("pattern", "")
    if schema.get("format") == "date-time":
        return (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    if "https?" in pattern or schema.get("format") == "uri":
        return f"https://hook{number}.test/in"
    if pattern == "^[0-9a-f]+$":
        return NOBODY
    # An e-mail address is also a name, an id and a password to whoever asks for less.
    return f"e{number}@x.test" if "pattern" not in schema else f"t{number}"


def multipart(schema: Mapping[str, Any]) -> bytes:
    """A form with a picture in each member that is a file."""
    parts = []
    for name in schema.get("required", schema.get("properties", {})):
        head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"; filename="a.png"'
        parts.append(f"{head}\r\ncontent-type: image/png\r\n\r\n".encode() + shoe_box() + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
