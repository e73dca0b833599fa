"""Sphinx configuration: the pages of this folder, and a reference made from the docstrings."""

from mmseg_domino import __version__

project = "mmseg_domino"
author = "the authors of mmseg_domino"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = f"mmseg_domino {version}"
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False}
# Inherited docstrings of the host framework are in its own style and none of our pages.
autodoc_inherit_docstrings = False
napoleon_custom_sections = [("Shape", "notes_style")]
napoleon_use_ivar = True  # documented once, with the fields themselves
napoleon_use_rtype = False
