"""Prompt banks: which domains there are, and the sentences that describe each.

A bank is a small YAML or JSON file::

    description: Weather, whatever the time of day.
    templates:                       # each is filled with every synonym
      - a photo taken in {domain}
    domains:                         # key: synonyms
      fog: [fog, dense fog]

A bank may instead be the product of others. Its keys are theirs joined by ``_``, and its templates
name them::

    product: [weather, time_of_day]
    templates:
      - a photo taken in {weather} {time_of_day}

``K`` is the number of domains of a bank, ``P`` of some prompts.
"""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from torch import Tensor

from ..utils import printable, read_mapping, resolve_below

_FOLDER = Path(__file__).parent / "banks"
_SUFFIXES = (".yaml", ".yml", ".json")
_KEY = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


@dataclass(frozen=True)
class Domain:
    """One domain of a bank.

    Attributes:
        key: Its name in scores, tables and file names: lower case, digits and single ``_``.
        synonyms: What fills the templates; for a product bank, one value a factor.
        prompts: All templates filled with all synonyms.
    """

    key: str
    synonyms: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class PromptBank:
    """``K`` domains and the prompts of each; see :func:`load_prompt_bank`."""

    name: str
    description: str
    templates: tuple[str, ...]
    domains: tuple[Domain, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The ``K`` domain keys, in the order of every score vector and table."""
        return tuple(domain.key for domain in self.domains)

    @property
    def sha256(self) -> str:
        """Hash of what the encoder sees: the keys and prompts in order, not the file's layout."""
        content = [[domain.key, list(domain.prompts)] for domain in self.domains]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.domains)


def list_prompt_banks() -> dict[str, str]:
    """Names and descriptions of the banks that come with the package."""
    return {
        path.stem: read_mapping(path).get("description", "")
        for path in sorted(_FOLDER.glob("[!.]*.yaml"))
    }


def load_prompt_bank(bank: str | Path | PromptBank) -> PromptBank:
    """Load a prompt bank.

    Args:
        bank: The name of a bank of the package, the path of a YAML or JSON file, or a bank, which
            is returned as it is.

    Raises:
        ValueError: If there is no such bank, or the file does not describe one. The message lists
            the names there are, or names the file and the entry at fault.
    """
    if isinstance(bank, PromptBank):
        return bank
    path = Path(bank)
    if path.suffix.lower() in _SUFFIXES:
        if not path.is_file():
            raise ValueError(f"there is no prompt bank file {path}")
    else:
        path = _FOLDER / f"{bank}.yaml"
        if not path.is_file():
            names = ", ".join(sorted(p.stem for p in _FOLDER.glob("[!.]*.yaml")))
            raise ValueError(
                f"unknown prompt bank {str(bank)!r}. The package has: {names}. A bank of your own "
                "is given as the path of its YAML or JSON file."
            )
    try:
        return _parse(path.stem, read_mapping(path), path.parent)
    except ValueError as error:
        raise ValueError(f"prompt bank {printable(path)}: {error}") from error


def cut_prompts(
    tokenize: Callable[[list[str], int], Tensor], prompts: Sequence[str], length: int
) -> list[str]:
    """Those of some prompts of which a tokenizer leaves out words.

    Args:
        tokenize: Gives the token numbers ``(P, length)`` of ``P`` prompts, cut or filled to a
            length.
        prompts: The ``P`` prompts.
        length: How many tokens are read, start and end included.
    """
    if not prompts:
        return []
    longest = max(length, max(len(prompt) for prompt in prompts)) + 8
    short, whole = (tokenize(list(prompts), n) for n in (length, longest))
    rest = whole[:, length:]
    # A prompt that fits is only filled up; one that does not has its end moved.
    cut = (whole[:, :length] != short).any(dim=1) | (rest != rest[:, -1:]).any(dim=1)
    return [prompt for prompt, is_cut in zip(prompts, cut.tolist(), strict=True) if is_cut]


def _parse(name: str, content: Mapping, folder: Path) -> PromptBank:
    unknown = set(content) - {"description", "templates", "domains", "product"}
    if unknown:
        raise ValueError(
            f"unknown entries {sorted(unknown)}; a bank has `description`, `templates` and either "
            "`domains` or `product`"
        )
    if ("domains" in content) == ("product" in content):
        raise ValueError("exactly one of `domains` and `product` is needed")
    templates = _strings(content.get("templates"), "templates")
    if "product" in content:
        fields = _strings(content["product"], "product")
        synonyms = _product(fields, folder)
    else:
        fields = ("domain",)
        synonyms = _synonyms(content["domains"])
    _check_templates(templates, fields)
    domains = tuple(
        Domain(
            key,
            values,
            tuple(
                template.format(**dict(zip(fields, value, strict=True)))
                for template in templates
                for value in values
            ),
        )
        for key, values in synonyms.items()
    )
    return PromptBank(name, str(content.get("description", "")), templates, domains)


def _strings(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ValueError(f"`{where}` must be a list of one or more strings, got {value!r}")
    for entry in value:
        if not isinstance(entry, str) or not entry.strip():
            # YAML reads bare no, off and numbers as something else.
            raise ValueError(f"`{where}` holds {entry!r}, which is not text; quote it")
    return tuple(value)


def _synonyms(domains: object) -> dict[str, tuple[tuple[str, ...], ...]]:
    if not isinstance(domains, Mapping) or len(domains) < 2:
        raise ValueError(f"`domains` must map two or more keys to their synonyms, got {domains!r}")
    for key in domains:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(
                f"domain key {key!r} must be lower-case letters and digits joined by single '_'"
            )
    return {
        key: tuple((text,) for text in _strings(values, f"domains.{key}"))
        for key, values in domains.items()
    }


def _product(names: Sequence[str], folder: Path) -> dict[str, tuple[tuple[str, ...], ...]]:
    if len(names) < 2:
        raise ValueError(f"`product` must name two or more banks, got {list(names)}")
    factors = []
    for name in names:
        # A user's own product may combine files beside it with banks of the package.
        beside = [
            resolve_below(folder, f"{name}{suffix}", "`product`", links="any")
            for suffix in _SUFFIXES
        ]
        path = next((p for p in beside if p.is_file()), _FOLDER / f"{name}.yaml")
        if not path.is_file():
            raise ValueError(f"`product` names {name!r}, which is neither beside it nor built in")
        factors.append(_synonyms(read_mapping(path).get("domains")))
    result = {}
    for keys in itertools.product(*factors):
        combined = itertools.product(*(factor[k] for factor, k in zip(factors, keys, strict=True)))
        result["_".join(keys)] = tuple(tuple(itertools.chain(*texts)) for texts in combined)
    return result


def _check_templates(templates: Sequence[str], fields: Sequence[str]) -> None:
    for template in templates:
        try:
            found = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        except ValueError as error:
            raise ValueError(f"template {template!r}: {error}") from error
        if sorted(found) != sorted(fields):
            wanted = " and ".join(f"{{{field}}}" for field in fields)
            raise ValueError(f"template {template!r} must name {wanted} once each")
