// From the sums and counts of the images to the loss, and to the factors of its gradient.
#include "../native/abi.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

struct Arguments {
    const double* sums;     // (T,B)
    View counts;            // (T,B), int64 or float64
    const double* weights;  // (T,)
    const int64_t* means;   // (T,): whether a term is divided by what it counts
    int64_t terms, batch, per_image;
    void *loss, *each, *divisors;  // (G,), (T,G) and (T,G), of B groups of one image or of one group of all;
                                   // loss is null where the scales alone are wanted, and the sums not known
    void* scales;                  // (T,B)
};

double count_at(const View& counts, int64_t term, int64_t image) {
    const int64_t place = term * counts.strides[0] + image * counts.strides[1];
    return counts.dtype == Dtype::float64 ? static_cast<const double*>(counts.data)[place]
                                          : static_cast<double>(static_cast<const int64_t*>(counts.data)[place]);
}

template <class T>
int32_t run(const Arguments& a) {
    const int64_t groups = a.per_image ? a.batch : 1, images = a.per_image ? 1 : a.batch;
    T *loss = static_cast<T*>(a.loss), *each = static_cast<T*>(a.each), *divisors = static_cast<T*>(a.divisors);
    T* scales = static_cast<T*>(a.scales);
    const bool wanted = loss != nullptr;
    for (int64_t group = 0; group < groups; ++group) {
        double total = 0;
        for (int64_t term = 0; term < a.terms; ++term) {
            const int64_t first = group * images;
            double count = 0, sum = 0;
            for (int64_t image = first; image < first + images; ++image) {
                count += count_at(a.counts, term, image);
                if (wanted) sum += a.sums[term * a.batch + image];
            }
            // Where nothing was counted the sum is exactly 0.
            const double divisor = a.means[term] && count != 0 ? count : 1;
            const T scale = static_cast<T>(a.weights[term]) / static_cast<T>(divisor);
            for (int64_t image = first; image < first + images; ++image) scales[term * a.batch + image] = scale;
            if (!wanted) continue;
            const double mean = sum / divisor;
            total += a.weights[term] * mean;
            each[term * groups + group] = static_cast<T>(mean);
            divisors[term * groups + group] = static_cast<T>(divisor);
        }
        if (wanted) loss[group] = static_cast<T>(total);
    }
    return ok;
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(reduction)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a) : run<float>(a);
}
