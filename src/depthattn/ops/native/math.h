// exp, log and log1p without branches, so that a loop over them becomes vector code. Within 2 ulp for every argument;
// where the processor flushes denormals, denormal arguments and results count as 0 and nothing else changes.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "abi.h"

namespace DEPTHATTN_NAMESPACE {

template <class To, class From>
inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "");
    To to;
    std::memcpy(&to, &from, sizeof(To));
    return to;
}

// Adding and subtracting 1.5 * 2^23 (2^52) rounds to a whole number, which then stands in the lowest bits.
template <class T> struct Format;
template <> struct Format<float> {
    using Int = int32_t;
    using Unsigned = uint32_t;
    static constexpr int mantissa = 23;
    static constexpr Int bias = 127;
    static constexpr float magic = 12582912.0f;
    static constexpr float smallest_normal = 1.17549435e-38f;
    static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.42860682030941723e-6f;
    static constexpr float exp_lowest = -104.0f, exp_highest = 89.0f;
};
template <> struct Format<double> {
    using Int = int64_t;
    using Unsigned = uint64_t;
    static constexpr int mantissa = 52;
    static constexpr Int bias = 1023;
    static constexpr double magic = 6755399441055744.0;
    static constexpr double smallest_normal = 2.2250738585072014e-308;
    static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    static constexpr double exp_lowest = -746.0, exp_highest = 710.0;
};

// condition ? yes : no by bits. Of the operator a compiler makes a branch where `yes` is a load or what follows is simpler
// for one of the two, and scalar code of the loop around it.
template <class T>
inline T select(bool condition, T yes, T no) {
    using Unsigned = typename Format<T>::Unsigned;
    const Unsigned mask = Unsigned(0) - static_cast<Unsigned>(condition);
    const Unsigned taken = bits_as<Unsigned>(yes) & mask, left = bits_as<Unsigned>(no) & ~mask;
    return bits_as<T>(static_cast<Unsigned>(taken | left));
}

// 2^n for a whole n that `rounded` = n + magic holds in its lowest bits, |n| <= bias.
template <class T>
inline T power_of_two(T rounded) {
    using F = Format<T>;
    const typename F::Unsigned n = bits_as<typename F::Unsigned>(rounded) + static_cast<typename F::Unsigned>(F::bias);
    return bits_as<T>(static_cast<typename F::Unsigned>(n << F::mantissa));
}

inline float exp_polynomial(float r) {
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    return (p * r) * r + r;
}

inline double exp_polynomial(double r) {
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    return (p * r) * r + r;
}

// e^x: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its series, 2^n in two factors that are never denormal.
template <class T>
inline T exp(T x) {
    using F = Format<T>;
    T y = x < F::exp_lowest ? F::exp_lowest : x;
    y = y > F::exp_highest ? F::exp_highest : y;
    const T n = (y * T(1.44269504088896340736) + F::magic) - F::magic;
    const T r = (y - n * F::ln2_high) - n * F::ln2_low;
    const T half = (n * T(0.5) + F::magic) - F::magic;
    const T value = (T(1) + exp_polynomial(r)) * power_of_two(half + F::magic);
    return value * power_of_two((n - half) + F::magic);
}

inline float log_polynomial(float z) {
    float p = 0.24279078841f;
    p = p * z + 0.28498786688f;
    p = p * z + 0.40000972152f;
    return (p * z + 0.66666662693f) * z;
}

inline double log_polynomial(double z) {
    double p = 1.479819860511658591e-01;
    p = p * z + 1.531383769920937332e-01;
    p = p * z + 1.818357216161805012e-01;
    p = p * z + 2.222219843214978396e-01;
    p = p * z + 2.857142874366239149e-01;
    p = p * z + 3.999999999940941908e-01;
    return (p * z + 6.666666666666735130e-01) * z;
}

// A whole number below 2^mantissa as a float, by way of the bits: not every vector unit converts 64-bit integers.
template <class T>
inline T whole(typename Format<T>::Unsigned n) {
    using F = Format<T>;
    const T base = bits_as<T>(static_cast<typename F::Unsigned>(
        static_cast<typename F::Unsigned>(F::bias + F::mantissa) << F::mantissa));
    return bits_as<T>(static_cast<typename F::Unsigned>(bits_as<typename F::Unsigned>(base) | n)) - base;
}

// log(x + lost), where `lost` is less than the spacing of x: x = 2^k m with m in [sqrt(1/2), sqrt 2), and
// log m = 2 atanh(f / (2 + f)) with f = m - 1, to which what was lost is added at its scale. A sum with 1 is 0 or normal.
template <bool of_sum, class T>
inline T log_of(T x, T lost) {
    using F = Format<T>;
    using Unsigned = typename F::Unsigned;
    const bool small = !of_sum && x < F::smallest_normal;
    const T scaled = small ? x * T(Unsigned(1) << F::mantissa) : x;
    const Unsigned bits = bits_as<Unsigned>(scaled);
    const Unsigned one = Unsigned(F::bias) << F::mantissa;
    const Unsigned fraction = bits & ((Unsigned(1) << F::mantissa) - 1);
    const T m0 = bits_as<T>(static_cast<Unsigned>(fraction | one));
    const bool big = m0 > T(1.41421356237309504880);
    const T m = big ? m0 * T(0.5) : m0;
    const T exponent = whole<T>(bits >> F::mantissa) - T(F::bias) - (small ? T(F::mantissa) : T(0));
    const T k = big ? exponent + T(1) : exponent;
    T f = m - T(1);
    if constexpr (of_sum) {
        const T power = bits_as<T>(static_cast<Unsigned>((Unsigned(2 * F::bias) << F::mantissa) - (bits - fraction)));
        f += lost * (big ? power * T(0.5) : power);
    }
    const T s = f / (T(2) + f);
    const T half_square = T(0.5) * f * f;
    const T tail = s * (half_square + log_polynomial(s * s)) + k * F::ln2_low;
    const T value = k * F::ln2_high - ((half_square - tail) - f);
    const T infinity = std::numeric_limits<T>::infinity();
    // 0 gives -inf, a negative number or NaN gives NaN, and infinity itself.
    const T finite_or_infinite = x < infinity ? value : x;
    return x > T(0) ? finite_or_infinite : (x == T(0) ? -infinity : std::numeric_limits<T>::quiet_NaN());
}

template <class T>
inline T log(T x) {
    return log_of<false>(x, T(0));
}

// log(1 + x): what the sum rounds away is handed on.
template <class T>
inline T log1p(T x) {
    const T sum = T(1) + x;
    const T kept = sum - T(1);
    return log_of<true>(sum, (T(1) - (sum - kept)) + (x - kept));
}

}  // namespace DEPTHATTN_NAMESPACE
