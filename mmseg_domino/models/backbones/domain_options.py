"""The options that mean the same for every domain-aware backbone.

``injection`` is how the domain enters, wherever it does: ``"subtract"``, ``"add"``, or ``"none"``,
which leaves the plain network whatever else is given. A part may name its own. ``centre`` is the
domain from which embeddings are measured.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...domain.encoder import DomainEncoder
from ...domain.sources import DomainText
from ...domain.store import EmbeddingStore
from ...utils.options import complete_options


def part_injection(whole: str, own: str | None, part: str) -> str:
    """How the domain enters a part; one of its own that would have no effect is refused."""
    if whole == "none" and own not in (None, "none"):
        raise ValueError(
            f"injection='none' keeps the domain out of the whole backbone, so {part}.injection="
            f"{own!r} would have no effect; leave one of them away"
        )
    return whole if own is None else own


def check_centre(centre: str | Mapping | None, spaces: Sequence[str | None]) -> dict | None:
    """The options that ``centre`` stands for: a domain's key, ``"mean"``, or a mapping with them.

    A mapping has ``domain`` and where its text is read: ``store``, or ``encoder`` with the
    arguments of ``DomainEncoder``.
    """
    if centre is None:
        return None
    given = {"domain": centre} if isinstance(centre, str) else centre
    options = complete_options(given, {"domain": None, "store": None, "encoder": None}, "centre")
    if options["domain"] is None:
        raise ValueError(
            "centre is a domain's key, 'mean', or a dict with `domain` and `store` or `encoder`; "
            f"got {centre!r}"
        )
    if None in spaces:
        raise ValueError(
            "a centre needs to know in which space the embeddings lie: give `space='joint'` or "
            "`space='context'` in `norms` (and in `attention`)"
        )
    return options


def read_domain_text(centre: Mapping) -> DomainText:
    """The text embeddings of the bank's domains, from where ``centre`` says."""
    if centre["store"] is not None:
        return EmbeddingStore.open(centre["store"]).text
    if centre["encoder"] is not None:
        return DomainEncoder(**{k: v for k, v in centre["encoder"].items() if k != "type"}).text
    raise ValueError(
        f"nothing says where the text of the centre {centre['domain']!r} is read: give "
        "centre=dict(domain=..., store=FILE), or encoder=dict(...); the mix-in fills it in"
    )


def choose_rows(table: Tensor, keys: Sequence[str], domain: str) -> Tensor:
    """The row of a domain's key, or the mean of all rows for ``"mean"``."""
    if domain == "mean":
        return table.mean(dim=0)
    if domain not in keys:
        raise ValueError(
            f"the centre {domain!r} is no domain of the bank: give one of {', '.join(keys)}, or "
            "'mean'"
        )
    return table[torch.tensor(list(keys).index(domain))]
