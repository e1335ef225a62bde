// The depth side of the attention-driven loss on the CPU: the walk of the joint gradient loss, with the depth-aware loss
// of each pixel on the way.
#include "../depth_aware/pixels.h"
#include "../joint_gradient/walk.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

struct Arguments {
    GradientMaps maps;
    DepthAwareOptions options;
    View state;       // (2,B): what normalises the target, and where the distance turns
    View scales;      // (1 + terms, B): factors of the gradient, which comes with them alone
    View gradient;    // towards pred, or absent
    double* sums;     // (1 + terms, B)
    int64_t* counts;  // (1 + terms, B)
};

// The depth-aware loss of a strip, row by row; a slope waits two rows for the windows below its pixel.
template <class T>
class Attention {
  public:
    Attention(const Arguments& a, int64_t image)
        : options_(a.options), over_maximum_(T(1) / static_cast<T>(number_at(a.state, 0, image))),
          knee_(static_cast<T>(number_at(a.state, 1, image))) {}

    void take(int64_t y, const T* pred, const T* target, int64_t columns) {
        for (int64_t column = 0; column < columns; column += block) {
            const int64_t n = columns - column < block ? columns - column : block;
            T* slope = slopes_[y % 3] + column;
            count += pixels_.run(options_, pred + column, target + column, n, over_maximum_, knee_, slope);
            sum += sum_of(pixels_.value, n);
        }
    }

    // Adds the slopes of row y times their scale: also an infinite scale leaves a hole at 0.
    void add(int64_t y, T scale, int64_t n, T* __restrict gradient) const {
        const T* __restrict slope = slopes_[y % 3];
        for (int64_t i = 0; i < n; ++i) {
            const T scaled = slope[i] * scale;
            gradient[i] += slope[i] != T(0) ? scaled : T(0);
        }
    }

    double sum = 0;
    int64_t count = 0;

  private:
    const DepthAwareOptions& options_;
    const T over_maximum_, knee_;
    DepthAwarePixels<T> pixels_;
    T slopes_[3][strip_columns];
};

template <class T>
int32_t run(Arguments a) {
    GradientMaps& maps = a.maps;
    fastest_axis_last(maps.pred, maps.height, maps.width,
                      {&maps.pred, &maps.target, &maps.mask, &maps.semantics, &a.gradient});
    const Strips strips(maps);
    const int64_t terms = 1 + maps.terms;
    Zeros<double> sums(strips.total() * terms);
    Zeros<int64_t> counts(strips.total() * terms);
    if (!sums || !counts) return out_of_memory;

    for_chunks(strips.total(), maps.pixels(), [&](int64_t chunk) {
        const Strip strip = strips.at(chunk);
        if (strip.first >= strip.last) return;
        Walk<T> walk(maps, strip, bool(a.gradient));
        Attention<T> attention(a, strip.image);
        double* sum = sums.get() + chunk * terms;
        int64_t* count = counts.get() + chunk * terms;
        T scales[3] = {}, buffer[strip_columns];
        for (int64_t term = 0; a.scales && term < terms; ++term) {
            scales[term] = static_cast<T>(number_at(a.scales, term * maps.batch + strip.image));
        }
        for (int64_t y = walk.top(); y < strip.last + 2; ++y) {
            walk.take(y);
            if (y >= strip.first && y < strip.last) {
                attention.take(y, walk.pred_row + walk.halo, walk.target_row + walk.halo, walk.columns);
            }
            const int64_t row = y - 2;
            if (row < strip.first) continue;
            walk.add_to(sum + 1, count + 1);
            if (!a.gradient) continue;
            const int64_t offset = offset_of(a.gradient, strip.image, row, strip.left), stride = a.gradient.strides[2];
            T* gradient = place(a.gradient, offset, stride, buffer);
            weigh(walk.slopes(), maps.terms, scales + 1, walk.columns, gradient);
            attention.add(row, scales[0], walk.columns, gradient);
            write(a.gradient, offset, stride, walk.columns, gradient);
        }
        sum[0] = attention.sum;
        count[0] = attention.count;
    });
    strips.add_up(sums.get(), terms, maps.batch, a.sums);
    strips.add_up(counts.get(), terms, maps.batch, a.counts);
    return ok;
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(attention_depth)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a) : run<float>(a);
}
