"""The table of `domino test`, from an exported model: is what is deployed what was measured?

    make train
    python benchmarks/exported_table.py configs/domino_vpd_mini.py \\
        work_dirs/domino_vpd_mini/iter_800.pth work_dirs/domino_vpd_mini/results.json

Exports the checkpoint, gives the files of every tested image to ``Segmenter``, counts its label
maps with the config's own metric, and prints both tables side by side. The exit code is 1 if a
figure differs by more than 0.01.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmengine.utils import import_modules_from_strings
from mmseg.registry import DATASETS, METRICS
from tqdm import tqdm

from mmseg_domino.apps.export import export_model
from mmseg_domino.engine import apply_domino
from mmseg_domino.inference import Segmenter
from mmseg_domino.metrics import load_results

LIMIT = 0.01


def exported_table(cfg: Config, folder: Path) -> dict[str, float]:
    """The metric's figures, in percent, of an exported model on the config's test."""
    init_default_scope("mmseg")
    import_modules_from_strings(**cfg.custom_imports)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    metric = METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = dataset.metainfo
    segmenter = Segmenter(folder)
    for index in tqdm(range(len(dataset)), unit="image"):
        sample = dataset[index]["data_samples"]
        found = segmenter(sample.img_path, probabilities=True)
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(found.labels).long()[None])
        # Softmax of it is what it was: the metric may look at calibration, too.
        logits = torch.from_numpy(found.probabilities).clamp(min=1e-30).log()
        sample.seg_logits = PixelData(data=logits)
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(dataset))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("checkpoint")
    parser.add_argument("results", type=Path, help="results.json of `domino test`")
    parser.add_argument("--format", choices=("onnx", "torch"), default="onnx")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "model")
        export_model(args.config, args.checkpoint, out, args.format)
        found = exported_table(apply_domino(Config.fromfile(args.config)), out)
    tested = load_results(args.results).metrics()
    print(f"\n| figure | domino test | {args.format} | difference |\n|---|---:|---:|---:|")
    worst = 0.0
    for name, value in found.items():
        worst = max(worst, abs(value - tested[name]))
        print(f"| {name} | {tested[name]:.3f} | {value:.3f} | {value - tested[name]:+.4f} |")
    print(f"\nlargest difference: {worst:.4f} (limit {LIMIT})")
    sys.exit(int(worst > LIMIT))


if __name__ == "__main__":
    main()
