"""What a domain is: prompt banks, the CLIP encoder, embeddings and their store.

Nothing here knows the host framework. ``DomainEncoder`` is imported on first use, because it loads
open_clip and Pillow, which reading a store does not need.
"""

from typing import TYPE_CHECKING

from ..utils.checkpoints import MissingWeightsError
from .prompts import Domain, PromptBank, list_prompt_banks, load_prompt_bank
from .sources import SOURCES, SPACES, DomainText, EmbeddingSource
from .store import EmbeddingStore, MissingEmbeddingError, write_store

if TYPE_CHECKING:
    from .encoder import DomainEncoder

__all__ = [
    "SOURCES",
    "SPACES",
    "Domain",
    "DomainEncoder",
    "DomainText",
    "EmbeddingSource",
    "EmbeddingStore",
    "MissingEmbeddingError",
    "MissingWeightsError",
    "PromptBank",
    "list_prompt_banks",
    "load_prompt_bank",
    "write_store",
]


def __getattr__(name: str):
    if name != "DomainEncoder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .encoder import DomainEncoder

    return DomainEncoder
