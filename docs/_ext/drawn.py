"""Pictures drawn by the code that a page shows.

``{drawn}`` runs the Python blocks above it, top to bottom in one namespace as a reader would, and shows the figure that
they leave open. Its content says what is seen on it, to who cannot see it.
"""

from __future__ import annotations

from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import figures
import matplotlib.pyplot as plt
import torch
from docutils import nodes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

# Inside of the build folder, so that nothing else has to know that it is made and not written.
_FOLDER = Path("_build", "drawn")


class Drawn(SphinxDirective):
    """The directive; its content is the text for who cannot see the figure."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        page = self.env.docname
        state: dict[str, Any] = self.env.temp_data.setdefault("drawn", {"names": {}, "blocks": 0, "figures": 0})
        blocks = [
            block for block in self.state.document.findall(nodes.literal_block) if block.get("language") == "python"
        ]
        if state["blocks"] == 0:
            figures.reset()
            torch.manual_seed(0)
        # Files that a page writes stay in the build folder.
        folder = Path(self.env.srcdir, _FOLDER, page)
        folder.mkdir(parents=True, exist_ok=True)
        for block in blocks[state["blocks"] :]:
            try:
                with redirect_stdout(StringIO()), chdir(folder):
                    exec(compile(block.astext(), f"<{page}.md>", "exec"), state["names"])
            except Exception as error:
                raise ExtensionError(f"{page}.md: code above line {self.lineno}: {error!r}", error) from error
        state["blocks"] = len(blocks)
        if len(plt.get_fignums()) != 1 or not self.content:
            raise ExtensionError(
                f"{page}.md, line {self.lineno}: expected code above that leaves one figure open, and a text that says "
                f"what is seen on it, got {len(plt.get_fignums())} figures and {len(self.content)} lines"
            )
        return [self._image(plt.gcf(), state)]

    def _image(self, figure: Figure, state: dict[str, Any]) -> nodes.Node:
        root, page = Path(self.env.srcdir), self.env.docname
        state["figures"] += 1
        path = root / _FOLDER / f"{page.replace('/', '-')}-{state['figures']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.set_label(" ".join(self.content))
        text = figures.save(figure, path, f"{page}.md")
        plt.close(figure)
        return nodes.image(uri=f"/{path.relative_to(root).as_posix()}", alt=text, classes=["figure"])


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("drawn", Drawn)
    # matplotlib's state, and the generator that the pages draw from, are those of the process.
    return {"parallel_read_safe": False, "parallel_write_safe": True}
