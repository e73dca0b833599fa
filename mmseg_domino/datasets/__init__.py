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
    DrawWeather,
    EncodeDomain,
    LoadCheckedAnnotations,
    LoadCheckedImage,
    LoadDomainEmbedding,
    PackDominoInputs,
    RenderWeather,
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
    "DrawWeather",
    "EncodeDomain",
    "FolderDataset",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "LoadDomainEmbedding",
    "PackDominoInputs",
    "RatioConcatDataset",
    "RemainingDataset",
    "RenderWeather",
    "ResumableInfiniteSampler",
    "SeedSample",
    "SetDomain",
    "leaf_datasets",
]
