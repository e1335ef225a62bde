"""The semantic focal loss on bilinearly resized logits as an operator: logits (B,K,h,w), target (B,H,W)."""

from __future__ import annotations

from depthattn.ops.semantic_focal.operation import focal_operation
from depthattn.ops.semantic_focal_upsample import reference

# What a label of the Triton kernels has: the logarithm of the sum of exponentials, the factor of the softmax of the
# other classes, and the gradient of its own class.
TERMS = 3

SEMANTIC_FOCAL_UPSAMPLE = focal_operation("semantic_focal_upsample", reference.per_pixel, TERMS)
