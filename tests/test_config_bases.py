import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmseg_domino.config_bases import complete_package_table

ROOT = Path(__file__).parents[1]


def python(code: str, cwd: Path) -> str:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def test_importing_the_package_needs_no_host_framework_and_no_torch(tmp_path):
    code = """
import sys
class Refuse:
    def find_spec(self, name, path, target=None):
        if name.split('.')[0] in {'torch', 'mmseg', 'mmengine', 'mmcv', 'mmpretrain', 'diffusers',
                                  'open_clip', 'socket'}:
            raise ImportError(name)
for name in list(sys.modules):
    if name.split('.')[0] == 'mmseg_domino':
        del sys.modules[name]
sys.meta_path.insert(0, Refuse())
import mmseg_domino
print(mmseg_domino.__version__)
"""
    assert python(code, tmp_path).count(".") == 2


@pytest.mark.parametrize("order", ["package first", "mmengine first"])
def test_both_kinds_of_base_resolve_whatever_is_imported_first(tmp_path, order):
    (tmp_path / "child.py").write_text(
        "_base_ = ['mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py',\n"
        "          'mmseg_domino::_base_/domino.py']\n"
    )
    (tmp_path / "flagship.py").write_text("_base_ = ['mmseg_domino::domino_vpd_cityscapes.py']\n")
    imports = ["import mmseg_domino", "from mmengine.config import Config\nimport mmengine.hub"]
    code = "\n".join(imports if order == "package first" else reversed(imports))
    code += """
cfg = Config.fromfile('child.py')
print(cfg.model.backbone.type, 'domino' in cfg)
flagship = Config.fromfile('flagship.py')
print(flagship.model.backbone.type)
print(mmengine.hub.get_config('mmseg_domino::domino_vpd_mini.py').model.type)
try:
    flagship._get_cfg_path('mmdet::x.py', 'a.py')
except ValueError as error:
    print(error)
"""
    said = python(code, tmp_path)
    assert "MixVisionTransformer True" in said
    assert "DominoVPD" in said  # at the root, where MMEngine insists on a folder
    assert "please specify the package name" in said


def test_a_table_entry_that_is_right_stays():
    table = {"mmseg": "torch", "mmyolo": "mmyolo"}  # torch stands for any installed distribution
    complete_package_table(table)
    assert table["mmseg"] == "torch"
    assert table["mmyolo"] == "mmyolo"
    assert table["mmseg_domino"] == "mmseg_domino"


def test_an_entry_of_a_distribution_that_is_not_installed_is_corrected():
    table = {"mmseg": "a-distribution-nobody-has"}
    complete_package_table(table)
    assert table["mmseg"] in ("mmsegmentation", "onedl-mmsegmentation")


def start_up_line():
    """What ``setup.py`` writes into site-packages."""
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())):
        if isinstance(node, ast.Assign) and node.targets[0].id == "line":
            return ast.literal_eval(node.value)
    raise AssertionError("setup.py has no start-up line")


@pytest.mark.parametrize(
    "package",
    [None, "", "import no_such_module", "def broken(:", "raise RuntimeError('broken')", "1 / 0"],
)
def test_a_missing_or_broken_package_is_not_heard_of_when_python_starts(tmp_path, package):
    site = tmp_path / "site"
    site.mkdir()
    (site / "start.pth").write_text(start_up_line())
    if package is not None:
        (site / "mmseg_domino").mkdir()
        (site / "mmseg_domino" / "__init__.py").write_text(package + "\n")
    code = (
        f"import sys, site; sys.path.insert(0, {str(site)!r})\n"
        f"site.addsitedir({str(site)!r})\n"
        "print('mmseg_domino' in sys.modules)"
    )
    # Without the site packages of this environment, where a whole package lies.
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{package == ''}\n"
