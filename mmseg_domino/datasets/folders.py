"""Any pair of folders as a data set."""

from collections.abc import Sequence

from mmseg.datasets import BaseSegDataset, CityscapesDataset
from mmseg.registry import DATASETS

from ..metrics import check_name
from .listing import entries_below


@DATASETS.register_module()
class FolderDataset(BaseSegDataset):
    """Images in one folder, labels of the same names in another.

    Every sample carries ``dataset`` and ``domain``.

    Args:
        dataset_name: Tag of the samples in results.
        domain: Domain of all images; ``None`` to read it off ``domain_level``.
        domain_level: Which part of an image's path below the image folder names its domain: 0 the
            first folder, -1 the last one.
        img_suffix: Ending of image names.
        seg_map_suffix: Ending of label names, in place of ``img_suffix``.
        data_prefix: Folders of images and labels below ``data_root``; without ``seg_map_path`` the
            images have no labels and are for prediction.
        metainfo: ``classes`` and ``palette``; the 19 classes of Cityscapes by default.
        exclude: Images to leave out: paths below the image folder, without ``img_suffix``.
        **kwargs: As for ``BaseSegDataset``.

    Raises:
        FileNotFoundError: If the image folder is missing or holds no image.
        ValueError: If an image lies too high for ``domain_level``; names it. If the data set's or
            the domain's name cannot be filed under.
    """

    def __init__(
        self,
        dataset_name: str = "folder",
        domain: str | None = "all",
        domain_level: int = 0,
        img_suffix: str = ".png",
        seg_map_suffix: str = ".png",
        data_prefix: dict | None = None,
        metainfo: dict | None = None,
        exclude: Sequence[str] = (),
        **kwargs,
    ) -> None:
        self.dataset_name = check_name("dataset", dataset_name)
        self.domain = None if domain is None else check_name("domain", domain)
        self.domain_level = domain_level
        self.exclude = frozenset(exclude)
        super().__init__(
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            data_prefix=data_prefix or dict(img_path="images", seg_map_path="labels"),
            metainfo=metainfo or CityscapesDataset.METAINFO,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """One entry an image, by path."""
        labelled = bool(self.data_prefix.get("seg_map_path"))
        what = f"{self.dataset_name}: no images."
        return entries_below(self, "", what, self._domain_of, labelled, self.exclude)

    def _domain_of(self, stem: str) -> str:
        if self.domain is not None:
            return self.domain
        folders = stem.replace("\\", "/").split("/")[:-1]
        try:
            return folders[self.domain_level]
        except IndexError:
            raise ValueError(
                f"{stem}{self.img_suffix} lies in no folder at domain_level={self.domain_level} "
                f"below {self.data_prefix['img_path']}; give domain=... or sort the images into "
                "folders by domain"
            ) from None
