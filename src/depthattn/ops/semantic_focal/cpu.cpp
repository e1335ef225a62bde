// The semantic focal loss on the CPU: one pass over the logits gives sums, counts and, where it is wanted, the gradient.
#include "../native/maps.h"
#include "pixels.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

struct Arguments {
    View logits, target, weight;
    int64_t batch, classes, pixels;
    SemanticFocalOptions options;
    View scales;    // (B,): factors of the gradient; absent: 1
    View gradient;  // (B,K,N), or absent
    double* sums;   // (B,)
    double* counts; // (B,)
    int64_t* wrong; // whether a label is wrong, and the first one that is
};

// Long enough for the processor to fetch a row ahead; in the second-level cache, 512 KiB, up to 250 classes.
constexpr int64_t width = 512;
// Of a chunk, which has fewer pixels where there are many of them.
constexpr int64_t chunk_logits = 1 << 18;

template <class T>
int32_t run(const Arguments& a) {
    const int64_t steps = (a.pixels + width - 1) / width;
    const int64_t few = chunk_logits / a.classes;
    const Chunks chunks(a.batch, steps, width, few < chunk_pixels ? few : chunk_pixels);
    Zeros<FocalTotals> totals(chunks.total);
    if (!totals) return out_of_memory;

    for_chunks(chunks.total, a.batch * a.classes * a.pixels, [&](int64_t chunk) {
        FocalPixels<T, width> pixels(a.options, a.weight, a.classes);
        if (!pixels) {
            totals[chunk].lacks_memory = 1;
            return;
        }
        const int64_t image = chunks.image(chunk);
        const T scale = a.scales ? static_cast<T>(number_at(a.scales, image)) : T(1);
        int64_t label_row[width];
        for (int64_t step = chunks.first(chunk); step < chunks.last(chunk); ++step) {
            const int64_t pixel = step * width;
            const int64_t n = a.pixels - pixel < width ? a.pixels - pixel : width;
            const int64_t labels_at = image * a.target.strides[0] + pixel * a.target.strides[1];
            pixels.begin(read_labels(a.target, labels_at, a.target.strides[1], n, label_row), n, totals[chunk]);
            for (int64_t k = 0; k < a.classes; ++k) {
                const View& z = a.logits;
                const int64_t at = image * z.strides[0] + k * z.strides[1] + pixel * z.strides[2];
                pixels.take(k, read(z, at, z.strides[2], n, pixels.row(k)), n);
            }
            pixels.finish(n, totals[chunk]);
            for (int64_t k = 0; a.gradient && k < a.classes; ++k) {
                const View& g = a.gradient;
                const int64_t at = image * g.strides[0] + k * g.strides[1] + pixel * g.strides[2];
                T* to = place(g, at, g.strides[2], pixels.row(k));
                pixels.differentiate(k, scale, to, n);
                write(g, at, g.strides[2], n, to);
            }
        }
    });
    return fold(totals, chunks, a.sums, a.counts, a.wrong);
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(semantic_focal)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a) : run<float>(a);
}
