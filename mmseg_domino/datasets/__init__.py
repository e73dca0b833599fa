from .acdc import ACDC_CONDITIONS, ACDCDataset
from .transforms import (
    EncodeDomain,
    LoadCheckedAnnotations,
    LoadCheckedImage,
    LoadDomainEmbedding,
    PackDominoInputs,
    SetDomain,
)

__all__ = [
    "ACDC_CONDITIONS",
    "ACDCDataset",
    "EncodeDomain",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "LoadDomainEmbedding",
    "PackDominoInputs",
    "SetDomain",
]
