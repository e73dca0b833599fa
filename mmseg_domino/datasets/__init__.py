from .acdc import ACDCDataset
from .bdd100k import BDD100KDomainDataset
from .cached import CachedDataset
from .camvid import CamVidDataset
from .folders import FolderDataset
from .mixture import RatioConcatDataset
from .muses import MUSESDataset
from .remaining import RemainingDataset
from .sampler import ResumableInfiniteSampler
from .transforms import (
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
from .urbansyn import UrbanSynDataset
from .wrappers import leaf_datasets, set_data_roots

__all__ = [
    "ACDCDataset",
    "BDD100KDomainDataset",
    "CachedDataset",
    "CamVidDataset",
    "Corrupt",
    "DrawWeather",
    "EncodeDomain",
    "FolderDataset",
    "LoadCheckedAnnotations",
    "LoadCheckedImage",
    "LoadDomainEmbedding",
    "MUSESDataset",
    "PackDominoInputs",
    "RatioConcatDataset",
    "RemainingDataset",
    "RenderWeather",
    "ResumableInfiniteSampler",
    "SeedSample",
    "SetDomain",
    "UrbanSynDataset",
    "leaf_datasets",
    "set_data_roots",
]
