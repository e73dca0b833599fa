"""What a run says of itself when it starts."""

import pytest
from mmengine.config import Config
from torch import nn

from mmseg_domino import engine
from mmseg_domino.engine import describe_start
from mmseg_domino.engine.loading import LoadReport
from mmseg_domino.models.backbones import DominoBackbone


def runner(model, cfg, report=None):
    kind = type("Runner", (), {})
    made = kind()
    made.model, made.cfg, made.load_report = model, Config(cfg), report
    return made


def test_a_domino_model_says_layers_parameters_embedding_and_weights():
    stock = dict(type="ResNetV1c", depth=18, base_channels=4, norm_cfg=dict(type="BN"))
    model = nn.Module()
    model.backbone = DominoBackbone(backbone=stock, domain_channels=8)
    step = dict(type="LoadDomainEmbedding", store="data/d.safetensors", source="argmax")
    cfg = dict(train_dataloader=dict(dataset=dict(pipeline=[dict(type="X"), step])))
    line = describe_start(runner(model, cfg, LoadReport("iter_3.pth", "ab" * 32, 7)))
    norms = sum(isinstance(m, nn.modules.batchnorm._NormBase) for m in model.modules())
    added = sum(p.numel() for p in model.backbone.domain.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert "\n" not in line
    assert f"{norms} layers of the backbone adapted to the domain, {added:,} parameters" in line
    assert f"of {total:,} trainable" in line
    assert "embedding: argmax, from the store data/d.safetensors" in line
    assert "weights: 7 tensors from iter_3.pth (sha256 abababababab)" in line


def test_clip_on_the_fly_and_plain_models():
    model = nn.Module()
    model.data_preprocessor = nn.Identity()
    step = dict(type="EncodeDomain", encoder=dict(model="ViT-L-14", bank="weather"))
    line = describe_start(runner(model, dict(test_dataloader=dict(pipeline=[step]))))
    assert "soft, by CLIP ViT-L-14 and the bank weather" in line
    line = describe_start(runner(model, {}))
    assert line.startswith("no layers adapted to the domain, 0 parameters added")
    assert "embedding: none; weights: those the model was built with" in line


@pytest.mark.parametrize("resume", [False, True])
def test_every_run_logs_the_line(small_config, small_run, resume, tmp_path, caplog):
    cfg = small_config(tmp_path, resume=resume, log_level="INFO")
    if not resume:
        cfg.load_from = str(small_run / "iter_4.pth")
    made = engine.build_runner(cfg)
    made.logger.addHandler(caplog.handler)
    made._train_loop = made._train_loop and dict(made._train_loop, max_iters=1)
    made.train()
    said = [r.getMessage() for r in caplog.records if "adapted to the domain" in r.getMessage()]
    assert len(said) == 1
    assert ("from " + str(small_run) in said[0]) is not resume
