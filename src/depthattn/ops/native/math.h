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
    static constexpr float two_to_mantissa = 8388608.0f;
    static constexpr Int bias = 127;
    static constexpr float magic = 12582912.0f;
    static constexpr float smallest_normal = 1.17549435e-38f;
    static constexpr float ln2_high = 0.693145751953125f, ln2_low = 1.42860682030941723e-6f;
    static constexpr float exp_lowest = -104.0f, exp_highest = 89.0f, normal_lowest = -87.33654f;
};
template <> struct Format<double> {
    using Int = int64_t;
    using Unsigned = uint64_t;
    static constexpr int mantissa = 52;
    static constexpr double two_to_mantissa = 4503599627370496.0;
    static constexpr Int bias = 1023;
    static constexpr double magic = 6755399441055744.0;
    static constexpr double smallest_normal = 2.2250738585072014e-308;
    static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    static constexpr double exp_lowest = -746.0, exp_highest = 710.0, normal_lowest = -708.396418532264;
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

// e^x for x <= 0, minus infinity included; any number for others. What would be denormal is 0.
template <class T>
inline T exp_of_negative(T x) {
    using F = Format<T>;
    const T y = x < F::normal_lowest ? F::normal_lowest : x;
    const T rounded = y * T(1.44269504088896340736) + F::magic, n = rounded - F::magic;
    const T r = (y - n * F::ln2_high) - n * F::ln2_low;
    const T value = (T(1) + exp_polynomial(r)) * power_of_two(rounded);
    return x < F::normal_lowest ? T(0) : value;
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

// A whole number below 2^52 as a double, by way of the bits: not every vector unit converts 64-bit integers.
inline double whole(uint64_t n) {
    const double base = 4503599627370496.0;
    return bits_as<double>(bits_as<uint64_t>(base) | n) - base;
}

// What a logarithm is where it is not a finite number: 0 gives -inf, a negative number or NaN gives NaN, infinity itself.
template <class T>
inline T logarithm_or_special(T x, T logarithm) {
    const T infinity = std::numeric_limits<T>::infinity();
    const T finite_or_infinite = x < infinity ? logarithm : x;
    return x > T(0) ? finite_or_infinite : (x == T(0) ? -infinity : std::numeric_limits<T>::quiet_NaN());
}

// log(x + lost), where `lost` is less than the spacing of x: x = 2^k m with m in [sqrt(1/2), sqrt 2), and
// log m = 2 atanh(f / (2 + f)) with f = m - 1, to which what was lost is added at its scale. A sum with 1 is 0 or normal.
template <bool of_sum>
inline double log_of(double x, double lost) {
    using F = Format<double>;
    using Unsigned = F::Unsigned;
    const bool small = !of_sum && x < F::smallest_normal;
    const double scaled = small ? x * F::two_to_mantissa : x;
    const Unsigned bits = bits_as<Unsigned>(scaled);
    const Unsigned one = Unsigned(F::bias) << F::mantissa;
    const Unsigned fraction = bits & ((Unsigned(1) << F::mantissa) - 1);
    const double m0 = bits_as<double>(fraction | one);
    const bool big = m0 > 1.41421356237309504880;
    const double m = big ? m0 * 0.5 : m0;
    const double exponent = whole(bits >> F::mantissa) - double(F::bias) - (small ? double(F::mantissa) : 0.0);
    const double k = big ? exponent + 1.0 : exponent;
    double f = m - 1.0;
    if constexpr (of_sum) {
        const double power = bits_as<double>((Unsigned(2 * F::bias) << F::mantissa) - (bits - fraction));
        f += lost * (big ? power * 0.5 : power);
    }
    const double s = f / (2.0 + f);
    const double half_square = 0.5 * f * f;
    const double tail = s * (half_square + log_polynomial(s * s)) + k * F::ln2_low;
    return logarithm_or_special(x, k * F::ln2_high - ((half_square - tail) - f));
}

// (log(1 + f) - f + f^2 / 2) / f^3 for f in [-1/4, 1/2]: the error is at most a tenth of the last bit of log(1 + f).
inline float log_polynomial(float f) {
    float p = -0.0450744666f;
    p = p * f + 0.104629956f;
    p = p * f - 0.131611958f;
    p = p * f + 0.144784003f;
    p = p * f - 0.16647312f;
    p = p * f + 0.199908614f;
    p = p * f - 0.250000954f;
    return p * f + 0.333334506f;
}

// log(2^k (1 + f)) in single precision, where a longer polynomial takes less time than a division.
inline float log_of_parts(float f, float k) {
    const float square = f * f;
    const float tail = square * f * log_polynomial(f) + k * Format<float>::ln2_low;
    return k * Format<float>::ln2_high - ((0.5f * square - tail) - f);
}

// k of x = 2^k m with m in [3/4, 3/2), where an exponent has its bits.
inline uint32_t power_of(float x) {
    const uint32_t mantissa = (uint32_t(1) << Format<float>::mantissa) - 1;
    return (bits_as<uint32_t>(x) - bits_as<uint32_t>(0.75f)) & ~mantissa;
}

inline float exponent_of(uint32_t power) {
    return static_cast<float>(static_cast<int32_t>(power)) * (1.0f / Format<float>::two_to_mantissa);
}

inline double log(double x) { return log_of<false>(x, 0.0); }

inline float log(float x) {
    const bool small = x < Format<float>::smallest_normal;
    const float scaled = small ? x * Format<float>::two_to_mantissa : x;
    const uint32_t power = power_of(scaled);
    const float f = bits_as<float>(bits_as<uint32_t>(scaled) - power) - 1.0f;
    return logarithm_or_special(x, log_of_parts(f, exponent_of(power) - (small ? float(Format<float>::mantissa) : 0.0f)));
}

// log(1 + x): what the sum rounds away is handed on.
inline double log1p(double x) {
    const double sum = 1.0 + x, kept = sum - 1.0;
    return log_of<true>(sum, (1.0 - (sum - kept)) + (x - kept));
}

// log(1 + x) for x >= 0, infinity included; any number for others.
inline double log1p_of_positive(double x) { return log1p(x); }

// The sum gives k alone; 2^-k x + (2^-k - 1) is rounded once. 2^(2-k) is never denormal.
inline float log1p_of_positive(float x) {
    const float sum = 1.0f + x;
    const uint32_t power = power_of(sum);
    const float scaled = bits_as<float>(bits_as<uint32_t>(x) - power);
    const float f = scaled + (0.25f * bits_as<float>(bits_as<uint32_t>(4.0f) - power) - 1.0f);
    const float value = log_of_parts(f, exponent_of(power));
    return x < std::numeric_limits<float>::infinity() ? value : x;
}

inline float log1p(float x) { return logarithm_or_special(1.0f + x, log1p_of_positive(x)); }

}  // namespace DEPTHATTN_NAMESPACE
