"""The semi-dense up-skip by name through torch.compile: the tensor code itself.

Its work is products of sparse matrices and dense rows, one library call each, with transposing copies in between. No
chain of pointwise operators is left for a compiler to merge, and a call into compiled code for every tile costs more
than it could win.
"""

from __future__ import annotations

from depthattn.ops.semi_dense_up_skip.eager import backward, forward

__all__ = ["backward", "forward"]
