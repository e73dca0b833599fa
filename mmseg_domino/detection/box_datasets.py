"""Data sets of boxes in other formats: BDD100K and Diverse Weather."""

import json
import os.path as osp
from collections.abc import Sequence
from pathlib import Path

from mmdet.datasets import BaseDetDataset, XMLDataset
from mmdet.registry import DATASETS
from mmengine import fileio

from ..datasets.bdd100k import check_domain_by, domain_key

#: BDD100K's ten categories in the words of Cityscapes where it has them, and their colours.
_BDD_CLASSES = {
    "person": (220, 20, 60), "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70),
    "bus": (0, 60, 100), "train": (0, 80, 100), "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32), "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0),
}  # fmt: skip
#: Names of other releases.
_BDD_ALIASES = {"pedestrian": "person", "motor": "motorcycle", "bike": "bicycle"}
#: What marks groups and things that do not count, in the 2020 release.
_BDD_IGNORED = ("other person", "other vehicle", "trailer")


@DATASETS.register_module()
class BDD100KDetDataset(BaseDetDataset):
    """BDD100K's boxes from its own label JSON, with the time of day or weather as domain.

    Args:
        domain_by: ``'timeofday'``, ``'weather'``, ``'scene'``, or several, joined with ``-``.
        dataset_name: Tag of the samples in results.
        size: Width and height of the images.
        **kwargs: As for ``BaseDetDataset``: ``ann_file`` such as ``labels/det_20/det_val.json`` and
            ``data_prefix=dict(img='images/100k/val')``.

    Raises:
        FileNotFoundError: If the label file is missing.
        ValueError: If it is no label file, or names a category that is not known.

    Source: Yu et al., BDD100K, CVPR 2020.
    """

    METAINFO = {"classes": tuple(_BDD_CLASSES), "palette": list(_BDD_CLASSES.values())}

    def __init__(
        self,
        *args,
        domain_by: str | Sequence[str] = "timeofday",
        dataset_name: str = "bdd100k",
        size: tuple[int, int] = (1280, 720),
        **kwargs,
    ) -> None:
        self.domain_by = check_domain_by(domain_by)
        self.dataset_name, self.size = dataset_name, tuple(size)
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry an image, those without boxes included."""
        if not fileio.exists(self.ann_file, backend_args=self.backend_args):
            raise FileNotFoundError(f"{self.ann_file} does not exist; it is BDD100K's label file")
        try:
            frames = json.loads(fileio.get_text(self.ann_file, backend_args=self.backend_args))
            return [self._entry(number, frame) for number, frame in enumerate(frames)]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.ann_file} is not a BDD100K label file, a list of frames with name, "
                f"attributes and labels ({error!r})"
            ) from error

    def _entry(self, number: int, frame: dict) -> dict:
        width, height = self.size
        attributes = frame.get("attributes") or {}
        return dict(
            img_id=number, img_path=osp.join(self.data_prefix["img"], frame["name"]),
            width=width, height=height, dataset=self.dataset_name,
            domain=domain_key(attributes, self.domain_by),
            instances=[found for label in frame.get("labels") or () if label.get("box2d")
                       for found in self._instance(label)],
        )  # fmt: skip

    def _instance(self, label: dict) -> list[dict]:
        name = _BDD_ALIASES.get(label["category"], label["category"])
        if name in _BDD_IGNORED:
            return []
        if name not in _BDD_CLASSES:
            raise ValueError(
                f"{self.ann_file}: the category {label['category']!r} is none of "
                f"{', '.join(_BDD_CLASSES)}"
            )
        classes = self.metainfo["classes"]
        corners = [float(label["box2d"][k]) for k in ("x1", "y1", "x2", "y2")]
        x1, y1, x2, y2 = (min(max(v, 0.0), limit) for v, limit in zip(corners, self.size * 2,
                                                                      strict=True))  # fmt: skip
        if name not in classes or x2 <= x1 or y2 <= y1:
            return []
        crowd = bool((label.get("attributes") or {}).get("crowd"))
        return [dict(bbox=[x1, y1, x2, y2], bbox_label=classes.index(name),
                     ignore_flag=int(crowd))]  # fmt: skip


#: Diverse Weather's folders by the names that papers give the domains.
DIVERSE_WEATHER = {
    "day_clear": "daytime_clear", "night_clear": "Night-Sunny", "dusk_rain": "dusk_rainy",
    "night_rain": "night_rainy", "day_fog": "daytime_foggy",
}  # fmt: skip


@DATASETS.register_module()
class DiverseWeatherDataset(XMLDataset):
    """Diverse Weather (S-DGOD): seven classes in five kinds of weather, in VOC's layout.

    Args:
        domain: A key of :data:`DIVERSE_WEATHER`.
        split: ``'train'`` or ``'test'``.
        data_root: The folder that holds ``daytime_clear`` and the others.
        **kwargs: As for ``XMLDataset``.

    Raises:
        FileNotFoundError: If the folder of the domain has no such list of images.
        ValueError: If the domain is unknown, or an annotation cannot be read.

    Source: Wu and Deng, Single-Domain Generalized Object Detection in Urban Scene via
    Cyclic-Disentangled Self-Distillation, CVPR 2022.
    """

    METAINFO = {
        "classes": ("bus", "bike", "car", "motor", "person", "rider", "truck"),
        "palette": [(0, 60, 100), (119, 11, 32), (0, 0, 142), (0, 0, 230), (220, 20, 60),
                    (255, 0, 0), (0, 0, 70)],
    }  # fmt: skip

    def __init__(self, domain: str, split: str = "test", data_root: str = "", **kwargs) -> None:
        if domain not in DIVERSE_WEATHER:
            raise ValueError(f"domain must be of {', '.join(DIVERSE_WEATHER)}; got {domain!r}")
        self.domain = domain
        folder = f"{DIVERSE_WEATHER[domain]}/VOC2007"
        super().__init__(
            data_root=data_root,
            ann_file=f"{folder}/ImageSets/Main/{split}.txt",
            data_prefix=dict(sub_data_root=folder),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """One entry an image of the list, with ``dataset`` and ``domain``."""
        if not fileio.exists(self.ann_file, backend_args=self.backend_args):
            raise FileNotFoundError(
                f"{self.ann_file} does not exist; Diverse Weather keeps "
                f"{DIVERSE_WEATHER[self.domain]}/VOC2007/ImageSets/Main/{Path(self.ann_file).name}"
                " below data_root (see docs/detection.md)"
            )
        return super().load_data_list()

    def parse_data_info(self, img_info: dict) -> dict:
        """As ``XMLDataset``'s, with the tags and without boxes that have no area."""
        try:
            info = super().parse_data_info(img_info)
        except (AttributeError, SyntaxError, ValueError) as error:
            raise ValueError(f"{img_info['xml_path']} is no annotation ({error})") from error
        instances = [
            i for i in info["instances"]
            if i["bbox"][2] > i["bbox"][0] and i["bbox"][3] > i["bbox"][1]
        ]  # fmt: skip
        return {**info, "instances": instances, "dataset": "diverse_weather", "domain": self.domain}
