"""Panoptic annotations by domain, as Cityscapes' scripts write them (ACDC's are of this form).

Shapes: ``H W`` the image.
"""

import mmcv
import numpy as np
from mmdet.datasets import BaseDetDataset
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from mmengine import fileio
from mmseg.datasets import CityscapesDataset
from pycocotools import mask as coco_mask

from ..utils.text import printable
from .coco_dataset import CITYSCAPES_THINGS, DomainTags

_PALETTE = dict(
    zip(*(CityscapesDataset.METAINFO[key] for key in ("classes", "palette")), strict=True)
)
_STUFF = tuple(name for name in _PALETTE if name not in CITYSCAPES_THINGS)
IGNORED = 255


@DATASETS.register_module()
class DomainPanopticDataset(DomainTags, BaseDetDataset):
    """Panoptic annotations: a PNG of segment numbers an image, and a JSON file that lists them.

    Labels are the things first and then the stuff, as mmdet's heads count them; a segment of no
    class of the config is ignored. Goes with :class:`LoadPanopticSegments`.

    Args:
        city_folders: Images lie in folders named by the first part of their names, as Cityscapes'.
        **kwargs: As for :class:`~.coco_dataset.DomainTags` and ``BaseDetDataset``; ``data_prefix``
            has ``img`` and ``seg``.

    Raises:
        FileNotFoundError: If there is no annotation file.
        ValueError: If it is no panoptic file, lacks a class, or has annotations of images or
            categories that it does not list.
    """

    METAINFO = {
        "classes": (*CITYSCAPES_THINGS, *_STUFF),
        "thing_classes": tuple(CITYSCAPES_THINGS),
        "stuff_classes": _STUFF,
        "palette": [_PALETTE[name] for name in (*CITYSCAPES_THINGS, *_STUFF)],
    }

    def __init__(
        self,
        *args,
        city_folders: bool = False,
        **kwargs,
    ) -> None:
        self.city_folders = city_folders
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry an annotated image."""
        data, names = self.read_annotations()
        try:
            images = {image["id"]: image for image in data["images"]}
            entries = [self._entry(item, images, names) for item in data["annotations"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.ann_file} is no panoptic file ({error!r})") from error
        return self.of_domains(entries)

    def _entry(self, annotation: dict, images: dict, names: dict) -> dict:
        image = images.get(annotation["image_id"])
        if image is None:
            raise ValueError(
                f"{self.ann_file}: the annotation {printable(annotation['file_name'])} is of the "
                f"image {annotation['image_id']!r}, which it does not list"
            )
        classes, things = self.metainfo["classes"], self.metainfo["thing_classes"]
        segments = []
        for segment in annotation["segments_info"]:
            name = names.get(segment["category_id"])
            if name is None:
                raise ValueError(
                    f"{self.ann_file}: a segment is of the category {segment['category_id']}, "
                    "which its list of categories lacks"
                )
            if name in classes:
                segments.append(dict(
                    id=segment["id"], category=classes.index(name), is_thing=name in things,
                    crowd=bool(segment.get("iscrowd")),
                ))  # fmt: skip
        name = self.file_name(image["file_name"])
        if self.city_folders:
            name = f"{name.partition('_')[0]}/{name}"
        return dict(
            img_id=image["id"], height=image["height"], width=image["width"],
            img_path=fileio.join_path(self.data_prefix["img"], name),
            seg_map_path=fileio.join_path(self.data_prefix["seg"], annotation["file_name"]),
            segments_info=segments, instances=[], **self.tags(name),
        )  # fmt: skip


@TRANSFORMS.register_module()
class LoadPanopticSegments(LoadAnnotations):
    """Boxes, masks and semantic labels of a panoptic PNG; needs no panopticapi.

    Things are instances with their mask, so that ``DomainDetectionMetric`` measures what a
    panoptic model says of them; one without a pixel is left out.

    Required keys: ``seg_map_path``, ``segments_info``. Added keys: ``instances``, ``gt_bboxes``,
    ``gt_bboxes_labels``, ``gt_ignore_flags``, ``gt_masks``, ``gt_seg_map`` ``(H, W)`` int64 with
    255 for what is ignored.

    Raises:
        ValueError: If the PNG is no colour image of the image's size.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(with_bbox=True, with_mask=True, with_seg=True, **kwargs)

    def transform(self, results: dict) -> dict:
        """Load; see the class."""
        file = results["seg_map_path"]
        content = fileio.get(file, backend_args=self.backend_args)
        png = mmcv.imfrombytes(content, flag="color", channel_order="rgb")
        size = tuple(results["ori_shape"][:2])
        if png is None or png.shape[:2] != size:
            raise ValueError(f"{printable(file)} is no PNG of {size[1]}x{size[0]} pixels")
        number = (png.astype(np.int64) * (1, 256, 65536)).sum(2)
        semantic = np.full(size, IGNORED, np.int64)
        masks, instances = [], []
        for segment in results["segments_info"]:
            mask = number == segment["id"]
            semantic[mask] = segment["category"]
            if not segment["is_thing"] or not mask.any():
                continue
            runs = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
            x, y, width, height = coco_mask.toBbox(runs).tolist()
            masks.append(mask.astype(np.uint8))
            instances.append(dict(
                bbox=[x, y, x + width, y + height], bbox_label=segment["category"],
                ignore_flag=int(segment["crowd"]), mask=runs,
            ))  # fmt: skip
        results["instances"] = instances
        self._load_bboxes(results)
        self._load_labels(results)
        results["gt_masks"] = BitmapMasks(masks, *size)
        results["gt_seg_map"] = semantic
        return results
