from .corruption import Corrupt
from .domain import EncodeDomain, LoadDomainEmbedding
from .formatting import PackDominoInputs
from .loading import LoadCheckedAnnotations, LoadCheckedImage
from .seed_sample import SeedSample
from .set_domain import SetDomain
from .weather import DrawWeather, RenderWeather

__all__ = [
    "Corrupt",
    "DrawWeather",
    "EncodeDomain",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "LoadDomainEmbedding",
    "PackDominoInputs",
    "RenderWeather",
    "SeedSample",
    "SetDomain",
]
