// The depth-aware loss on the CPU: one pass over the maps gives sums, counts and, where it is wanted, the gradient.
#include "pixels.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

struct Arguments {
    View pred, target, mask;
    int64_t batch, height, width;
    DepthAwareOptions options;
    View state;       // (2,B): what normalises the target, and where the distance turns
    View scales;      // (B,): factors of the gradient; absent: 1
    View gradient;    // like pred, or absent
    double* sums;     // (B,)
    int64_t* counts;  // (B,)
};

template <class T>
int32_t run(Arguments a) {
    fastest_axis_last(a.pred, a.height, a.width, {&a.pred, &a.target, &a.mask, &a.gradient});
    join_rows(a.height, a.width, {&a.pred, &a.target, &a.mask, &a.gradient});
    // A long row is cut like rows of its own.
    const int64_t steps = (a.width + block - 1) / block;
    const Chunks chunks(a.batch, a.height * steps, block, chunk_pixels);
    Zeros<double> sums(chunks.total);
    Zeros<int64_t> counts(chunks.total);
    if (!sums || !counts) return out_of_memory;

    for_chunks(chunks.total, a.batch * a.height * a.width, [&](int64_t chunk) {
        const int64_t image = chunks.image(chunk);
        const T over_maximum = T(1) / static_cast<T>(number_at(a.state, 0, image));
        const T knee = static_cast<T>(number_at(a.state, 1, image));
        const T scale = a.scales ? static_cast<T>(number_at(a.scales, image)) : T(1);
        DepthAwarePixels<T> pixels;
        T pred_row[block], target_row[block], slope_row[block];
        double sum = 0;
        int64_t count = 0;
        for (int64_t step = chunks.first(chunk); step < chunks.last(chunk); ++step) {
            const int64_t row = step / steps, column = step % steps * block;
            const int64_t n = a.width - column < block ? a.width - column : block;
            const auto at = [&](const View& map) { return offset_of(map, image, row, column); };
            const T* p = read(a.pred, at(a.pred), a.pred.strides[2], n, pred_row);
            const T* g = read_target(a.target, a.mask, image, row, column, n, target_row);
            const int64_t offset = at(a.gradient), stride = a.gradient.strides[2];
            T* slope = a.gradient ? place(a.gradient, offset, stride, slope_row) : slope_row;
            count += pixels.run(a.options, p, g, n, over_maximum, knee, slope);
            sum += sum_of(pixels.value, n);
            if (!a.gradient) continue;
            if (a.scales) {
                // Also an infinite scale leaves a hole at 0.
                for (int64_t i = 0; i < n; ++i) slope[i] = slope[i] != T(0) ? slope[i] * scale : T(0);
            }
            write(a.gradient, offset, stride, n, slope);
        }
        sums[chunk] = sum;
        counts[chunk] = count;
    });
    for (int64_t image = 0; image < a.batch; ++image) {
        a.sums[image] = 0;
        a.counts[image] = 0;
        for (int64_t part = 0; part < chunks.per_image; ++part) {
            a.sums[image] += sums[image * chunks.per_image + part];
            a.counts[image] += counts[image * chunks.per_image + part];
        }
    }
    return ok;
}

// The larger of two numbers. A NaN counts as the largest, and stays: it must show.
template <class T>
inline T larger(T a, T b) {
    return (b <= a) | (a != a) ? a : b;
}

struct StateArguments {
    View pred, target, mask;
    int64_t batch, height, width;
    double max_depth;  // what normalises every target; 0: the largest valid one of the image, 0 without any
    double knee;       // where the distance turns; 0: at a fifth of the image's largest absolute error
    void* state;       // (2,B), in the type of the arithmetic
};

template <class T>
int32_t run_state(StateArguments a) {
    T *maxima = static_cast<T*>(a.state), *knees = maxima + a.batch;
    for (int64_t image = 0; image < a.batch; ++image) {
        maxima[image] = static_cast<T>(a.max_depth);
        knees[image] = static_cast<T>(a.knee);
    }
    const bool errors_count = a.knee == 0;
    if (a.max_depth != 0 && !errors_count) return ok;
    fastest_axis_last(a.target, a.height, a.width, {&a.pred, &a.target, &a.mask});
    join_rows(a.height, a.width, {&a.pred, &a.target, &a.mask});
    const int64_t steps = (a.width + block - 1) / block;
    const Chunks chunks(a.batch, a.height * steps, block, chunk_pixels);
    Zeros<T> targets(chunks.total), errors(chunks.total);
    if (!targets || !errors) return out_of_memory;

    for_chunks(chunks.total, a.batch * a.height * a.width, [&](int64_t chunk) {
        const int64_t image = chunks.image(chunk);
        T pred_row[block], target_row[block];
        constexpr int64_t lanes = 16;
        T far[lanes] = {}, wrong[lanes] = {};
        for (int64_t step = chunks.first(chunk); step < chunks.last(chunk); ++step) {
            const int64_t row = step / steps, column = step % steps * block;
            const int64_t n = a.width - column < block ? a.width - column : block;
            const auto at = [&](const View& map) { return offset_of(map, image, row, column); };
            const T* g = read_target(a.target, a.mask, image, row, column, n, target_row);
            const auto look = [&](const T* p, int64_t i, int64_t lane) {
                const bool valid = valid_depth(g[i]);
                const T depth = valid ? g[i] : T(0);
                far[lane] = depth > far[lane] ? depth : far[lane];
                if (p != nullptr) {
                    const T error = valid ? p[i] - g[i] : T(0);
                    const T size = error < T(0) ? -error : error;
                    wrong[lane] = larger(wrong[lane], size);
                }
            };
            const T* p = !errors_count ? nullptr : read(a.pred, at(a.pred), a.pred.strides[2], n, pred_row);
            int64_t i = 0;
            for (; i + lanes <= n; i += lanes) {
                for (int64_t lane = 0; lane < lanes; ++lane) look(p, i + lane, lane);
            }
            for (; i < n; ++i) look(p, i, 0);
        }
        for (int64_t lane = 0; lane < lanes; ++lane) {
            targets[chunk] = far[lane] > targets[chunk] ? far[lane] : targets[chunk];
            errors[chunk] = larger(errors[chunk], wrong[lane]);
        }
    });
    for (int64_t image = 0; image < a.batch; ++image) {
        T far = 0, wrong = 0;
        for (int64_t part = 0; part < chunks.per_image; ++part) {
            const int64_t chunk = image * chunks.per_image + part;
            far = targets[chunk] > far ? targets[chunk] : far;
            wrong = larger(wrong, errors[chunk]);
        }
        if (a.max_depth == 0) maxima[image] = far;
        if (errors_count) knees[image] = wrong / 5;
    }
    return ok;
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(depth_aware)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a) : run<float>(a);
}

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(depth_aware_state)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const StateArguments& a = *static_cast<const StateArguments*>(arguments);
    return wide ? run_state<double>(a) : run_state<float>(a);
}
