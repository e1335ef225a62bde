// The semi-dense up-skip on the CPU: rows are resized along their columns once and mixed into the sum, which is written
// once; backward the adjoint by gathering, so that every pixel of a gradient has one writer.
#include <atomic>

#include "../native/parallel.h"
#include "../native/rows.h"
#include "axis.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

constexpr int64_t chunk_pixels = 16384;

struct Arguments {
    View map;             // the sum, or its gradient, (B,C,height,width)
    const View* levels;   // or their gradients, (B,C,h,w)
    const int64_t* sizes; // (count,2)
    int64_t count;
    Grid grid;
    int64_t batch, channels, height, width;
};

template <class T>
struct Level {
    View view;
    Axis<T> rows, columns;
};

// All levels with their axes.
template <class T>
class Levels {
  public:
    int64_t widest = 0, highest = 0;

    explicit Levels(const Arguments& a)
        : levels_(a.count),
          indices_(2 * a.count * (a.height + a.width) + entries(a)),
          weights_(2 * a.count * (a.height + a.width)) {
        if (!*this) return;
        int32_t* indices = indices_.get();
        T* weights = weights_.get();
        const auto fill = [&](Axis<T>& axis, int64_t source, int64_t target) {
            axis = {source, target, false, indices, indices + target, weights, weights + target, indices + 2 * target};
            indices += 2 * target + source + 1;
            weights += 2 * target;
            axis.fill(a.grid);
        };
        for (int64_t k = 0; k < a.count; ++k) {
            levels_[k].view = a.levels[k];
            fill(levels_[k].rows, a.sizes[2 * k], a.height);
            fill(levels_[k].columns, a.sizes[2 * k + 1], a.width);
            if (a.sizes[2 * k] > highest) highest = a.sizes[2 * k];
            if (a.sizes[2 * k + 1] > widest) widest = a.sizes[2 * k + 1];
        }
    }
    explicit operator bool() const { return levels_ && indices_ && weights_; }
    const Level<T>& operator[](int64_t k) { return levels_[k]; }

  private:
    Zeros<Level<T>> levels_;
    Zeros<int32_t> indices_;
    Zeros<T> weights_;

    static int64_t entries(const Arguments& a) {
        int64_t count = 0;
        for (int64_t k = 0; k < 2 * a.count; ++k) count += a.sizes[k] + 1;
        return count;
    }
};

inline int64_t start_of(const View& map, int64_t image, int64_t channel, int64_t row) {
    return image * map.strides[0] + channel * map.strides[1] + row * map.strides[2];
}

// Two neighbouring rows of a level, resized along their columns.
template <class T>
struct Resized {
    T* buffers;         // (2,width)
    const T* values[2]; // of an even row and of an odd one
    int64_t held[2];    // 1 + the row in each place; 0: none yet

    const T* row(const Level<T>& level, int64_t image, int64_t channel, int64_t index, T* scratch) {
        const int64_t place = index % 2;
        if (held[place] == index + 1) return values[place];
        held[place] = index + 1;
        const Axis<T>& axis = level.columns;
        T* buffer = buffers + place * axis.target;
        const T* source = read(level.view, start_of(level.view, image, channel, index), level.view.strides[3],
                               axis.source, axis.same() ? buffer : scratch);
        values[place] = axis.same() ? source : buffer;
        if (axis.same()) return source;
        if (axis.single) {
            for (int64_t i = 0; i < axis.target; ++i) buffer[i] = source[axis.lower[i]];
        } else {
            for (int64_t i = 0; i < axis.target; ++i) {
                buffer[i] = axis.low[i] * source[axis.lower[i]] + axis.high[i] * source[axis.upper[i]];
            }
        }
        return buffer;
    }
};

template <class T>
void add_one(bool first, const T* from, int64_t n, T* __restrict to) {
    if (first) {
        for (int64_t i = 0; i < n; ++i) to[i] = from[i];
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] += from[i];
    }
}

template <class T>
void add_two(bool first, T low, const T* a, T high, const T* b, int64_t n, T* __restrict to) {
    if (first) {
        for (int64_t i = 0; i < n; ++i) to[i] = low * a[i] + high * b[i];
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] += low * a[i] + high * b[i];
    }
}

template <class T>
int32_t run_forward(const Arguments& a) {
    Levels<T> levels(a);
    if (!levels) return out_of_memory;
    const Chunks chunks(a.batch * a.channels, a.height, a.width, chunk_pixels);
    std::atomic<bool> failed{false};
    for_chunks(chunks.total, a.batch * a.channels * a.height * a.width, [&](int64_t chunk) {
        const int64_t image = chunks.image(chunk) / a.channels, channel = chunks.image(chunk) % a.channels;
        Zeros<T> memory((2 * a.count + 1) * a.width + levels.widest);
        Zeros<Resized<T>> resized(a.count);
        if (!memory || !resized) {
            failed = true;
            return;
        }
        for (int64_t k = 0; k < a.count; ++k) resized[k].buffers = memory.get() + 2 * k * a.width;
        T* own = memory.get() + 2 * a.count * a.width;
        T* scratch = own + a.width;
        for (int64_t y = chunks.first(chunk); y < chunks.last(chunk); ++y) {
            const int64_t start = start_of(a.map, image, channel, y);
            T* sum = place(a.map, start, a.map.strides[3], own);
            for (int64_t k = 0; k < a.count; ++k) {
                const Axis<T>& rows = levels[k].rows;
                const T* upper_row = resized[k].row(levels[k], image, channel, rows.lower[y], scratch);
                if (rows.single) {
                    add_one(k == 0, upper_row, a.width, sum);
                } else {
                    const T* lower_row = resized[k].row(levels[k], image, channel, rows.upper[y], scratch);
                    add_two(k == 0, rows.low[y], upper_row, rows.high[y], lower_row, a.width, sum);
                }
            }
            write(a.map, start, a.map.strides[3], a.width, sum);
        }
    });
    return failed ? out_of_memory : ok;
}

// The gradient of one row of a level, still as wide as the map: every row that read it, by what it took.
template <class T>
void gather_rows(const Arguments& a, const Axis<T>& rows, int64_t image, int64_t channel, int64_t index, T* scratch,
                 T* total) {
    bool first = true;
    const auto add = [&](int64_t y, T weight) {
        const T* row = read(a.map, start_of(a.map, image, channel, y), a.map.strides[3], a.width, scratch);
        if (weight == T(1)) {
            add_one(first, row, a.width, total);
        } else if (first) {
            for (int64_t i = 0; i < a.width; ++i) total[i] = weight * row[i];
        } else {
            for (int64_t i = 0; i < a.width; ++i) total[i] += weight * row[i];
        }
        first = false;
    };
    if (!rows.single && index > 0) {
        for (int64_t y = rows.before[index - 1]; y < rows.before[index]; ++y) add(y, rows.high[y]);
    }
    // Past the last row it is read twice.
    const bool twice = !rows.single && index == rows.source - 1;
    for (int64_t y = rows.before[index]; y < rows.before[index + 1]; ++y) {
        add(y, twice ? rows.low[y] + rows.high[y] : rows.low[y]);
    }
    if (first) {
        for (int64_t i = 0; i < a.width; ++i) total[i] = T(0);
    }
}

// The adjoint of resizing a row along its columns.
template <class T>
void gather_columns(const Axis<T>& columns, const T* from, T* to) {
    for (int64_t k = 0; k < columns.source; ++k) to[k] = T(0);
    for (int64_t k = 0; k < columns.source; ++k) {
        T lower = T(0), upper = T(0);
        for (int64_t i = columns.before[k]; i < columns.before[k + 1]; ++i) {
            lower += columns.low[i] * from[i];
            upper += columns.high[i] * from[i];
        }
        to[k] += lower;
        if (!columns.single) to[k + 1 < columns.source ? k + 1 : k] += upper;
    }
}

template <class T>
int32_t run_backward(const Arguments& a) {
    Levels<T> levels(a);
    if (!levels) return out_of_memory;
    // A chunk is the same part of the rows of each level.
    const int64_t wanted = (a.height * a.width + chunk_pixels - 1) / chunk_pixels;
    const int64_t bands = wanted < levels.highest ? wanted : levels.highest;
    std::atomic<bool> failed{false};
    for_chunks(a.batch * a.channels * bands, a.batch * a.channels * a.height * a.width, [&](int64_t chunk) {
        const int64_t plane = chunk / bands, band = chunk % bands;
        const int64_t image = plane / a.channels, channel = plane % a.channels;
        Zeros<T> memory(2 * a.width + levels.widest);
        if (!memory) {
            failed = true;
            return;
        }
        T *total = memory.get(), *scratch = total + a.width, *own = scratch + a.width;
        for (int64_t k = 0; k < a.count; ++k) {
            const Level<T>& level = levels[k];
            const int64_t height = level.rows.source, width = level.columns.source;
            for (int64_t y = height * band / bands; y < height * (band + 1) / bands; ++y) {
                gather_rows(a, level.rows, image, channel, y, scratch, total);
                const T* result = total;
                if (!level.columns.same()) {
                    gather_columns(level.columns, total, own);
                    result = own;
                }
                write(level.view, start_of(level.view, image, channel, y), level.view.strides[3], width, result);
            }
        }
    });
    return failed ? out_of_memory : ok;
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(semi_dense_up_skip)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run_forward<double>(a) : run_forward<float>(a);
}

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(semi_dense_up_skip_backward)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run_backward<double>(a) : run_backward<float>(a);
}
