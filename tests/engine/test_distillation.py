"""A student taught by a Domino model."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_domino.apps.inference import init_domino_model
from mmseg_domino.engine import CheckpointMismatchError
from mmseg_domino.engine.distillation import distillation_loss

from ..small_domino import CLASSES, WIDTH, small_config, write_small_domino
from ..tiny_clip import write_tiny_clip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    return [str(f) for f in write_small_domino(folder, str(write_tiny_clip(folder / "clip")))]


def build(files, **options):
    model = small_config("none").model
    model.update(
        type="DominoDistilledEncoderDecoder",
        teacher=dict(config=files[0], checkpoint=files[1], **options),
        # other statistics and another order of channels than the teacher's
        data_preprocessor=dict(type="DominoDataPreProcessor", mean=[1, 2, 3], std=[4, 5, 6]),
        neck=None,
    )
    torch.manual_seed(0)
    return MODELS.build(model)


def batch():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (2, 3, 32, 48), generator=generator).float()
    samples = []
    for _ in range(2):
        labels = torch.randint(0, len(CLASSES), (1, 32, 48), generator=generator)
        labels[:, 20:] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(32, 48), domain_space="context"))
        sample.set_data(dict(domain_embedding=torch.randn(WIDTH, generator=generator)))
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    return raw, samples


def normalised(model, raw):
    data = dict(inputs=list(raw), data_samples=None)
    return MODELS.get("SegDataPreProcessor").forward(model.data_preprocessor, data)["inputs"]


def test_the_loss_is_the_divergence_over_known_pixels():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 4, 3, 5, generator=generator) for _ in range(2))
    known = torch.rand(2, 1, 3, 5, generator=generator) > 0.4
    p, q = (x.double().div(2).softmax(1) for x in (teacher, student))
    expected = 4 * (p * (p / q).log()).sum(1, keepdim=True)[known].mean()
    found = distillation_loss(student, teacher, known, 2.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert distillation_loss(teacher, teacher, known, 1.0).item() == pytest.approx(0, abs=1e-6)
    assert distillation_loss(student, teacher, known & False, 1.0).item() == 0


def test_the_teacher_sees_what_it_would_see_by_itself(teacher):
    student, (raw, samples) = build(teacher), batch()
    model = init_domino_model(*teacher)
    domain = {"context": torch.stack([s.domain_embedding for s in samples])}
    with torch.no_grad(), model._conditioned_on(domain):
        metas = [dict(img_shape=torch.Size((32, 48)))] * 2
        expected = model.encode_decode(normalised(model, raw), metas)
    found = student._teacher_logits(normalised(student, raw), samples)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    samples[0].domain_embedding = -samples[0].domain_embedding
    other = student._teacher_logits(normalised(student, raw), samples)
    assert (other[0] - expected[0]).abs().max() > 1e-3


def test_a_step_trains_the_student_alone(teacher):
    student, (raw, samples) = build(teacher, loss_weight=3.0), batch()
    losses = student.loss(normalised(student, raw), samples)
    assert {"decode.loss_ce", "distillation.loss"} <= set(losses)
    assert losses["distillation.loss"] > 0
    losses["distillation.loss"].backward()
    assert student.decode_head.conv_seg.weight.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in student.teacher.parameters())
    assert not student.teacher.training
    assert not [key for key in student.state_dict() if "teacher" in key]
    lone = build(teacher, loss_weight=1.0).loss(normalised(student, raw), samples)
    ratio = losses["distillation.loss"] / lone["distillation.loss"]
    assert ratio.item() == pytest.approx(3, rel=0.05)


def test_a_trained_student_needs_no_teacher(tmp_path):
    student = build([str(tmp_path / "gone.py"), str(tmp_path / "gone.pth")]).eval()
    with torch.no_grad():
        assert student.encode_decode(torch.zeros(1, 3, 32, 48), [dict(img_shape=(32, 48))]).shape


def test_wrong_options(teacher, tmp_path):
    with pytest.raises(ValueError, match="teacher needs `config` and `checkpoint`"):
        build([teacher[0], None])
    with pytest.raises(ValueError, match="unknown options \\['weight'\\] in `teacher`"):
        build(teacher, weight=1)
    state = torch.load(teacher[1], weights_only=True)
    del state["state_dict"]["decode_head.conv_seg.weight"]
    torch.save(state, tmp_path / "wrong.pth")
    raw, samples = batch()
    student = build([teacher[0], str(tmp_path / "wrong.pth")])
    with pytest.raises(CheckpointMismatchError, match="does not fit the model"):
        student.loss(normalised(student, raw), samples)
