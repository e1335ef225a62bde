// Lateral sharing on the CPU: every feature is read once and every result written once, whatever T is.
// docs/derivations/lateral_sharing.md has the formulas.
#include "../native/math.h"
#include "../native/parallel.h"
#include "../native/rows.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

constexpr int64_t most_axes = 64, most_tasks = 256;
// Numbers of all buffers of a chunk together; they stay in the second-level cache.
constexpr int64_t buffered = 8192;
constexpr int64_t chunk_numbers = 32768;

// T results, then T tensors that are mixed into them and, backward, the T features: all of one shape and dtype.
struct Arguments {
    View gates;               // (T,T) or (T,T,C)
    int64_t tasks, channels;  // 1 channel: all of them share the gates
    Dtype dtype;
    int64_t axes, channel_axis;  // -1: no axis has gates of its own
    void* const* data;
    const int64_t* sizes;    // from the slowest axis to the fastest
    const int64_t* strides;  // (tensors,axes)
    double* to_gates;        // (T,T,C), backward
};

// to[i] = weights[i * step] * from[i], or that added to it.
template <bool add, class T>
inline void mix(const T* from, const T* weights, bool along, int64_t n, T* __restrict to) {
    const T weight = weights[0];
    if (along) {
        for (int64_t i = 0; i < n; ++i) to[i] = add ? to[i] + weights[i] * from[i] : weights[i] * from[i];
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] = add ? to[i] + weight * from[i] : weight * from[i];
    }
}

// A sum of products, in an order that depends on n alone: eight at a time in T, and what they give in double.
template <class T>
inline double dot(const T* a, const T* b, int64_t n) {
    constexpr int64_t lanes = 16, terms = 8;
    double sums[lanes] = {};
    int64_t i = 0;
    for (; i + lanes * terms <= n; i += lanes * terms) {
        T few[lanes] = {};
        for (int64_t term = 0; term < terms; ++term) {
            const int64_t at = i + term * lanes;
            for (int64_t lane = 0; lane < lanes; ++lane) few[lane] += a[at + lane] * b[at + lane];
        }
        for (int64_t lane = 0; lane < lanes; ++lane) sums[lane] += static_cast<double>(few[lane]);
    }
    for (; i < n; ++i) sums[i % lanes] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    for (int64_t half = lanes / 2; half > 0; half /= 2) {
        for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    }
    return sums[0];
}

// Rows along the fastest axis, each cut into pieces of equal length.
struct Pieces {
    int64_t row, pieces, length, total;

    Pieces(const Arguments& a, int64_t longest) : row(a.sizes[a.axes - 1]) {
        pieces = (row + longest - 1) / longest;
        length = (row + pieces - 1) / pieces;
        total = pieces;
        for (int64_t axis = 0; axis + 1 < a.axes; ++axis) total *= a.sizes[axis];
    }
};

// One piece: where it starts in each tensor, and which channel it belongs to, or starts with.
struct Place {
    int64_t index[most_axes], n, channel;

    Place(const Arguments& a, const Pieces& pieces, int64_t number) {
        const int64_t last = a.axes - 1, column = number % pieces.pieces * pieces.length;
        index[last] = column;
        n = pieces.row - column < pieces.length ? pieces.row - column : pieces.length;
        int64_t rest = number / pieces.pieces;
        for (int64_t axis = last - 1; axis >= 0; --axis) {
            index[axis] = rest % a.sizes[axis];
            rest /= a.sizes[axis];
        }
        channel = a.channel_axis < 0 ? 0 : index[a.channel_axis];
    }

    int64_t offset(const Arguments& a, int64_t tensor) const {
        int64_t offset = 0;
        for (int64_t axis = 0; axis < a.axes; ++axis) offset += index[axis] * a.strides[tensor * a.axes + axis];
        return offset;
    }
};

template <class T>
int32_t run(const Arguments& a, bool backward) {
    const int64_t tasks = a.tasks, channels = a.channels, last = a.axes - 1;
    if (tasks > most_tasks || a.axes > most_axes) return unsupported;
    const int64_t slots = tasks * tasks * channels;
    // weights[to][from][channel] is the identity plus the gates, transposed backward.
    Zeros<T> weights(slots);
    if (!weights) return out_of_memory;
    for (int64_t t = 0; t < tasks; ++t) {
        for (int64_t u = 0; u < tasks; ++u) {
            for (int64_t c = 0; c < channels; ++c) {
                const int64_t row = t * a.gates.strides[0] + u * a.gates.strides[1];
                double buffer;
                const double gate = *read<double>(a.gates, row + (c > 0 ? c * a.gates.strides[2] : 0), 1, 1, &buffer);
                const int64_t slot = backward ? u * tasks + t : t * tasks + u;
                weights[slot * channels + c] = static_cast<T>(t == u ? 1 + gate : gate);
            }
        }
    }
    const int64_t buffers = (backward ? 2 : 1) * tasks + 1;
    const int64_t longest = buffered / buffers < 1024 ? buffered / buffers : 1024;
    const Pieces pieces(a, longest);
    // So large that the sums of a chunk are few beside its numbers.
    const int64_t numbers = chunk_numbers < 16 * slots ? 16 * slots : chunk_numbers;
    const Chunks chunks(1, pieces.total, pieces.length, numbers);
    Zeros<double> sums(backward ? chunks.total * slots : 0);
    if (!sums) return out_of_memory;
    const bool along = a.channel_axis == last;

    for_chunks(chunks.total, tasks * pieces.total * pieces.length, [&](int64_t chunk) {
        T memory[buffered];
        const T* given[2 * most_tasks];
        double* own = sums.get() + chunk * slots;
        for (int64_t piece = chunks.first(chunk); piece < chunks.last(chunk); ++piece) {
            const Place place(a, pieces, piece);
            const int64_t n = place.n;
            const auto stride = [&](int64_t tensor) { return a.strides[tensor * a.axes + last]; };
            for (int64_t k = 0; k < (backward ? 2 : 1) * tasks; ++k) {
                const View map{a.data[tasks + k], a.dtype, {}};
                given[k] = read(map, place.offset(a, tasks + k), stride(tasks + k), n, memory + k * longest);
            }
            for (int64_t to = 0; to < tasks; ++to) {
                const View map{a.data[to], a.dtype, {}};
                const int64_t offset = place.offset(a, to);
                T* result = DEPTHATTN_NAMESPACE::place(map, offset, stride(to), memory + (buffers - 1) * longest);
                const T* row = weights.get() + to * tasks * channels + place.channel;
                mix<false>(given[0], row, along, n, result);
                for (int64_t from = 1; from < tasks; ++from) {
                    mix<true>(given[from], row + from * channels, along, n, result);
                }
                write(map, offset, stride(to), n, result);
            }
            if (!backward) continue;
            for (int64_t t = 0; t < tasks; ++t) {
                for (int64_t u = 0; u < tasks; ++u) {
                    const T *grad = given[t], *feature = given[tasks + u];
                    double* sum = own + (t * tasks + u) * channels + place.channel;
                    if (along) {
                        for (int64_t i = 0; i < n; ++i) {
                            sum[i] += static_cast<double>(grad[i]) * static_cast<double>(feature[i]);
                        }
                    } else {
                        *sum += dot(grad, feature, n);
                    }
                }
            }
        }
    });
    if (backward) {
        for (int64_t chunk = 0; chunk < chunks.total; ++chunk) {
            for (int64_t slot = 0; slot < slots; ++slot) a.to_gates[slot] += sums[chunk * slots + slot];
        }
    }
    return ok;
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(lateral_sharing)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a, false) : run<float>(a, false);
}

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(lateral_sharing_backward)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a, true) : run<float>(a, true);
}
