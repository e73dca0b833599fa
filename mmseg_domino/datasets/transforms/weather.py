"""Weather by rule on training images, on the fly: training that sees domains, from source images.

Two transforms, because what decides (the whole image, its label and depth) is there before the
crop, and rendering the crop alone is four times cheaper.

Shapes: ``H W`` the whole image.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from mmseg.utils import get_classes

from ...weather import DOMAINS, DepthFiles, Ranges, Scene, Weather, describe_view, draw_weather
from .domain import encode_image

_INDEX = "weather_index"
#: Rows of the view, and of what CLIP is shown.
_VIEW_ROWS, _SHOWN_ROWS = 512, 320


@TRANSFORMS.register_module()
class DrawWeather(BaseTransform):
    """Decide which training images get which weather, and how much of it.

    It stands after image and label are loaded, before they are resized and cropped; the crop is
    changed by :class:`RenderWeather`. The draw comes from NumPy's global generator, so it is a
    function of the run's seed and the sample's position where ``SeedSample`` stands first. A
    transform that attaches the domain embedding comes after this one.

    In detection boxes and masks stay; the semantic labels have to be loaded, too.

    Required keys: ``img`` (BGR uint8), ``gt_seg_map``, ``img_path``. Changed key: ``domain``, of
    images that get weather. Added for these: ``domain_image``, what the embedding is made of, and
    what RenderWeather reads.

    Args:
        prob: Share of the images that get weather.
        domains: Their domains, evenly drawn, or the weight of each.
        depth: Arguments of :class:`~mmseg_domino.weather.DepthFiles`, found by the image's path;
            ``None`` for a plane through the labels' road
            (:func:`~mmseg_domino.weather.plane_depth`), which is a guess.
        embedding: What the sample's domain embedding is made of: ``'rule'``, the domain's text, as
            if CLIP had recognised it for sure; ``'clip'``, what CLIP sees in the whole image in
            that weather, which runs CLIP in the loading workers; ``'keep'``, the clear image's.
        encoder: For ``'clip'``: arguments of ``DomainEncoder``.
        classes: Class names of the labels, or MMSegmentation's name of a data set.
        **ranges: What the weather is drawn from, see :class:`~mmseg_domino.weather.Ranges`:
            ``visibility``, ``strength``, ``exposure``, ``linear_fog``.

    Raises:
        ValueError: If an argument makes no sense, or a label has more classes than are named.
        FileNotFoundError: If an image's depth is missing; names it.
    """

    def __init__(
        self,
        prob: float = 0.5,
        domains: Sequence[str] | Mapping[str, float] = DOMAINS,
        depth: dict | None = None,
        embedding: str = "rule",
        encoder: Mapping | None = None,
        classes: str | Sequence[str] = "cityscapes",
        **ranges: Sequence[float] | bool,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must be in [0, 1], got {prob}")
        if embedding not in ("rule", "clip", "keep"):
            raise ValueError(f"embedding must be 'rule', 'clip' or 'keep', got {embedding!r}")
        if embedding == "clip" and encoder is None:
            raise ValueError("embedding='clip' needs encoder=dict(model=..., bank=...)")
        weights = dict(domains) if isinstance(domains, Mapping) else dict.fromkeys(domains, 1.0)
        unknown = sorted(set(weights) - set(DOMAINS))
        if unknown or not weights or min(weights.values()) < 0 or not sum(weights.values()) > 0:
            raise ValueError(
                f"domains must be of {', '.join(DOMAINS)}, with weights that are not all 0; got "
                f"{domains!r}"
            )
        self.prob, self.embedding, self.encoder = prob, embedding, encoder
        self.domains = tuple(weights)
        self.shares = np.array(list(weights.values())) / sum(weights.values())
        self.depth = None if depth is None else DepthFiles(**depth)
        self.classes = tuple(get_classes(classes) if isinstance(classes, str) else classes)
        self.ranges = Ranges(**{k: v if k == "linear_fog" else tuple(v) for k, v in ranges.items()})

    def transform(self, results: dict) -> dict:
        """Draw; see the class."""
        # One number whatever comes of it: the following transforms' draws stay as they are.
        rng = np.random.default_rng(np.random.randint(2**31))
        if rng.random() >= self.prob:
            return results
        domain = str(rng.choice(self.domains, p=self.shares))
        weather = draw_weather(domain, self.ranges, rng)
        if results.get("gt_seg_map") is None:
            raise ValueError(
                f"DrawWeather needs the semantic label of {results.get('img_path')}, from which it "
                "knows sky, road and lamps; in detection: LoadAnnotations(with_seg=True) and "
                "data_prefix=dict(seg=...)"
            )
        image, label = results["img"], results["gt_seg_map"]
        self._check(image, label, results)
        depth = (
            None if self.depth is None else self.depth.read(self.depth.find(results["img_path"]))
        )
        reduce = max(1, label.shape[0] // _VIEW_ROWS)
        view = describe_view(image, label, self.classes, depth, reduce)
        results["domain"] = domain
        results["weather"] = (weather, view, self.classes, label.shape)
        if "seg_fields" in results:  # mmdet has none and keeps a homography
            results[_INDEX] = np.arange(label.size, dtype=np.int32).reshape(label.shape)
            results["seg_fields"].append(_INDEX)
        if self.embedding == "rule":
            results["domain_image"] = "text"
        elif self.embedding == "clip":
            shown = self._shown(weather, image, label, view)
            results["domain_image"] = encode_image(self.encoder, shown).numpy()
        return results

    def _check(self, image: np.ndarray, label: np.ndarray, results: dict) -> None:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[:2] != label.shape:
            raise ValueError(
                "DrawWeather expects an image (H, W, 3) of type uint8 and a label of its size, "
                f"got {image.shape} {image.dtype} and {label.shape}: {results.get('img_path')}"
            )
        highest = int(label[label < 255].max(initial=0))
        if highest >= len(self.classes):
            raise ValueError(
                f"{results.get('seg_map_path')} holds class {highest}, and `classes` of "
                f"DrawWeather names {len(self.classes)}; give those of the data set"
            )

    def _shown(self, weather: Weather, image: np.ndarray, label: np.ndarray, view) -> np.ndarray:
        """The whole image in its weather, small, RGB: CLIP reads no more than that."""
        rows = min(_SHOWN_ROWS, label.shape[0])
        size = (round(label.shape[1] * rows / label.shape[0]), rows)
        small = cv2.resize(image[..., ::-1], size, interpolation=cv2.INTER_AREA)
        small_label = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
        return weather.put_on(Scene.of_image(small, small_label, self.classes, view))

    def __repr__(self) -> str:
        return (
            f"DrawWeather(prob={self.prob}, domains={self.domains}, embedding={self.embedding!r}, "
            f"depth={'plane' if self.depth is None else self.depth.root!r})"
        )


@TRANSFORMS.register_module()
class RenderWeather(BaseTransform):
    """Put the weather that :class:`DrawWeather` drew on the image as it is now.

    It stands after the transforms that resize, crop and flip, which it allows for, and before
    those that change colours. Samples without weather pass as they are.

    Required keys: ``img`` (BGR uint8), ``gt_seg_map``. Changed key: ``img``.

    Raises:
        ValueError: If the image is not uint8 any more.
    """

    def transform(self, results: dict) -> dict:
        """Render; see the class."""
        drawn = results.pop("weather", None)
        if drawn is None:
            return results
        weather, view, classes, (height, width) = drawn
        image = results["img"]
        if image.dtype != np.uint8:
            raise ValueError(
                f"RenderWeather expects an image of type uint8, got {image.dtype}: it stands "
                "before transforms that change colours"
            )
        if _INDEX in results:
            index = results.pop(_INDEX)
            results["seg_fields"].remove(_INDEX)
            rows = _places(index[:, 0] // width, height)
            columns = _places(index[0] % width, width)
        else:
            matrix = results.get("homography_matrix", np.eye(3))
            rows = _places_before(matrix[1, 1:], image.shape[0], height)
            columns = _places_before(matrix[0, ::2], image.shape[1], width)
        rgb = np.ascontiguousarray(image[..., ::-1])
        scene = Scene.of_crop(rgb, results["gt_seg_map"], classes, view, columns, rows)
        results["img"] = np.ascontiguousarray(weather.put_on(scene)[..., ::-1])
        return results

    def __repr__(self) -> str:
        return "RenderWeather()"


def _places(index: np.ndarray, length: int) -> np.ndarray:
    """Where in the whole image, 0 to 1, the rows or columns of a crop come from.

    Enlarging repeats indices; the steps between are even.
    """
    first, last = (float(i) + 0.5 for i in (index[0], index[-1]))
    return np.linspace(first, last, len(index)) / length


def _places_before(scale_and_shift: np.ndarray, count: int, length: int) -> np.ndarray:
    """The same from mmdet's homography, whose transforms here resize, flip and shift."""
    scale, shift = map(float, scale_and_shift)
    return np.clip((np.arange(count) + 0.5 - shift) / scale / length, 0, 1)
