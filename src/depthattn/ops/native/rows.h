// Rows of a tensor as floats or doubles, whatever its dtype and strides: in place where they lie so, else by way of a
// small buffer.
#pragma once

#include <cstdint>
#include <type_traits>

#include "abi.h"

namespace DEPTHATTN_NAMESPACE {

// Pixels that a kernel has in its hands at once: a few buffers of doubles stay in the first-level cache.
constexpr int64_t block = 256;

// n numbers of a float tensor, the first `offset` elements behind its start and `stride` apart.
template <class T>
const T* read(const View& view, int64_t offset, int64_t stride, int64_t n, T* buffer);

// Where the next n numbers of a result go: its own memory, or the buffer, which `write` then stores.
template <class T>
inline T* place(const View& view, int64_t offset, int64_t stride, T* buffer) {
    const Dtype own = std::is_same<T, float>::value ? Dtype::float32 : Dtype::float64;
    return view.dtype == own && stride == 1 ? static_cast<T*>(view.data) + offset : buffer;
}

template <class T>
void write(const View& view, int64_t offset, int64_t stride, int64_t n, const T* from);

// n labels of any integer dtype, as 64-bit integers.
const int64_t* read_labels(const View& view, int64_t offset, int64_t stride, int64_t n, int64_t* buffer);

// The sum of up to `block` values in double, in an order that depends on n alone.
template <class T>
inline double sum_of(const T* values, int64_t n) {
    double lanes[8] = {};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(values[i + lane]);
    }
    for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += static_cast<double>(values[i]);
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

}  // namespace DEPTHATTN_NAMESPACE
