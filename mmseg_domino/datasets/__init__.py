from .acdc import ACDC_CONDITIONS, ACDCDataset
from .bdd100k import BDD100KDomainDataset
from .camvid import CamVidDataset
from .folders import FolderDataset
from .mixture import RatioConcatDataset
from .remaining import RemainingDataset
from .sampler import ResumableInfiniteSampler
from .transforms import (
    CORRUPTIONS,
    Corrupt,
    EncodeDomain,
    LoadCheckedAnnotations,
    LoadCheckedImage,
    LoadDomainEmbedding,
    PackDominoInputs,
    SeedSample,
    SetDomain,
)
from .wrappers import leaf_datasets

__all__ = [
    "ACDC_CONDITIONS",
    "CORRUPTIONS",
    "ACDCDataset",
    "BDD100KDomainDataset",
    "CamVidDataset",
    "Corrupt",
    "EncodeDomain",
    "FolderDataset",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "LoadDomainEmbedding",
    "PackDominoInputs",
    "RatioConcatDataset",
    "RemainingDataset",
    "ResumableInfiniteSampler",
    "SeedSample",
    "SetDomain",
    "leaf_datasets",
]
