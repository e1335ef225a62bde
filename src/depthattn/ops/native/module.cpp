// What the library says of itself, and the thread pool that it is given. Compiled once, for the oldest processor.
#include "abi.h"
#include "parallel.h"

extern "C" {
#if !defined(_WIN32)
__attribute__((visibility("hidden")))
#endif
ParallelFor depthattn_parallel_for = nullptr;
}

DEPTHATTN_EXPORT int64_t depthattn_abi() { return DEPTHATTN_ABI; }

DEPTHATTN_EXPORT void depthattn_use_threads(ParallelFor parallel_for) { depthattn_parallel_for = parallel_for; }

// Whether this processor, and the system on it, can run what was compiled for an instruction set:
// 0 is the floor of the ABI, 1 AVX2 with FMA, 2 AVX-512 (F, DQ, BW, VL).
DEPTHATTN_EXPORT int32_t depthattn_runs(int32_t level) {
#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return level == 0 || (level == 1 && avx2) || (level == 2 && avx512);
#else
    return level == 0;
#endif
}
