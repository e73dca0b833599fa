"""MMEngine's pure Python configs: classes instead of names, and ``read_base``."""

from mmengine.config import Config

from mmseg_domino import engine
from tests.small_training import write_small_training
from tests.tiny_clip import write_tiny_clip

CHILD = """
from mmengine.config import read_base
from mmcv.transforms import LoadImageFromFile, RandomFlip
from mmengine.dataset import DefaultSampler
from mmseg.datasets import BaseSegDataset, PackSegInputs
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.models import EncoderDecoder, ResNetV1c
from mmseg_domino.datasets import SetDomain
from mmseg_domino.evaluation import DomainIoUMetric

with read_base():
    from .config import *

runner_type = "mmseg_domino.engine.DominoRunner"
domino = dict(
    domain_channels=dict(joint=16, context=24),
    encoder=dict(model="local-dir:CLIP", bank="acdc"),
)
model.update(type=EncoderDecoder)
model.backbone.update(type=ResNetV1c)
steps = [
    dict(type=SetDomain, dataset="small", domain="day"),
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations),
    dict(type=PackSegInputs),
]
dataset.update(type=BaseSegDataset, pipeline=steps)
test_dataloader = dict(
    batch_size=1, num_workers=0, dataset=dataset, sampler=dict(type=DefaultSampler, shuffle=False)
)
train_dataloader.update(dataset=dataset)
test_evaluator = dict(type=DomainIoUMetric, source="small/day")
tta_model = dict(type="SegTTAModel")
tta_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type="TestTimeAug", transforms=[
        [dict(type=RandomFlip, prob=0.0), dict(type=RandomFlip, prob=1.0)],
        [dict(type=LoadAnnotations)], [dict(type=PackSegInputs)]]),
]
train_cfg.update(max_iters=1)
"""


def test_a_pure_python_config_trains_and_tests(tmp_path):
    path = write_small_training(tmp_path, images=2).with_name("child.py")
    clip = write_tiny_clip(tmp_path / "clip")
    path.write_text(CHILD.replace("CLIP", str(clip)))
    cfg = engine.load_config(str(path), str(tmp_path / "w"))
    runner = engine.build_runner(cfg)
    runner.train()
    assert type(runner.model).__name__ == "DominoEncoderDecoder"
    saved = Config.fromfile(tmp_path / "w" / "child.py")
    for config in (cfg, saved):
        cfg = engine.load_config(config, str(tmp_path / "w"))
        test = engine.for_this_run(engine.apply_domino(cfg))
        test.load_from = str(tmp_path / "w" / "iter_1.pth")
        engine.use_test_time_augmentation(test)
        engine.record_results(test, test.load_from)
        assert "mIoU" in engine.build_runner(test).test()
