"""From sums and counts of the images to a loss and the factors of its gradient: the same for every loss.

A backend has two functions, of sums and counts (T,B), the weights of the terms, options and the dtype of the loss:

- ``reduced(sums, counts, weights, options, dtype)`` returns the loss, the terms, what divides them, and the scales;
- ``scales_for(counts, weights, options, dtype)`` returns the scales alone, before there are sums.

The scales (T,B) are the derivative of the loss by the sums.
"""

REDUCTIONS = ("mean", "per_image", "sum", "none")
