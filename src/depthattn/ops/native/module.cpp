// What the library says of itself, and the threads that it is given. Compiled once, for the oldest processor.
#include "abi.h"
#include "parallel.h"

#include <initializer_list>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(_MSC_VER) && defined(_M_X64)
#include <intrin.h>
#endif

extern "C" {
#if !defined(_WIN32)
__attribute__((visibility("hidden")))
#endif
ParallelFor depthattn_parallel_for = nullptr;
}

namespace {

// The OpenMP runtime of a PyTorch that has no torch_parallel_for, by its entry points for compiled code.
using Region = void (*)(void (*)(void*), void*, unsigned, unsigned);
Region open_region = nullptr;
int (*thread_number)() = nullptr;
int (*thread_count)() = nullptr;
int (*torch_threads)() = nullptr;

struct Share {
    int64_t begin, end;
    void (*run)(int64_t, int64_t, void*);
    void* work;
};

void run_share(void* pointer) {
    const Share& share = *static_cast<const Share*>(pointer);
    const int64_t threads = thread_count(), each = (share.end - share.begin + threads - 1) / threads;
    const int64_t first = share.begin + each * thread_number(), last = first + each;
    if (first < share.end) share.run(first, last < share.end ? last : share.end, share.work);
}

int32_t parallel_for(int64_t begin, int64_t end, int64_t, void (*run)(int64_t, int64_t, void*), void* work) {
    // Also counts the threads that torch.set_num_threads has set, in threads that PyTorch has not seen yet.
    const int threads = torch_threads();
    if (threads < 2) return 1;
    Share share = {begin, end, run, work};
    open_region(run_share, &share, static_cast<unsigned>(threads), 0);
    return 0;
}

#if defined(_MSC_VER) && defined(_M_X64)
bool has(const int (&leaf)[4], int word, std::initializer_list<int> bits) {
    for (int bit : bits) {
        if (!((leaf[word] >> bit) & 1)) return false;
    }
    return true;
}
#endif

}  // namespace

DEPTHATTN_EXPORT int64_t depthattn_abi() { return DEPTHATTN_ABI; }

DEPTHATTN_EXPORT void depthattn_use_threads(ParallelFor loop) { depthattn_parallel_for = loop; }

// GOMP_parallel, omp_get_thread_num, omp_get_num_threads and at::get_num_threads.
DEPTHATTN_EXPORT void depthattn_use_openmp(Region region, int (*number)(), int (*count)(), int (*wanted)()) {
    open_region = region;
    thread_number = number;
    thread_count = count;
    torch_threads = wanted;
    depthattn_parallel_for = parallel_for;
}

// Asks the system for large pages where new memory holds some: the first touch of a page costs more than what kernels
// compute on it, and there are 512 times fewer. A hint, which the system may leave alone.
DEPTHATTN_EXPORT void depthattn_large_pages(void* memory, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t page = uintptr_t(1) << 21;
    const uintptr_t start = reinterpret_cast<uintptr_t>(memory);
    const uintptr_t first = (start + page - 1) & ~(page - 1), end = (start + static_cast<uintptr_t>(bytes)) & ~(page - 1);
    if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#else
    (void)memory;
    (void)bytes;
#endif
}

// Whether this processor, and the system on it, can run what was compiled for an instruction set:
// 0 is the floor of the ABI, 1 AVX2 with FMA, 2 AVX-512 (F, DQ, BW, VL).
DEPTHATTN_EXPORT int32_t depthattn_runs(int32_t level) {
    bool avx2 = false, avx512 = false;
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#elif defined(_MSC_VER) && defined(_M_X64)
    int highest[4], features[4], extended[4];
    __cpuid(highest, 0);
    if (highest[0] >= 7) {
        __cpuid(features, 1);
        __cpuidex(extended, 7, 0);
        // FMA, XSAVE in use by the system, AVX, F16C; then the registers that the system saves.
        const uint64_t saved = has(features, 2, {12, 27, 28, 29}) ? _xgetbv(0) : 0;
        avx2 = (saved & 0x06) == 0x06 && has(extended, 1, {5});
        avx512 = avx2 && (saved & 0xe6) == 0xe6 && has(extended, 1, {16, 17, 30, 31});
    }
#endif
    return level == 0 || (level == 1 && avx2) || (level == 2 && avx512);
}
