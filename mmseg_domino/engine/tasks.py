"""What differs between the tasks that a config may be of: segmentation, detection."""

from dataclasses import dataclass

_PLUGIN = "mmseg_domino.plugin"


@dataclass(frozen=True)
class Task:
    """The stock parts that are replaced, by their names in a config.

    Attributes:
        models: Ours by the stock model's name; ``None`` for any, which ``DominoDetector`` serves.
        own: Models of ours that stand for no stock one.
        packs: The last transform of pipelines, stock and ours.
        preprocessors: The data preprocessor, stock and ours.
        metrics: The metric, stock and ours.
        metric_options: What both metrics take.
        plugin: The module that registers ours.
    """

    models: dict[str, str] | None
    packs: tuple[str, str]
    preprocessors: tuple[str, str]
    metrics: tuple[str, str]
    metric_options: tuple[str, ...]
    plugin: tuple[str, ...] = (_PLUGIN,)
    own: tuple[str, ...] = ()


TASKS = {
    "segmentation": Task(
        models={
            "EncoderDecoder": "DominoEncoderDecoder",
            "CascadeEncoderDecoder": "DominoCascadeEncoderDecoder",
        },
        packs=("PackSegInputs", "PackDominoInputs"),
        preprocessors=("SegDataPreProcessor", "DominoDataPreProcessor"),
        metrics=("IoUMetric", "DomainIoUMetric"),
        metric_options=("ignore_index", "collect_device", "output_dir", "format_only", "prefix"),
        own=("DominoDistilledEncoderDecoder",),
    ),
    "detection": Task(
        models=None,
        packs=("PackDetInputs", "PackDominoDetInputs"),
        preprocessors=("DetDataPreprocessor", "DominoDetDataPreprocessor"),
        metrics=("CocoMetric", "DomainDetectionMetric"),
        metric_options=("metric", "collect_device", "prefix"),
        plugin=(_PLUGIN, "mmseg_domino.detection"),
    ),
}
