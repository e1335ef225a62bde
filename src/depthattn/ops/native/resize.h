// Bilinear resizing along one axis, by whole numbers up to the last division.
#pragma once

#include <cstdint>

#include "abi.h"

namespace DEPTHATTN_NAMESPACE {

// Pixel i of `size` lies share(i) of the way from pixel before(i) of the source to the next one.
struct ResizedAxis {
    int64_t source, size, step, first, unit;

    ResizedAxis(int64_t source_, int64_t size_, bool align_corners) : source(source_), size(size_) {
        step = align_corners ? source - 1 : 2 * source;
        first = align_corners ? 0 : source - size;
        unit = align_corners ? (size > 1 ? size - 1 : 1) : 2 * size;
    }
    int64_t before(int64_t i) const {
        const int64_t index = position(i) / unit;
        return index < source ? index : source - 1;
    }
    int64_t behind(int64_t i) const { return before(i) + 1 < source ? before(i) + 1 : source - 1; }
    template <class T>
    T share(int64_t i) const {
        // Behind the last pixel both taps are that one.
        if (before(i) == source - 1) return T(0);
        return static_cast<T>(position(i) - before(i) * unit) / static_cast<T>(unit);
    }
    // The first pixel whose `before` is at least `index`.
    int64_t start(int64_t index) const {
        if (index <= 0) return 0;
        if (index >= source) return size;
        const int64_t i = (index * unit - first + step - 1) / step;
        return i < size ? i : size;
    }

  private:
    int64_t position(int64_t i) const {
        const int64_t numerator = i * step + first;
        return numerator > 0 ? numerator : 0;
    }
};

}  // namespace DEPTHATTN_NAMESPACE
