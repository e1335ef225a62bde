// Maps (B,H,W): the order in which to walk through them, and the rules for pixels that count.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <utility>

#include "abi.h"
#include "math.h"
#include "parallel.h"
#include "rows.h"

namespace DEPTHATTN_NAMESPACE {

constexpr int64_t chunk_pixels = 16384;

// Makes the prediction's faster axis the last one of all maps: every operation on maps is symmetric in H and W.
inline void fastest_axis_last(const View& leading, int64_t& height, int64_t& width, std::initializer_list<View*> maps) {
    if (leading.strides[1] >= leading.strides[2]) return;
    for (View* map : maps) std::swap(map->strides[1], map->strides[2]);
    std::swap(height, width);
}

// Makes one long row of each image where all maps allow it.
inline void join_rows(int64_t& height, int64_t& width, std::initializer_list<View*> maps) {
    for (const View* map : maps) {
        if (*map && height > 1 && map->strides[1] != width * map->strides[2]) return;
    }
    width *= height;
    height = 1;
}

inline int64_t offset_of(const View& map, int64_t image, int64_t row, int64_t column) {
    return image * map.strides[0] + row * map.strides[1] + column * map.strides[2];
}

template <class T>
inline bool valid_depth(T target) {
    return (target > T(0)) & (target < std::numeric_limits<T>::infinity());
}

// n depths of the ground truth, 0 where the mask, if there is one, leaves a pixel out.
template <class T>
inline const T* read_target(
    const View& target, const View& mask, int64_t image, int64_t row, int64_t column, int64_t n, T* buffer) {
    const T* depth = read(target, offset_of(target, image, row, column), target.strides[2], n, buffer);
    if (!mask) return depth;
    const uint8_t* use = static_cast<const uint8_t*>(mask.data) + offset_of(mask, image, row, column);
    const int64_t stride = mask.strides[2];
    if (stride == 1) {
        for (int64_t i = 0; i < n; ++i) buffer[i] = use[i] != 0 ? depth[i] : T(0);
    } else {
        for (int64_t i = 0; i < n; ++i) buffer[i] = use[i * stride] != 0 ? depth[i] : T(0);
    }
    return buffer;
}

// Entry `index` of a vector of floats or doubles.
inline double number_at(const View& vector, int64_t index) {
    double buffer = 0;
    return *read<double>(vector, index * vector.strides[0], 1, 1, &buffer);
}

// The same of a table (rows, columns).
inline double number_at(const View& table, int64_t row, int64_t column) {
    double buffer = 0;
    return *read<double>(table, row * table.strides[0] + column * table.strides[1], 1, 1, &buffer);
}

// -1, 0 or 1; NaN stays NaN, so that divergence shows in the gradient.
template <class T>
inline T sign(T x) {
    return x > T(0) ? T(1) : (x < T(0) ? T(-1) : x);
}

}  // namespace DEPTHATTN_NAMESPACE
