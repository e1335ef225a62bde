// Entry points for the tests: the conversions and the elementary functions that all kernels are made of.
#include "math.h"
#include "rows.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

struct Arguments {
    View from, to;  // (n,)
    int64_t count;
    int64_t function;  // 0: x itself, 1: exp, 2: log, 3: log1p, 4: exp_of_negative, 5: log1p_of_positive
};

template <class T>
int32_t run(const Arguments& a) {
    for (int64_t start = 0; start < a.count; start += block) {
        const int64_t n = a.count - start < block ? a.count - start : block;
        T buffer[block], result[block];
        const T* x = read(a.from, start * a.from.strides[0], a.from.strides[0], n, buffer);
        const auto each = [&](auto function) {
            for (int64_t i = 0; i < n; ++i) result[i] = function(x[i]);
        };
        switch (a.function) {
            case 1: each([](T value) { return exp(value); }); break;
            case 2: each([](T value) { return log(value); }); break;
            case 3: each([](T value) { return log1p(value); }); break;
            case 4: each([](T value) { return exp_of_negative(value); }); break;
            case 5: each([](T value) { return log1p_of_positive(value); }); break;
            default: each([](T value) { return value; });
        }
        write(a.to, start * a.to.strides[0], a.to.strides[0], n, result);
    }
    return ok;
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(checks)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a) : run<float>(a);
}
