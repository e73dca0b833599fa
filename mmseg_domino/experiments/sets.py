"""Sets: one file that names a base config and, by name, what each condition changes in it.

::

    base = "../domino_vpd_cityscapes.py"
    conditions = {
        "soft": dict(),
        "oracle": dict(domino=dict(source="oracle")),
        "joint": dict(model=dict(neck=dict(domain_channels="{{base.joint_channels}}"))),
    }

Paths are relative to the set's file. A condition is merged into its base as MMEngine merges
``--cfg-options`` (``_delete_`` and dotted keys included), ``"{{base.KEY}}"`` stands for a value of
the base, and a condition may name a ``base`` of its own. A plain config is a set of one.
"""

import copy
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

from mmengine.config import Config

_NAME = re.compile(r"\w[\w.+=-]*")
_REFERENCE = re.compile(r"\{\{\s*base\.([\w.]+)\s*\}\}")


class SetError(ValueError):
    """A set that cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class ConfigSet:
    """Conditions that are compared.

    Attributes:
        path: The set's file.
        name: Of the set: the stem of its file.
        base: Config that the conditions change; ``None`` if each names its own.
        conditions: What each changes, by name, in the order of the file.
    """

    path: Path
    name: str
    base: Path | None
    conditions: Mapping[str, Mapping[str, Any]]
    _bases: dict[Path, Config] = field(default_factory=dict, repr=False, compare=False)

    def rebased(self, base: str | os.PathLike) -> "ConfigSet":
        """The same conditions on another base.

        Raises:
            SetError: If that base does not exist, or conditions name bases of their own.
        """
        if self.base == self.path.resolve():
            raise SetError(f"{self.path} is a config and no set; run it without --base")
        own = [name for name, changes in self.conditions.items() if "base" in changes]
        if own:
            raise SetError(
                f"{self.path}: the conditions {', '.join(own)} compare bases, so none can stand in "
                "for them; run this set without --base"
            )
        return replace(self, base=_existing(Path(base), self.path), _bases={})

    def resolve(self, name: str) -> Config:
        """The complete config of a condition; each base is read once.

        Raises:
            SetError: If there is no such condition, its base does not exist, or it refers to what
                the base has not.
        """
        if name not in self.conditions:
            raise SetError(
                f"{self.path} has no condition {name!r}; it has {', '.join(self.conditions)}"
            )
        changes = copy.deepcopy(dict(self.conditions[name]))
        own = changes.pop("base", None)
        base = self.base if own is None else _existing(self.path.parent / own, self.path)
        if base is None:
            raise SetError(f"{self.path}: neither the set nor the condition {name} names a base")
        if base not in self._bases:
            self._bases[base] = Config.fromfile(base, format_python_code=False)
        config = copy.deepcopy(self._bases[base])
        config.merge_from_dict(_substitute(changes, config, f"{self.path}: {name}"))
        # MMEngine names what it writes into the work folder after the config's file.
        return Config(config.to_dict(), config.text, f"{name}.py", format_python_code=False)


def _existing(base: Path, path: Path) -> Path:
    if not base.is_file():
        raise SetError(f"{path}: the base {base} does not exist")
    return base.resolve()


def _substitute(value: Any, base: Config, where: str) -> Any:
    """Put values of the base in the place of ``"{{base.KEY}}"``."""
    if isinstance(value, Mapping):
        return {key: _substitute(child, base, where) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_substitute(child, base, where) for child in value)
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    try:
        return copy.deepcopy(reduce(lambda node, key: node[key], match[1].split("."), base))
    except (KeyError, TypeError):
        raise SetError(f"{where} refers to {match[1]}, which its base has not") from None


def load_set(path: str | os.PathLike) -> ConfigSet:
    """Read a set.

    Args:
        path: A Python file with ``conditions`` and, unless each condition names one, ``base``; or
            a plain config, which is the one condition, called as the file, of a set that is called
            as the folder.

    Raises:
        SetError: If the file does not exist or its conditions are no such thing.
    """
    path = Path(path)
    if not path.is_file():
        raise SetError(f"{path} does not exist; give the file of a set or a config")
    config = Config.fromfile(path, format_python_code=False)
    if "conditions" not in config:
        own = path.resolve()
        return ConfigSet(path, own.parent.name, own, {path.stem: {}}, {own: config})
    conditions = config.to_dict()["conditions"]
    if not isinstance(conditions, Mapping) or not conditions:
        raise SetError(f"{path}: expected conditions = {{name: changes}}, got {conditions!r}")
    for name, changes in conditions.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SetError(f"{path}: a condition cannot be called {name!r}; it names a folder")
        if not isinstance(changes, Mapping):
            raise SetError(f"{path}: {name} must be a dict of changes, got {changes!r}")
    base = config.get("base")
    if base is not None:
        base = _existing(path.parent / base, path)
    return ConfigSet(path, path.stem, base, conditions)
