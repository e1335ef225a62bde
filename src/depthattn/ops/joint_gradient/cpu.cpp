// The joint gradient loss on the CPU: one walk over the maps gives sums, windows and, where it is wanted, the gradient.
#include "walk.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

struct Arguments {
    GradientMaps maps;
    int64_t skip_depth;  // leave out the depth term, in sums and gradient
    View scales;         // (T,B): factors of the gradient; absent: 1, which only one term can have
    View gradient;       // towards pred, or absent
    double* sums;        // (T,B)
    int64_t* counts;     // (T,B)
};

template <class T>
int32_t run(Arguments a) {
    GradientMaps& maps = a.maps;
    fastest_axis_last(maps.pred, maps.height, maps.width,
                      {&maps.pred, &maps.target, &maps.mask, &maps.semantics, &a.gradient});
    const Strips strips(maps);
    const int64_t terms = maps.terms;
    Zeros<double> sums(strips.total() * terms);
    Zeros<int64_t> counts(strips.total() * terms);
    if (!sums || !counts) return out_of_memory;

    for_chunks(strips.total(), maps.pixels(), [&](int64_t chunk) {
        const Strip strip = strips.at(chunk);
        if (strip.first >= strip.last) return;
        Walk<T> walk(maps, strip, bool(a.gradient), a.skip_depth == 0);
        T scales[2] = {1, 1}, buffer[strip_columns];
        if (a.scales) {
            for (int64_t term = 0; term < terms; ++term) {
                scales[term] = static_cast<T>(number_at(a.scales, term * maps.batch + strip.image));
            }
        }
        for (int64_t y = walk.top(); y < strip.last + 2; ++y) {
            walk.take(y);
            const int64_t row = y - 2;
            if (row < strip.first) continue;
            walk.add_to(sums.get() + chunk * terms, counts.get() + chunk * terms);
            if (!a.gradient) continue;
            const int64_t offset = offset_of(a.gradient, strip.image, row, strip.left), stride = a.gradient.strides[2];
            T* gradient = place(a.gradient, offset, stride, buffer);
            weigh(walk.slopes(), terms, scales, walk.columns, gradient);
            write(a.gradient, offset, stride, walk.columns, gradient);
        }
    });
    strips.add_up(sums.get(), terms, maps.batch, a.sums);
    strips.add_up(counts.get(), terms, maps.batch, a.counts);
    return ok;
}

// Valid pixels, windows of valid depths and windows of the semantic term, from target, mask and semantics alone.
struct CountArguments {
    GradientMaps maps;
    int64_t* counts;  // (3,B)
};

template <class T>
int32_t run_count(CountArguments a) {
    GradientMaps& maps = a.maps;
    fastest_axis_last(maps.target, maps.height, maps.width, {&maps.target, &maps.mask, &maps.semantics});
    const Strips strips(maps);
    Zeros<int64_t> counts(strips.total() * 3);
    if (!counts) return out_of_memory;

    for_chunks(strips.total(), maps.pixels(), [&](int64_t chunk) {
        const Strip strip = strips.at(chunk);
        if (strip.first >= strip.last) return;
        Marks<T> marks(maps, strip, false);
        int64_t* found = counts.get() + chunk * 3;
        for (int64_t y = strip.first; y < strip.last + 2; ++y) {
            marks.take(y);
            if (y < strip.last) found[0] += marks.depth_pixels();
            if (y < strip.first + 2) continue;
            found[1] += marks.depth_windows();
            found[2] += marks.semantic_windows();
        }
    });
    strips.add_up(counts.get(), 3, maps.batch, a.counts);
    return ok;
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(joint_gradient)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a) : run<float>(a);
}

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(joint_gradient_count)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const CountArguments& a = *static_cast<const CountArguments*>(arguments);
    return wide ? run_count<double>(a) : run_count<float>(a);
}
