from .corruption import CORRUPTIONS, Corrupt
from .domain import EncodeDomain, LoadDomainEmbedding
from .formatting import PackDominoInputs
from .loading import LoadCheckedAnnotations, LoadCheckedImage
from .seed_sample import SeedSample
from .set_domain import SetDomain

__all__ = [
    "CORRUPTIONS",
    "Corrupt",
    "EncodeDomain",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "LoadDomainEmbedding",
    "PackDominoInputs",
    "SeedSample",
    "SetDomain",
]
