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

// Up to `block` pixels: what the formula needs of each. Where the target is missing, both depths are 1.
template <class T>
struct DepthAwarePixels {
    T pred[block], target[block], log_pred[block], log_target[block];
    T value[block], slope[block];  // (alpha + lambda) l and its derivative by the prediction, 0 where nothing counts

    // Returns how many pixels count. `knee` is where the distance turns, in metres.
    int64_t run(const DepthAwareOptions& options, const T* p, const T* g, int64_t n, T over_maximum, T knee) {
        const T offset = static_cast<T>(options.log_offset);
        options.log_offset == 1 ? take<true>(p, g, n, offset) : take<false>(p, g, n, offset);
        const T through = options.detach_weight ? T(0) : T(1);
        switch (options.distance) {
            case Distance::l1: return weigh<Distance::l1>(g, n, over_maximum, knee, offset, through);
            case Distance::l2: return weigh<Distance::l2>(g, n, over_maximum, knee, offset, through);
            case Distance::berhu: return weigh<Distance::berhu>(g, n, over_maximum, knee, offset, through);
            default: return weigh<Distance::smooth_l1>(g, n, over_maximum, knee, offset, through);
        }
    }

  private:
    template <bool unit_offset>
    static T logarithm(T depth, T offset) {
        // With an offset of 1 the sum would round a depth below the precision of 1 away.
        if constexpr (unit_offset) return log1p(depth);
        return log(depth + offset);
    }

    template <bool unit_offset>
    void take(const T* p, const T* g, int64_t n, T offset) {
        for (int64_t i = 0; i < n; ++i) {
            const T given = g[i], predicted = p[i];
            const bool valid = valid_depth(given);
            const T clean = select(valid, given, T(1));
            const T depth = select(valid, predicted, T(1));
            target[i] = clean;
            pred[i] = depth;
            log_target[i] = logarithm<unit_offset>(clean, offset);
            log_pred[i] = logarithm<unit_offset>(select(depth > T(0), depth, T(0)), offset);
        }
    }

    template <Distance distance>
    int64_t weigh(const T* given, int64_t n, T over_maximum, T knee, T offset, T through_factor) {
        const T over_knee = T(1) / knee;
        typename Format<T>::Int count = 0;
        for (int64_t i = 0; i < n; ++i) {
            const bool valid = valid_depth(given[i]);
            const T p = pred[i], g = target[i], a = log_pred[i], b = log_target[i];
            const bool positive = p > T(0);
            const T depth = positive ? p : T(0);
            const T high = a > b ? a : b, low = a > b ? b : a;
            const bool above = high > T(0), inside = low > T(0);
            const T divisor = above ? high : T(1);
            const T ratio = low / divisor;
            const T rest = inside ? T(1) - ratio : T(1);
            const T lambda = above ? rest : T(0);
            const T far = g * over_maximum;
            const T weight = (far < T(1) ? far : T(1)) + lambda;
            const T error = p - g;
            const T size = error < T(0) ? -error : error;
            const T past = sign(error);
            T length, direction;
            if constexpr (distance == Distance::l1) {
                length = size;
                direction = past;
            } else if constexpr (distance == Distance::l2) {
                length = error * error;
                direction = T(2) * error;
            } else if constexpr (distance == Distance::smooth_l1) {
                const bool near = size < knee;
                const T inner = near ? size : knee;
                const T inner_slope = error * over_knee;
                length = inner * (size - T(0.5) * inner) * over_knee;
                direction = near ? inner_slope : past;
            } else {
                // A knee of 0 has no error above 0.
                const T turn = knee > T(0) ? knee : T(1);
                const T steep = error * (T(1) / turn);
                const T outer = (steep * error + turn) * T(0.5);
                const bool wrong = size > knee;
                length = wrong ? outer : size;
                direction = wrong ? steep : past;
            }
            const T below = p < g ? T(-1) : T(0);
            const T numerator = p > g ? ratio : below;
            const T steepness = through_factor * numerator / (divisor * (depth + offset));
            const T through = inside & positive ? steepness : T(0);
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
