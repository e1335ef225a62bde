// Conversions between storage dtypes and the arithmetic, compiled once for all kernels of an instruction set.
#include "rows.h"

#include "math.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

inline float from_half(uint16_t h) {
    const uint32_t magnitude = h & 0x7fffu;
    const uint32_t exponent = magnitude >> 10;
    const float denormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 5.9604644775390625e-8f;
    const uint32_t rebiased = (magnitude << 13) + (112u << 23);
    const uint32_t normal = exponent == 31 ? rebiased + (112u << 23) : rebiased;
    const uint32_t bits = exponent == 0 ? bits_as<uint32_t>(denormal) : normal;
    return bits_as<float>(bits | (static_cast<uint32_t>(h & 0x8000u) << 16));
}

// To nearest, ties to even.
inline uint16_t to_half(float value) {
    const uint32_t bits = bits_as<uint32_t>(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    const uint32_t normal = (rounded - (112u << 23)) >> 13;
    // Below 2^-14: adding 1/2 makes the hardware round at the right place.
    const uint32_t denormal = bits_as<uint32_t>(bits_as<float>(magnitude) + 0.5f) - 0x3f000000u;
    uint32_t half = magnitude < (113u << 23) ? denormal : normal;
    half = magnitude >= 0x477ff000u ? 0x7c00u : half;
    half = magnitude > 0x7f800000u ? 0x7e00u : half;
    return static_cast<uint16_t>(half | sign);
}

inline float from_bfloat(uint16_t b) { return bits_as<float>(static_cast<uint32_t>(b) << 16); }

inline uint16_t to_bfloat(float value) {
    const uint32_t bits = bits_as<uint32_t>(value);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

template <class To, class From, class Convert>
inline void gather(const From* from, int64_t stride, int64_t n, To* to, Convert convert) {
    if (stride == 1) {
        for (int64_t i = 0; i < n; ++i) to[i] = convert(from[i]);
    } else {
        for (int64_t i = 0; i < n; ++i) to[i] = convert(from[i * stride]);
    }
}

template <class From, class To, class Convert>
inline void scatter(const From* from, int64_t stride, int64_t n, To* to, Convert convert) {
    if (stride == 1) {
        for (int64_t i = 0; i < n; ++i) to[i] = convert(from[i]);
    } else {
        for (int64_t i = 0; i < n; ++i) to[i * stride] = convert(from[i]);
    }
}

}  // namespace

template <class T>
const T* read(const View& view, int64_t offset, int64_t stride, int64_t n, T* buffer) {
    switch (view.dtype) {
        case Dtype::float32: {
            const float* from = static_cast<const float*>(view.data) + offset;
            if (std::is_same<T, float>::value && stride == 1) return reinterpret_cast<const T*>(from);
            gather(from, stride, n, buffer, [](float x) { return static_cast<T>(x); });
            break;
        }
        case Dtype::float64: {
            const double* from = static_cast<const double*>(view.data) + offset;
            if (std::is_same<T, double>::value && stride == 1) return reinterpret_cast<const T*>(from);
            gather(from, stride, n, buffer, [](double x) { return static_cast<T>(x); });
            break;
        }
        case Dtype::float16:
            gather(static_cast<const uint16_t*>(view.data) + offset, stride, n, buffer,
                   [](uint16_t x) { return static_cast<T>(from_half(x)); });
            break;
        case Dtype::bfloat16:
            gather(static_cast<const uint16_t*>(view.data) + offset, stride, n, buffer,
                   [](uint16_t x) { return static_cast<T>(from_bfloat(x)); });
            break;
        default:
            break;
    }
    return buffer;
}

template <class T>
void write(const View& view, int64_t offset, int64_t stride, int64_t n, const T* from) {
    switch (view.dtype) {
        case Dtype::float32: {
            float* to = static_cast<float*>(view.data) + offset;
            if (reinterpret_cast<const void*>(from) == to) return;
            scatter(from, stride, n, to, [](T x) { return static_cast<float>(x); });
            break;
        }
        case Dtype::float64: {
            double* to = static_cast<double*>(view.data) + offset;
            if (reinterpret_cast<const void*>(from) == to) return;
            scatter(from, stride, n, to, [](T x) { return static_cast<double>(x); });
            break;
        }
        case Dtype::float16:
            scatter(from, stride, n, static_cast<uint16_t*>(view.data) + offset,
                    [](T x) { return to_half(static_cast<float>(x)); });
            break;
        case Dtype::bfloat16:
            scatter(from, stride, n, static_cast<uint16_t*>(view.data) + offset,
                    [](T x) { return to_bfloat(static_cast<float>(x)); });
            break;
        default:
            break;
    }
}

const int64_t* read_labels(const View& view, int64_t offset, int64_t stride, int64_t n, int64_t* buffer) {
    const auto widen = [](auto x) { return static_cast<int64_t>(x); };
    switch (view.dtype) {
        case Dtype::int64: {
            const int64_t* from = static_cast<const int64_t*>(view.data) + offset;
            if (stride == 1) return from;
            gather(from, stride, n, buffer, widen);
            break;
        }
        case Dtype::int32: gather(static_cast<const int32_t*>(view.data) + offset, stride, n, buffer, widen); break;
        case Dtype::int16: gather(static_cast<const int16_t*>(view.data) + offset, stride, n, buffer, widen); break;
        case Dtype::int8: gather(static_cast<const int8_t*>(view.data) + offset, stride, n, buffer, widen); break;
        case Dtype::boolean:
        case Dtype::uint8: gather(static_cast<const uint8_t*>(view.data) + offset, stride, n, buffer, widen); break;
        case Dtype::uint16: gather(static_cast<const uint16_t*>(view.data) + offset, stride, n, buffer, widen); break;
        case Dtype::uint32: gather(static_cast<const uint32_t*>(view.data) + offset, stride, n, buffer, widen); break;
        case Dtype::uint64: gather(static_cast<const uint64_t*>(view.data) + offset, stride, n, buffer, widen); break;
        default: break;
    }
    return buffer;
}

template const float* read<float>(const View&, int64_t, int64_t, int64_t, float*);
template const double* read<double>(const View&, int64_t, int64_t, int64_t, double*);
template void write<float>(const View&, int64_t, int64_t, int64_t, const float*);
template void write<double>(const View&, int64_t, int64_t, int64_t, const double*);

}  // namespace DEPTHATTN_NAMESPACE
