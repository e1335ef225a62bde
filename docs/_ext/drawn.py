"""Pictures drawn by the code that a page shows.

``{drawn}`` runs the Python blocks above it, top to bottom in one namespace as a reader would, and shows the figures
that they leave open.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import figures
import matplotlib.pyplot as plt
import torch
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

# Inside of the build folder, so that nothing else has to know that it is made and not written.
_FOLDER = Path("_build", "drawn")


class Drawn(SphinxDirective):
    """The directive; it has neither arguments nor content."""

    def run(self) -> list[nodes.Node]:
        page = self.env.docname
        state: dict[str, Any] = self.env.temp_data.setdefault("drawn", {"names": {}, "blocks": 0, "figures": 0})
        blocks = [
            block for block in self.state.document.findall(nodes.literal_block) if block.get("language") == "python"
        ]
        if state["blocks"] == 0:
            figures.reset()
            torch.manual_seed(0)
        for block in blocks[state["blocks"] :]:
            try:
                with redirect_stdout(StringIO()):
                    exec(compile(block.astext(), f"<{page}.md>", "exec"), state["names"])
            except Exception as error:
                raise ExtensionError(f"{page}.md: code above line {self.lineno}: {error!r}", error) from error
        state["blocks"] = len(blocks)
        if not plt.get_fignums():
            raise ExtensionError(
                f"{page}.md, line {self.lineno}: expected code above that leaves a figure open, got none"
            )
        return [image for number in plt.get_fignums() for image in self._images(number, state)]

    def _images(self, number: int, state: dict[str, Any]) -> list[nodes.Node]:
        root, page = Path(self.env.srcdir), self.env.docname
        state["figures"] += 1
        path = root / _FOLDER / f"{page.replace('/', '-')}-{state['figures']}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures, text = figures.save(plt.figure(number), path, f"{page}.md")
        plt.close(number)
        return [
            nodes.image(uri=f"/{image.relative_to(root).as_posix()}", alt=text, classes=["figure", theme])
            for image, theme in pictures
        ]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("drawn", Drawn)
    # matplotlib's state, and the generator that the pages draw from, are those of the process.
    return {"parallel_read_safe": False, "parallel_write_safe": True}
