"""The mix-in on every stock config of MMSegmentation that trains on Cityscapes."""

import copy
import json
from functools import cache
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn
from torch.overrides import TorchFunctionMode

import mmseg_domino.plugin  # noqa: F401  registers the parts
from mmseg_domino.engine import apply_domino

CONFIGS = Path(mmseg.__file__).parent / ".mim" / "configs"
MIXIN = Path(__file__).parents[1] / "configs" / "_base_" / "domino.py"
DOC = Path(__file__).parents[1] / "docs" / "backbones.md"
D, SIZE = 12, 64
#: LRASPP pools over 49 positions of stride 8.
SIZES = {"mobilenet_v3": 400}


#: Where the page lists the families; ``python -m tests.test_stock_configs`` writes it anew.
BEGIN, END = "<!-- stock families: begin -->", "<!-- stock families: end -->"


def paths():
    return sorted(
        path.relative_to(CONFIGS).as_posix()
        for path in CONFIGS.rglob("*cityscapes*.py")
        if "_base_" not in path.parts
    )


@cache
def read(path):
    return Config.fromfile(CONFIGS / path)


def mixed(path, **options):
    cfg = copy.deepcopy(read(path))
    # What MMEngine makes of the mix-in as a further base, without reading the stock file twice.
    for key, value in copy.deepcopy(read(MIXIN)).items():
        assert key not in cfg or key == "custom_hooks", f"{path} defines {key} too"
        cfg[key] = value
    cfg.domino = {**cfg.domino, "domain_channels": D, **options}
    return apply_domino(cfg)


class Empty(TorchFunctionMode):
    """Parameters and buffers without storage; schedules, which are read back, are computed."""

    CREATORS = (
        torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye,
    )  # fmt: skip
    #: PyTorch draws these numbers even for tensors without storage.
    DRAWS = (torch.Tensor.normal_, nn.init.normal_, nn.init.kaiming_normal_)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in self.DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.is_meta:
                return tensor
        if function in self.CREATORS and kwargs.get("device") is None:  # layers give None
            kwargs["device"] = "meta"
        return function(*args, **kwargs)


def family(path):
    return path.split("/")[0]


def needs(path):
    """Skip a config whose head is another package's where that is not installed."""
    if family(path) == "mask2former":
        pytest.importorskip("mmdet")


def test_there_are_over_two_hundred():
    segmentors = {read(path).model.type for path in paths()}
    assert segmentors == {"EncoderDecoder", "CascadeEncoderDecoder"}
    assert len(paths()) > 200


#: What models turn out to be: configs that differ in their schedule alone share one.
_BUILT = {}


def built(model):
    key = json.dumps(model.to_dict(), sort_keys=True)
    if key not in _BUILT:
        with Empty():
            segmentor = MODELS.build(model)
        backbone = segmentor.backbone
        _BUILT[key] = type(segmentor).__name__, backbone.accepts_domain, len(backbone.domain.names)
    return _BUILT[key]


@pytest.mark.parametrize("path", paths())
def test_every_stock_config_becomes_a_domino_one(path):
    needs(path)
    cfg, stock = mixed(path), read(path)
    name, accepts_domain, norms = built(cfg.model)
    assert name == f"Domino{stock.model.type}"
    assert accepts_domain
    assert norms > 0
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for pipeline in pipelines(loader.dataset):
            names = [transform["type"] for transform in pipeline]
            assert names[names.index("LoadImageFromFile") + 1] == "EncodeDomain"
            assert names[-1] == "PackDominoInputs"


def pipelines(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "pipeline":
                yield value
            else:
                yield from pipelines(value)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from pipelines(child)


#: Families that differ from one of the others in the head alone.
SIMILAR = [
    "deeplabv3/deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024.py",
    "dmnet/dmnet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "dnlnet/dnl_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "dsdl/cityscapes.py",
    "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024.py",
    "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py",
    "gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "isanet/isanet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "mobilenet_v3/mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024.py",
    "nonlocal_net/nonlocal_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py",
    "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024.py",
]
#: One config of each family, and what makes it small enough to run.
RUN = {
    "ann/ann_r50-d8_4xb2-40k_cityscapes-512x1024.py": {},
    "apcnet/apcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py": {},
    "bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024.py": {},
    "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024.py": {},
    "ccnet/ccnet_r50-d8_4xb2-40k_cityscapes-512x1024.py": {},
    "cgnet/cgnet_fcn_4xb4-60k_cityscapes-680x680.py": {},
    "danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024.py": {},
    "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py": {},
    "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024.py": {},
    "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024.py": {},
    "erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024.py": {},
    "fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py": {},
    "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024.py": {},
    "hrnet/fcn_hr18s_4xb2-40k_cityscapes-512x1024.py": {},
    "icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832.py": {},
    "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024.py": {},
    "mobilenet_v2/mobilenet-v2-d8_fcn_4xb2-80k_cityscapes-512x1024.py": {},
    "ocrnet/ocrnet_hr18s_4xb2-40k_cityscapes-512x1024.py": {},
    "pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes.py": {},
    "point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py": {},
    "psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024.py": {},
    "resnest/resnest_s101-d8_fcn_4xb2-80k_cityscapes-512x1024.py": {"depth": 50},
    "segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py": {},
    "sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py": {},
    "setr/setr_vit-l_mla_8xb1-80k_cityscapes-768x768.py": {
        "num_layers": 4, "out_indices": (0, 1, 2, 3), "img_size": (SIZE, SIZE),
    },
    "stdc/stdc1_4xb12-80k_cityscapes-512x1024.py": {},
    "unet/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024.py": {},
    **{path: {} for path in SIMILAR},
}  # fmt: skip


def shrink(cfg, changes):
    """The same parts without weights to fetch, without SyncBN and at a small size."""
    cfg.model.backbone.backbone.update(changes)
    for node in walk(cfg.model):
        node.pop("pretrained", None)
        if (node.get("init_cfg") or {}) and "checkpoint" in str(node["init_cfg"]):
            node["init_cfg"] = None
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
    cfg.model.test_cfg.mode = "whole"
    cfg.model.data_preprocessor.size = None
    return cfg


def walk(node):
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from walk(child)


def samples(embeddings, size=(SIZE, SIZE)):
    label = torch.randint(0, 19, (1, *size), generator=torch.Generator().manual_seed(0))
    meta = dict(ori_shape=size, img_shape=size, pad_shape=size, padding_size=[0] * 4, flip=False)
    batch = []
    for embedding in embeddings:
        sample = SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=meta)
        sample.gt_edge_map = PixelData(data=(label > 9).long())  # PIDNet and STDC learn edges too
        sample.domain_embedding = embedding
        batch.append(sample)
    return batch


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[pytest.mark.slow] * (p in SIMILAR)) for p in RUN]
)
def test_one_of_each_family_learns_and_predicts(path):
    needs(path)
    torch.manual_seed(0)
    cfg = shrink(mixed(path), RUN[path])
    model = MODELS.build(cfg.model)
    with Empty():
        stock = MODELS.build({**cfg.model, "type": cfg.model.type.removeprefix("Domino"),
                              "backbone": cfg.model.backbone.backbone})  # fmt: skip
    new = set(model.state_dict()) - set(stock.state_dict())
    assert set(stock.state_dict()) < set(model.state_dict())
    assert all(name.startswith("backbone.domain.") for name in new)
    size = (SIZES.get(family(path), SIZE),) * 2
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
    domain = torch.randn(2, D, generator=torch.Generator().manual_seed(2))
    losses = model.train()(x, samples(domain, size), mode="loss")
    loss = sum(value for name, value in losses.items() if "loss" in name)
    loss.backward()
    assert loss.isfinite()
    assert model.backbone.domain.modulation.out.weight.grad.abs().sum() > 0
    with torch.no_grad():
        model.backbone.domain.modulation.out.weight.normal_(std=0.5)
        model.eval()
        one, other = (
            [s.seg_logits.data for s in model(x, samples(d, size), mode="predict")]
            for d in (domain, domain.flip(0))
        )
    assert one[0].shape == (19, *size)
    assert all((a - b).abs().max() > 0 for a, b in zip(one, other, strict=True))


def table():
    """All families of stock configs on Cityscapes, as the page lists them."""
    heading = "| family | configs | segmentor | heads | trained for a step and run |"
    rows = [heading, "|---|---|---|---|---|"]
    for name in sorted({family(path) for path in paths()}):
        members = [path for path in paths() if family(path) == name]
        models = [read(path).model for path in members]
        segmentors = sorted({model.type for model in models})
        heads = sorted({head.type for model in models for head in listed(model.decode_head)})
        run = [Path(path).stem for path in RUN if family(path) == name]
        cells = [name, str(len(members)), *(", ".join(f"`{x}`" for x in c)
                 for c in (segmentors, heads, run))]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"{len(paths())} configs:", "", *rows])


def listed(node):
    return node if isinstance(node, list | tuple) else [node]


def test_the_page_lists_every_family():
    inside = DOC.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert inside == table(), "python -m tests.test_stock_configs writes it anew"


if __name__ == "__main__":
    text = DOC.read_text()
    start, rest = text.split(BEGIN)
    DOC.write_text(f"{start}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}")
