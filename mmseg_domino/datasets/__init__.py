from .acdc import ACDC_CONDITIONS, ACDCDataset
from .mixture import RatioConcatDataset
from .sampler import ResumableInfiniteSampler
from .transforms import (
    EncodeDomain,
    LoadCheckedAnnotations,
    LoadCheckedImage,
    LoadDomainEmbedding,
    PackDominoInputs,
    SeedSample,
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
    "RatioConcatDataset",
    "ResumableInfiniteSampler",
    "SeedSample",
    "SetDomain",
]
