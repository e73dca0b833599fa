from .colours import ADE20K_OF_CLASS, class_colours, control_image
from .generators import GENERATORS, Generated, Generator, Request, build_generator
from .quality import GateThresholds, QualityGate
from .run import Plan, SynthesisReport, synthesise
from .source import LabelledImages
from .tree import DiskFullError, FolderInUseError, Record, SynthesisTree

__all__ = [
    "ADE20K_OF_CLASS",
    "GENERATORS",
    "DiskFullError",
    "FolderInUseError",
    "GateThresholds",
    "Generated",
    "Generator",
    "LabelledImages",
    "Plan",
    "QualityGate",
    "Record",
    "Request",
    "SynthesisReport",
    "SynthesisTree",
    "build_generator",
    "class_colours",
    "control_image",
    "synthesise",
]
