"""Text files that people write: name lists, YAML and JSON."""

import codecs
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .paths import printable

#: The longer mark first: UTF-32's begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: str | os.PathLike) -> str:
    """A text file in UTF-8, or in what its byte order mark says, as Windows' editors write it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is in another encoding; names the file.
    """
    content = Path(path).read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{printable(path)} is no text in UTF-8 ({error}); save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ValueError(f"{printable(path)} holds null characters; save it as UTF-8")
    return text.replace("\r\n", "\n")


def parse_json(text: str | bytes, **options: Any) -> Any:
    """``json.loads``, of which whatever is no JSON is a ``ValueError``."""
    try:
        return json.loads(text, **options)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deep") from error


def read_mapping(path: str | os.PathLike) -> dict:
    """The mapping in a JSON (by its suffix) or YAML file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no mapping, or a key stands in it twice, of which parsers would take
            the last without a word; names the file.
    """
    text = read_text(path)
    try:
        if Path(path).suffix.lower() == ".json":
            content = parse_json(text, object_pairs_hook=_distinct)
        else:
            content = yaml.load(text, _Loader)
    except (RecursionError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{printable(path)} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{printable(path)} holds {content!r:.80}, expected a mapping")
    return content


def _distinct(pairs: Sequence[tuple]) -> dict:
    keys = [key for key, _ in pairs]
    twice = sorted({repr(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"the key {', '.join(twice)} stands twice in one mapping")
    return dict(pairs)


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        # Keys that a merge (<<) brings may be repeated; that is what merging is for.
        keys = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        _distinct([(self.construct_object(key, deep=True), None) for key in keys])
        return super().construct_mapping(node, deep)
