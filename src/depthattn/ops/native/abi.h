// What crosses the border to Python: plain structures of pointers, sizes and strides, mirrored in native/__init__.py.
#pragma once

#include <cstdint>

// Every source is compiled once for each instruction set, with DEPTHATTN_ISA as its name. Whatever has code lies in a
// namespace of that name, so that the linker cannot hand a function made for one processor to another.
#define DEPTHATTN_JOIN_(a, b) a##_##b
#define DEPTHATTN_JOIN(a, b) DEPTHATTN_JOIN_(a, b)
#define DEPTHATTN_NAMESPACE DEPTHATTN_JOIN(depthattn, DEPTHATTN_ISA)
#define DEPTHATTN_NAME(operation) DEPTHATTN_JOIN(operation, DEPTHATTN_ISA)

#if defined(_WIN32)
#define DEPTHATTN_EXPORT extern "C" __declspec(dllexport)
#else
#define DEPTHATTN_EXPORT extern "C" __attribute__((visibility("default")))
#endif

// Raised with every change of a structure or a signature; checked when the library is loaded.
#define DEPTHATTN_ABI 4

namespace DEPTHATTN_NAMESPACE {

enum class Dtype : int64_t {
    float32, float64, float16, bfloat16, uint8, int8, int16, int32, int64, boolean, uint16, uint32, uint64
};

// A tensor of up to four axes; strides count elements. No data: the argument is absent.
struct View {
    void* data;
    Dtype dtype;
    int64_t strides[4];

    explicit operator bool() const { return data != nullptr; }
};

// What a kernel returns.
enum Status : int32_t { ok = 0, out_of_memory = 1, unsupported = 2 };

}  // namespace DEPTHATTN_NAMESPACE
