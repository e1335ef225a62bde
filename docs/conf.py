"""How the site is built: `make docs`, or sphinx-build -nW docs docs/_build/html."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent / "src"), str(DOCS / "_ext")]

from sphinx.application import Sphinx  # noqa: E402
from sphinx_gallery.sorting import ExplicitOrder  # noqa: E402

import depthattn  # noqa: E402

project = "depthattn"
author = "The depthattn developers"
copyright = "The depthattn developers"
version = release = depthattn.__version__
pyproject = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))
repository = pyproject["project"]["urls"]["Repository"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "drawn",
    "figures",
    "inherited",
    "mathml",
]
exclude_patterns = ["_build", "**/sg_execution_times.rst", "sg_execution_times.rst"]
templates_path = ["_templates"]
nitpicky = True
# There is no inventory of other projects without a network: their names stand as plain text.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(torch|torchmetrics|numpy|np|npt|collections|pathlib|os|matplotlib)\..*|Tensor|Path|Sequence|Mapping|Callable",
    ),
    # Bases that are no part of the public interface.
    (
        "py:class",
        r"depthattn\.(metrics\.base\.ScoreMetric|models\.network\.SynergyNetwork)",
    ),
]

myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Of a base class of ours its members are described too, of others none.
autodoc_default_options = {
    "members": True,
    "inherited-members": "Module, Metric, Dataset, tuple, dict, BaseException",
}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# A page of a name that has gone would stay, as a warning.
shutil.rmtree(DOCS / "reference/generated", ignore_errors=True)
autosummary_generate = True
autosummary_ignore_module_all = False
# The function that computes what a module computes stands on the page of the module.
autosummary_context = {
    "functions": {
        "DepthAwareLoss": "depth_aware_loss",
        "JointGradientLoss": "joint_gradient_loss",
        "SemanticFocalLoss": "semantic_focal_loss",
        "LateralSharingUnit": "lateral_sharing",
        "SemiDenseUpSkip": "semi_dense_up_skip",
    }
}
maximum_signature_line_length = 60
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [
    ("Attributes", "params_style"),
    "Shape",
    "Gradient",
    "Source",
]

# Copied code runs: prompts and printed lines stay behind, and what a program prints has no button.
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_selector = (
    "div:not(.highlight-text, .sphx-glr-script-out) > div.highlight > pre"
)

html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"depthattn {version}"
html_logo = html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
# Where the site stands, with a slash at its end: other sites show the picture in links to it only by a full address.
html_baseurl = os.environ.get("DOCS_URL", "")
html_context = {"opengraph_picture": f"{html_baseurl}_static/opengraph.png"}
pygments_style = "friendly"
pygments_dark_style = "native"


def setup(app: Sphinx) -> None:
    # What Python says of the fields of a named tuple; the class's own text describes them.
    def skip(
        app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
    ) -> bool | None:
        return (member.__doc__ or "").startswith("Alias for field number") or None

    # Pages write REPOSITORY for the address of the repository.
    def address(app: Sphinx, page: str, source: list[str]) -> None:
        source[0] = source[0].replace("REPOSITORY", repository)

    app.connect("source-read", address)
    app.connect("autodoc-skip-member", skip)


sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "ignore_pattern": r"(^|/)(?!plot_)[^/]+\.py$",
    "filename_pattern": "/plot_",
    "image_scrapers": ("figures.scrape",),
    "reset_modules": ("figures.reset",),
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1e9,
    "download_all_examples": False,
    "show_signature": False,
    "plot_gallery": True,
    "abort_on_example_error": True,
    "within_subsection_order": ExplicitOrder(
        [
            "plot_idea.py",
            "plot_attention_room.py",
            "plot_gradient_per_depth.py",
            "plot_lambda_surface.py",
            "plot_averaging_first.py",
            "plot_depth_histogram.py",
            "plot_focal_gamma.py",
            "plot_up_skip_reach.py",
            "plot_gates_training.py",
            "*",
        ]
    ),
}
