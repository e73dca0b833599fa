"""MMSegmentation's documented way to predict, on configs of this package."""

import numpy as np
import pytest
from mmengine.config import Config
from mmseg.apis import MMSegInferencer

from mmseg_domino.apps.inference import init_domino_model, predict_image
from tests.small_domino import write_small_domino
from tests.tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A complete config that tests a ConcatDataset, as training leaves it, and its checkpoint."""
    folder = tmp_path_factory.mktemp("domino")
    clip = write_tiny_clip(folder / "clip")
    path, checkpoint = write_small_domino(folder, f"local-dir:{clip}")
    cfg = Config.fromfile(path)
    leaf = dict(type="ACDCDataset", data_root="nowhere", pipeline=cfg.test_pipeline)
    cfg.test_dataloader = dict(dataset=dict(type="ConcatDataset", datasets=[leaf, leaf]))
    cfg.domino = dict(applied=dict())
    cfg.visualizer = dict(type="SegLocalVisualizer", vis_backends=[])
    cfg.dump(folder / "complete.py")
    return folder / "complete.py", checkpoint


def test_it_predicts_what_init_domino_model_does(complete):
    config, checkpoint = map(str, complete)
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    found = MMSegInferencer(config, checkpoint, device="cpu")(image, return_datasamples=True)
    ours = predict_image(init_domino_model(config, checkpoint), image[..., ::-1])
    labels = found.pred_sem_seg.data.squeeze().numpy()
    assert len(np.unique(labels)) > 1
    assert np.array_equal(labels, ours.labels)


def test_a_config_that_is_not_complete_names_what_to_use(complete, tmp_path):
    cfg = Config.fromfile(complete[0])
    cfg.domino = dict(store="a.safetensors")
    cfg.dump(tmp_path / "mixin.py")
    with pytest.raises(ValueError, match="init_domino_model"):
        MMSegInferencer(str(tmp_path / "mixin.py"), str(complete[1]), device="cpu")
