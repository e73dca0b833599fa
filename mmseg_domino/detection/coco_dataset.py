"""COCO files that say, or are told, of which data set and domain their images are."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS
from mmengine import fileio
from mmengine.logging import print_log

from ..metrics import check_name
from ..utils.text import parse_json, printable

#: Cityscapes' classes with instances, and their colours.
CITYSCAPES_THINGS = {
    "person": (220, 20, 60), "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70),
    "bus": (0, 60, 100), "train": (0, 80, 100), "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}  # fmt: skip


class _OrderedCOCO(COCO):
    """Category numbers in the order of the names that are asked for, which labels follow."""

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()):
        number = {category["name"]: category["id"] for category in self.dataset["categories"]}
        return [number[name] for name in cat_names] or super().get_cat_ids([], sup_names, cat_ids)


def renamed(name: str, ends: Sequence[str], argument: str) -> str:
    """An image name with another end.

    Raises:
        ValueError: If it does not end in what the argument of that name replaces.
    """
    old, new = ends
    if not name.endswith(old):
        raise ValueError(
            f"the image name {printable(name)} does not end in {old!r}, which `{argument}` replaces"
        )
    return name.removesuffix(old) + new


class DomainTags:
    """Of a data set, before the host's class: its images say of which data set and domain they are.

    Args:
        *args: As for the host's class.
        dataset_name: Tag of the samples in results.
        domain: The domain of all images; or
        domains: those that are told apart by a folder of the image's name, such as
            ``('fog', 'night')`` for ``fog/val/GOPR0475/....png``. Images in none are left out.
        rename: End of image names in the file, and what to put in its place.
        **kwargs: As for the host's class.

    Raises:
        FileNotFoundError: If there is no annotation file.
        ValueError: If not one of ``domain`` and ``domains`` is given, no image is in any of these,
            or the file is no such file or lacks a class of the config.
    """

    def __init__(
        self,
        *args,
        dataset_name: str,
        domain: str | None = None,
        domains: Sequence[str] | None = None,
        rename: Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        if (domain is None) == (domains is None):
            raise ValueError(f"give domain or domains, one of both; got {domain!r}, {domains!r}")
        check_name("dataset", dataset_name)
        for name in (domain,) if domains is None else domains:
            check_name("domain", name)
        self.dataset_name, self.domain = dataset_name, domain
        self.domains = None if domains is None else tuple(domains)
        self.rename = None if rename is None else tuple(rename)
        super().__init__(*args, **kwargs)

    def read_annotations(self) -> tuple[dict, dict[int, str]]:
        """What is in the annotation file, and the names of its categories."""
        file = self.ann_file
        if not fileio.exists(file, backend_args=self.backend_args):
            raise FileNotFoundError(f"{file} does not exist; docs/detection.md says how it is made")
        try:
            data = parse_json(fileio.get_text(file, backend_args=self.backend_args))
            names = {category["id"]: category["name"] for category in data["categories"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is no COCO file ({error!r})") from error
        lacking = [name for name in self.metainfo["classes"] if name not in names.values()]
        if lacking:
            raise ValueError(
                f"{file} lacks the categories {lacking} of the config's classes; it has "
                f"{sorted(names.values())}. Give metainfo=dict(classes=...) as they are called "
                "there."
            )
        return data, names

    def file_name(self, name: str) -> str:
        """The image file that is meant by a name in the annotations."""
        return name if self.rename is None else renamed(name, self.rename, "rename")

    def tags(self, name: str) -> dict[str, str | None]:
        """``dataset`` and ``domain`` of an image; the latter ``None`` if it is in none."""
        parts = PurePosixPath(name).parts
        named = next((d for d in self.domains or () if d in parts), None)
        return {"dataset": self.dataset_name, "domain": self.domain or named}

    def of_domains(self, entries: list[dict]) -> list[dict]:
        """The entries that are of a domain."""
        found = [entry for entry in entries if entry["domain"] is not None]
        if self.domains is not None and not found:
            folders = ", ".join(self.domains)
            raise ValueError(f"{self.ann_file}: no image is in a folder named {folders}")
        return found


@DATASETS.register_module()
class DomainCocoDataset(DomainTags, CocoDataset):
    """``CocoDataset`` whose samples carry ``dataset`` and ``domain``, and whose file is checked.

    Labels follow the order of the config's classes, whatever the file's. Categories of the file
    that are no class of the config are left out, and so are boxes without area inside the image,
    which no detector could find; a line of the log says how many. Images without annotations are
    legal in training and testing; crowds are kept as what counts neither way.

    Args:
        seg_rename: As ``rename``, for the semantic labels below ``data_prefix['seg']``, which
            weather is drawn by; by default the image's name with ``seg_map_suffix``.
        **kwargs: As for :class:`DomainTags` and ``CocoDataset``; ``metainfo`` is Cityscapes' eight
            things by default.

    Raises:
        FileNotFoundError: See :class:`DomainTags`.
        ValueError: Likewise, and if the file has annotations of images or categories that it does
            not list.
    """

    METAINFO = {
        "classes": tuple(CITYSCAPES_THINGS), "palette": list(CITYSCAPES_THINGS.values()),
    }  # fmt: skip
    COCOAPI = _OrderedCOCO

    def __init__(self, *args, seg_rename: Sequence[str] | None = None, **kwargs) -> None:
        self.seg_rename = seg_rename
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """One entry an image; see the class."""
        left_out = self._check_file()
        entries = super().load_data_list()
        kept = sum(len(entry["instances"]) for entry in entries)
        entries = self.of_domains(entries)
        print_log(
            f"{self.ann_file}: {len(entries)} images, {kept} objects; left out: "
            f"{left_out['other']} of other categories, {left_out['all'] - kept} without area in "
            "the image", "current",
        )  # fmt: skip
        return entries

    def _check_file(self) -> dict[str, int]:
        """Refuse what would be counted wrong; how many annotations there are, and of no class."""
        file = self.ann_file
        data, names = self.read_annotations()
        try:
            images = {image["id"] for image in data["images"]}
            annotations = [(a["image_id"], a["category_id"], a["id"])
                           for a in data.get("annotations", ())]  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"{file} is no COCO file of instances ({error!r})") from error
        classes = self.metainfo["classes"]
        stray = [number for image, _, number in annotations if image not in images]
        if stray:
            raise ValueError(
                f"{file}: {len(stray)} annotations are of images that it does not list, the first "
                f"is number {stray[0]}; the file is cut or was joined from others"
            )
        unknown = sorted({category for _, category, _ in annotations if category not in names})
        if unknown:
            raise ValueError(
                f"{file}: annotations are of the categories {unknown[:5]}, which its list of "
                "categories lacks"
            )
        other = sum(names[category] not in classes for _, category, _ in annotations)
        return {"all": len(annotations) - other, "other": other}

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """As ``CocoDataset``'s, with the tags; see there."""
        image = raw_data_info["raw_img_info"]
        name = image["file_name"] = self.file_name(image["file_name"])
        found = {**super().parse_data_info(raw_data_info), **self.tags(name)}
        if self.seg_rename is not None and found["seg_map_path"] is not None:
            labels = renamed(name, self.seg_rename, "seg_rename")
            found["seg_map_path"] = str(PurePosixPath(self.data_prefix["seg"], labels))
        return found
