// The depth-aware loss of pixels and its slope: docs/derivations/depth_aware.md has the formulas.
#pragma once

#include <cstdint>

#include "../native/maps.h"

namespace DEPTHATTN_NAMESPACE {

enum class Distance : int64_t { smooth_l1, l1, l2, berhu };

struct DepthAwareOptions {
    Distance distance;
    double log_offset;
    int64_t detach_weight;
};

// What the pixels of an image have in common. `through` is 0 where the weight counts as a constant.
template <class T>
struct Weights {
    T over_maximum, knee, offset, through;
};

// Up to `block` pixels. What stands in a hole goes through the same arithmetic and is dropped at the end.
template <class T>
struct DepthAwarePixels {
    T log_pred[block], log_target[block];
    T value[block];  // (alpha + lambda) l, 0 where nothing counts

    // Writes the derivatives by the prediction, 0 where nothing counts, and returns how many pixels count. `knee` is
    // where the distance turns, in metres.
    int64_t run(
        const DepthAwareOptions& options, const T* pred, const T* target, int64_t n, T over_maximum, T knee, T* slope) {
        const T offset = static_cast<T>(options.log_offset);
        options.log_offset == 1 ? take<true>(pred, target, n, offset) : take<false>(pred, target, n, offset);
        const Weights<T> weights{over_maximum, knee, offset, options.detach_weight ? T(0) : T(1)};
        switch (options.distance) {
            case Distance::l1: return weigh<Distance::l1>(pred, target, n, weights, slope);
            case Distance::l2: return weigh<Distance::l2>(pred, target, n, weights, slope);
            case Distance::berhu: return weigh<Distance::berhu>(pred, target, n, weights, slope);
            default: return weigh<Distance::smooth_l1>(pred, target, n, weights, slope);
        }
    }

  private:
    template <bool unit_offset>
    static T logarithm(T depth, T offset) {
        // With an offset of 1 the sum would round a depth below the precision of 1 away. What is no depth is dropped.
        if constexpr (unit_offset) return log1p_of_positive(depth);
        return log(depth + offset);
    }

    template <bool unit_offset>
    void take(const T* __restrict pred, const T* __restrict target, int64_t n, T offset) {
        for (int64_t i = 0; i < n; ++i) {
            const T p = pred[i];
            log_target[i] = logarithm<unit_offset>(target[i], offset);
            log_pred[i] = logarithm<unit_offset>(p > T(0) ? p : T(0), offset);
        }
    }

    template <Distance distance>
    int64_t weigh(const T* __restrict pred, const T* __restrict target, int64_t n, Weights<T> weights, T* __restrict slope) {
        const T knee = weights.knee, over_knee = T(1) / knee;
        typename Format<T>::Int count = 0;
        for (int64_t i = 0; i < n; ++i) {
            const T p = pred[i], g = target[i], a = log_pred[i], b = log_target[i];
            const bool valid = valid_depth(g), positive = p > T(0);
            const T depth = positive ? p : T(0);
            const T high = a > b ? a : b, low = a < b ? a : b;
            const bool above = high > T(0), inside = low > T(0);
            const T divisor = above ? high : T(1);
            const T ratio = low / divisor;
            const T rest = inside ? T(1) - ratio : T(1);
            const T lambda = above ? rest : T(0);
            const T far = g * weights.over_maximum;
            const T weight = (far < T(1) ? far : T(1)) + lambda;
            const T error = p - g;
            const T size = error < T(0) ? -error : error;
            T length, direction;
            if constexpr (distance == Distance::l1) {
                length = size;
                direction = sign(error);
            } else if constexpr (distance == Distance::l2) {
                length = error * error;
                direction = T(2) * error;
            } else if constexpr (distance == Distance::smooth_l1) {
                const T inner = size < knee ? size : knee;
                const T steep = error * over_knee;
                const T capped = steep > T(1) ? T(1) : steep;
                length = inner * (size - T(0.5) * inner) * over_knee;
                direction = capped < T(-1) ? T(-1) : capped;
            } else {
                // A knee of 0 has no error above 0.
                const T turn = knee > T(0) ? knee : T(1);
                const T steep = error * (T(1) / turn);
                const T outer = (steep * error + turn) * T(0.5);
                const T past = sign(error);
                const bool wrong = size > knee;
                length = wrong ? outer : size;
                direction = wrong ? steep : past;
            }
            const T below = p < g ? T(-1) : T(0);
            const T numerator = p > g ? ratio : below;
            const T steepness = weights.through * numerator / (divisor * (depth + weights.offset));
            // One selection, not two: of a pair of conditions some compilers make a branch.
            const T reached = positive ? low : T(0);
            const T through = reached > T(0) ? steepness : T(0);
            // An infinite distance times a slope of 0 must not turn into NaN.
            const T product = through * length;
            const T total = weight * direction + (through != T(0) ? product : T(0));
            const T weighted = weight * length;
            value[i] = valid ? weighted : T(0);
            slope[i] = valid ? total : T(0);
            count += valid;
        }
        return count;
    }
};

}  // namespace DEPTHATTN_NAMESPACE
