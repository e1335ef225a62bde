// How a resized axis reads the axis that it came from: docs/derivations/semi_dense_up_skip.md has the formulas.
#pragma once

#include <cstdint>

#include "../native/abi.h"

namespace DEPTHATTN_NAMESPACE {

enum class Grid : int64_t { nearest, centres, corners };

// Pixel i of the result is low[i] * source[lower[i]] + high[i] * source[upper[i]].
template <class T>
struct Axis {
    int64_t source, target;
    bool single;  // each pixel of the result is one of the source
    int32_t *lower, *upper;
    T *low, *high;
    // (source + 1,): how many pixels of the result have their lower one before this one. They are in order.
    int32_t* before;

    bool same() const { return source == target; }

    // Positions are whole numbers up to the last division: float coordinates would drift.
    void fill(Grid grid) {
        single = same() | (grid == Grid::nearest);
        const bool corners = grid == Grid::corners;
        const int64_t step = corners ? source - 1 : 2 * source;
        const int64_t start = corners ? 0 : source - target;
        const int64_t divisor = corners ? (target > 1 ? target - 1 : 1) : 2 * target;
        for (int64_t i = 0; i < target; ++i) {
            const int64_t position = i * step + start > 0 ? i * step + start : 0;
            const int64_t index = grid == Grid::nearest ? nearest(i) : position / divisor;
            const int64_t next = index + 1 < source ? index + 1 : index;
            lower[i] = static_cast<int32_t>(index);
            upper[i] = static_cast<int32_t>(next);
            high[i] = single ? T(0) : static_cast<T>(position - index * divisor) / static_cast<T>(divisor);
            low[i] = T(1) - high[i];
        }
        int64_t i = 0;
        for (int64_t k = 0; k <= source; ++k) {
            while (i < target && lower[i] < k) ++i;
            before[k] = static_cast<int32_t>(i);
        }
    }

  private:
    // In float, so that a centre between two pixels falls to the side that torch takes.
    int64_t nearest(int64_t i) const {
        const float ratio = static_cast<float>(source) / static_cast<float>(target);
        const int64_t index = static_cast<int64_t>((static_cast<float>(i) + 0.5f) * ratio);
        return index < source ? index : source - 1;
    }
};

}  // namespace DEPTHATTN_NAMESPACE
