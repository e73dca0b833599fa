"""The finder behind ``mmcv._ext``, what it leaves alone, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmseg_domino import operators
from mmseg_domino.operators import register_operators, unregister_operators, which_operators
from mmseg_domino.operators.extension import OPERATORS

ROOT = Path(__file__).parents[2]
stand_ins = pytest.mark.skipif(which_operators() == "compiled", reason="mmcv is compiled here")


def python(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(cwd), str(ROOT)])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **env}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


@pytest.fixture
def fake_mmcv(tmp_path):
    """A package ``mmcv`` whose ``ops`` loads ``_ext`` as the real one does."""
    package = tmp_path / "mmcv"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "ops.py").write_text("import importlib\next = importlib.import_module('mmcv._ext')")
    return package


def test_a_compiled_module_is_never_replaced(fake_mmcv):
    (fake_mmcv / "_ext.py").write_text("def nms(*args): return 'compiled'")
    code = (
        "import mmseg_domino, mmcv.ops\n"
        "from mmseg_domino.operators import which_operators\n"
        "print(mmcv.ops.ext.nms(), which_operators())"
    )
    done = python(code, fake_mmcv.parent)
    assert done.stdout.split() == ["compiled", "compiled"], done.stderr


def test_a_compiled_module_that_does_not_load_is_not_papered_over(fake_mmcv):
    (fake_mmcv / "_ext.py").write_text("raise ImportError('undefined symbol')")
    done = python("import mmseg_domino, mmcv.ops", fake_mmcv.parent)
    assert done.returncode != 0
    assert "undefined symbol" in done.stderr


@pytest.mark.parametrize("how", ["environment", "function"])
def test_it_can_be_switched_off(fake_mmcv, how):
    off = "" if how == "environment" else "mmseg_domino.operators.unregister_operators()"
    env = {operators.SWITCH: "0"} if how == "environment" else {}
    code = f"import mmseg_domino.operators\n{off}\nimport mmcv.ops"
    done = python(code, fake_mmcv.parent, **env)
    assert done.returncode != 0
    assert "No module named 'mmcv._ext'" in done.stderr


@stand_ins
def test_one_line_says_that_they_stand_in_whatever_is_imported_first(tmp_path):
    code = "import mmseg.models, mmpretrain.models, mmcv.ops, mmseg_domino.plugin"
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).count("mmcv has no compiled operators") == 1


@stand_ins
def test_it_is_too_late_once_mmcv_uses_them():
    import mmcv.ops  # noqa: F401

    register_operators()
    register_operators()
    assert sum(type(finder).__name__ == "_StandInFinder" for finder in sys.meta_path) == 1
    with pytest.raises(RuntimeError, match=r"before mmcv\.ops is imported"):
        unregister_operators()


@stand_ins
def test_an_operator_that_is_not_there_says_which_and_what_to_install():
    from mmcv.ops import CARAFE, get_compiler_version

    x = torch.zeros(1, 4, 3, 3)
    with pytest.raises(NotImplementedError, match=r"'carafe_forward'.*pip install"):
        CARAFE(3, 1, 2)(x, torch.zeros(1, 9, 6, 6))
    assert "stand-ins" in get_compiler_version()


@stand_ins
def test_every_name_is_one_of_mmcv():
    import mmcv.ops

    folder = Path(mmcv.ops.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    assert all(f"'{name}'" in text for name in OPERATORS)


@stand_ins
def test_mmpretrain_imports_beside_pycocotools_and_transformers_5():
    pytest.importorskip("pycocotools")
    import transformers

    if int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip("transformers 4 has what mmpretrain's multimodal models import")
    import mmpretrain.models  # noqa: F401  registers them
    from mmpretrain.registry import MODELS

    with pytest.raises(ImportError, match=r"BlipCaption of mmpretrain needs transformers 4"):
        MODELS.build(dict(type="mmpretrain.BlipCaption"))
