"""BDD100K with the time of day and the weather of its images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine import fileio
from mmseg.datasets import BDD100KDataset
from mmseg.registry import DATASETS

from ..utils.text import parse_json

_ATTRIBUTES = ("timeofday", "weather", "scene")
_UNKNOWN = "unknown"


def read_attributes(path: str, backend_args: dict | None = None) -> dict[str, dict[str, str]]:
    """Attributes of each image from BDD100K's label JSON."""
    try:
        frames = parse_json(fileio.get_text(path, backend_args=backend_args))
        return {Path(frame["name"]).stem: dict(frame["attributes"]) for frame in frames}
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is not a BDD100K label file, a list of frames with name and attributes "
            f"({error!r})"
        ) from error


def _key(value: str) -> str:
    """'dawn/dusk' and 'partly cloudy' as they may stand in a group key."""
    return value.strip().replace("/", "_").replace(" ", "_").replace("undefined", _UNKNOWN)


def check_domain_by(domain_by: str | Sequence[str]) -> tuple[str, ...]:
    """The attributes that make a domain, as a tuple.

    Raises:
        ValueError: If there is none, or an unknown one.
    """
    names = (domain_by,) if isinstance(domain_by, str) else tuple(domain_by)
    if not names or not set(names) <= set(_ATTRIBUTES):
        raise ValueError(f"domain_by must be of {', '.join(_ATTRIBUTES)}; got {domain_by!r}")
    return names


def domain_key(attributes: Mapping[str, str], domain_by: Sequence[str]) -> str:
    """The domain of an image with these attributes, such as ``night`` or ``night-rainy``."""
    return "-".join(_key(attributes.get(name, _UNKNOWN)) for name in domain_by)


@DATASETS.register_module()
class BDD100KDomainDataset(BDD100KDataset):
    """``BDD100KDataset`` whose samples know when and in what weather they were taken.

    The 10k images with masks carry no attributes themselves; those that are also among the 100k
    labelled ones take them from that set's label JSON, by name. The others are of the domain
    ``unknown``.

    Args:
        attributes_file: The label JSON, below ``data_root``; ``None`` if it is not there, then all
            images are of one domain ``all``.
        domain_by: ``'timeofday'``, ``'weather'``, ``'scene'``, or several, whose values are joined
            with ``-``.
        dataset_name: Tag of the samples in results.
        **kwargs: As for ``BDD100KDataset``.

    Raises:
        FileNotFoundError: If the attributes file is missing.
        ValueError: If it is no label file, or ``domain_by`` is unknown.
    """

    def __init__(
        self,
        attributes_file: str | None = None,
        domain_by: str | Sequence[str] = "timeofday",
        dataset_name: str = "bdd100k",
        **kwargs,
    ) -> None:
        self.domain_by = check_domain_by(domain_by)
        self.attributes_file = attributes_file
        self.dataset_name = dataset_name
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """The stock list, with ``dataset`` and ``domain``."""
        entries = super().load_data_list()
        attributes = None
        if self.attributes_file is not None:
            path = fileio.join_path(self.data_root or "", self.attributes_file)
            if not fileio.exists(path, backend_args=self.backend_args):
                raise FileNotFoundError(
                    f"{path} is missing; it comes with BDD100K's labels. Without it set "
                    "attributes_file=None: all images are then of one domain."
                )
            attributes = read_attributes(path, self.backend_args)
        for entry in entries:
            entry["dataset"] = self.dataset_name
            entry["domain"] = self._domain_of(Path(entry["img_path"]).stem, attributes)
        return entries

    def _domain_of(self, stem: str, attributes: dict[str, dict[str, str]] | None) -> str:
        if attributes is None:
            return "all"
        return domain_key(attributes.get(stem, {}), self.domain_by)
