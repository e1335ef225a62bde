"""Figures of the site: each in a light and a dark look, and a text for who cannot see it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
EXTENSIONS = ROOT / "docs" / "_ext"
LIGHT_PAPER, DARK_PAPER = (255, 255, 255), (19, 20, 22)


@pytest.fixture(autouse=True)
def _extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sphinx", "sphinx_gallery", "matplotlib"):
        pytest.importorskip(module)
    monkeypatch.syspath_prepend(str(EXTENSIONS))


def test_a_figure_is_saved_in_both_looks(tmp_path: Path) -> None:
    import figures
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    from PIL import Image

    with mpl.rc_context():
        mpl.use("agg")
        figures.reset()
        figure, axes = plt.subplots()
        axes.plot([0, 1], label="line")
        with pytest.raises(ValueError, match=r"here\.py: expected a figure with set_label"):
            figures.save(figure, tmp_path / "one.png", "here.py")
        figure.set_label("A line that rises.")
        assert figures.save(figure, tmp_path / "one.png", "here.py") == "A line that rises."
        plt.close(figure)
    light, dark = (np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("one.png", "one_dark.png"))
    assert light.shape == dark.shape
    for pixels, paper in ((light, LIGHT_PAPER), (dark, DARK_PAPER)):
        assert tuple(pixels[0, 0]) == paper
        # The line has its colour on both papers, and no text is left in the other one's ink.
        assert (pixels == (0x0B, 0x84, 0xC6)).all(-1).any()
    ink = np.abs(dark.astype(int) - (0x1F, 0x23, 0x28)).max(-1) == 0
    assert not ink.any()


def test_a_picture_with_a_dark_one_beside_it_has_both(tmp_path: Path) -> None:
    from PIL import Image
    from sphinx.application import Sphinx

    source = tmp_path / "source"
    source.mkdir()
    for name in ("both.png", "both_dark.png", "alone.png"):
        Image.new("RGB", (2, 2)).save(source / name)
    (source / "conf.py").write_text("extensions = ['figures']")
    (source / "index.rst").write_text(
        "Page\n====\n\n.. image:: both.png\n   :alt: What is seen.\n\n.. image:: alone.png\n   :alt: Else.\n"
    )
    Sphinx(source, source, tmp_path / "html", tmp_path / "trees", "html", status=None, warningiserror=True).build()
    html = (tmp_path / "html" / "index.html").read_text()
    images = [part.partition(">")[0] for part in html.split("<img ")[1:]]
    found = {(name, look) for name in ("both.png", "both_dark.png", "alone.png") for look in ("light", "dark")
             if any(f"/{name}" in image and f"only-{look}" in image for image in images)}  # fmt: skip
    assert found == {("both.png", "light"), ("both_dark.png", "dark")}
    assert sum('alt="What is seen."' in image for image in images) == 2
    assert len(images) == 3


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("plot_*.py")), ids=lambda path: path.stem)
def test_every_example_says_what_is_seen_on_each_figure(script: Path) -> None:
    code = script.read_text(encoding="utf-8")
    assert 0 < code.count("figure, ") == code.count("figure.set_label(")


def test_every_page_says_what_is_seen_on_each_picture() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    bare = [page for page in pages if "_build" not in page.parts and "![](" in page.read_text(encoding="utf-8")]
    assert bare == []
