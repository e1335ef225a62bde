"""The formula of lateral sharing: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

from torch import Tensor

from depthattn.ops.masking import compute_dtype


def share(features: list[Tensor], gates: Tensor) -> list[Tensor]:
    """out_t = x_t + sum_u gates[t,u] x_u; gates (T,T) or (T,T,C), features (B,C,...)."""
    dtype = compute_dtype(*features, gates)
    wide = [x.to(dtype) for x in features]
    trailing = (1,) * (features[0].ndim - 2)
    outputs = []
    for row, x, own in zip(gates.to(dtype), features, wide, strict=True):
        mixed = own
        for gate, other in zip(row, wide, strict=True):
            mixed = mixed + (gate.view(-1, *trailing) if gate.ndim else gate) * other
        outputs.append(mixed.to(x.dtype))
    return outputs
