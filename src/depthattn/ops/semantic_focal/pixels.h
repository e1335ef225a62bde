// The semantic focal loss of pixels with all their classes: docs/derivations/semantic_focal.md has the formulas.
#pragma once

#include <cstdint>
#include <limits>

#include "../native/math.h"
#include "../native/parallel.h"
#include "../native/rows.h"

namespace DEPTHATTN_NAMESPACE {

struct SemanticFocalOptions {
    double gamma;
    int64_t ignore_index;
    int64_t by_weight;  // whether a pixel counts as much as its class weighs
};

// What a chunk of pixels has found out.
struct FocalTotals {
    double sum, count;
    int64_t is_wrong, wrong;  // whether a label names no class, and the first such label
    int64_t lacks_memory;
};

// Up to `width` pixels at once. Logits come in class by class; what becomes of them stays in a buffer (classes,width).
template <class T, int64_t width>
class FocalPixels {
  public:
    T value[width], factor[width];  // the loss, and what the exponentials are multiplied by to give its gradient

    FocalPixels(const SemanticFocalOptions& options, const View& weight, int64_t classes)
        : options_(options), classes_(classes), numbers_(classes * width), weights_(weight ? classes : 0) {
        if (!*this || !weight) return;
        const T* from = read(weight, 0, weight.strides[0], classes, weights_.get());
        for (int64_t k = 0; k < classes; ++k) weights_[k] = from[k];
        weighted_ = true;
    }

    explicit operator bool() const { return numbers_ && weights_; }

    // The logits of a class, then its exponentials, and in the end what `factor` makes a gradient of.
    T* row(int64_t k) { return numbers_.get() + k * width; }
    const T* row(int64_t k) const { return const_cast<FocalPixels*>(this)->row(k); }

    void begin(const int64_t* labels, int64_t n, FocalTotals& totals) {
        bool wrong = false;
        for (int64_t i = 0; i < n; ++i) {
            const int64_t y = labels[i];
            const bool ignored = y == options_.ignore_index;
            const bool known = (y >= 0) & (y < classes_);
            const bool counts = known & !ignored;
            wrong |= !(known | ignored);
            own_at_[i] = (counts ? y : 0) * width + i;
            counts_[i] = counts ? T(1) : T(0);
            top_[i] = -std::numeric_limits<T>::infinity();
        }
        for (int64_t i = 0; i < n; ++i) weight_[i] = weighted_ ? weights_[own_at_[i] / width] * counts_[i] : counts_[i];
        if (wrong && !totals.is_wrong) remember_wrong(labels, n, totals);
    }

    // Takes in row k, which `from` holds; it may be the row itself.
    void take(int64_t k, const T* from, int64_t n) {
        T* to = row(k);
        if (from == to) {
            for (int64_t i = 0; i < n; ++i) top_[i] = to[i] > top_[i] ? to[i] : top_[i];
        } else {
            copy(from, to, n);
        }
    }

    // Takes in row k as (1 - share) before + share behind.
    void take_between(int64_t k, const T* before, const T* behind, T share, int64_t n) {
        T* to = row(k);
        const T rest = T(1) - share;
        for (int64_t i = 0; i < n; ++i) {
            const T z = rest * before[i] + share * behind[i];
            to[i] = z;
            top_[i] = z > top_[i] ? z : top_[i];
        }
    }

    void finish(int64_t n, FocalTotals& totals) {
        exponentials(n);
        softmax_of_label(n);
        power(n);
        const T gamma = static_cast<T>(options_.gamma);
        for (int64_t i = 0; i < n; ++i) {
            const T p = p_[i], q = q_[i], log_p = log_p_[i], weight = weight_[i];
            const bool counts = counts_[i] != T(0);
            // log(p) / q -> -1 as q -> 0, and p log(p) -> 0 as p -> 0.
            const bool doubted = q > T(0);
            const T quotient = log_p / (doubted ? q : T(1));
            const T ratio = doubted ? quotient : T(-1);
            const T product = p * ratio;
            const T bend = p > T(0) ? product : T(0);
            const T loss = -weight * power_[i] * log_p;
            const T slope = weight * power_[i] * (T(1) - gamma * bend) * over_[i];
            value[i] = counts ? loss : T(0);
            factor[i] = counts ? slope : T(0);
        }
        for (int64_t i = 0; i < n; ++i) numbers_[own_at_[i]] = -others_[i];
        totals.sum += sum_of(value, n);
        totals.count += sum_of(options_.by_weight ? weight_ : counts_, n);
    }

    // The gradient of class k times a number; exactly 0 at pixels that do not count. `to` may be the row itself.
    void differentiate(int64_t k, T scale, T* to, int64_t n) const {
        const T* e = row(k);
        for (int64_t i = 0; i < n; ++i) {
            const T scaled = factor[i] * e[i] * scale;
            to[i] = factor[i] != T(0) ? scaled : T(0);
        }
    }

    // Adds the gradient of class k to that of the rows which `take_between` took.
    void divide(int64_t k, T share, T* __restrict before, T* __restrict behind, int64_t n) const {
        const T* __restrict e = row(k);
        const T rest = T(1) - share;
        for (int64_t i = 0; i < n; ++i) {
            const T product = factor[i] * e[i];
            const T slope = factor[i] != T(0) ? product : T(0);
            before[i] += rest * slope;
            behind[i] += share * slope;
        }
    }

  private:
    SemanticFocalOptions options_;
    int64_t classes_;
    bool weighted_ = false;
    Zeros<T> numbers_, weights_;
    int64_t own_at_[width];
    T top_[width], own_[width], others_[width], weight_[width], counts_[width];
    T p_[width], q_[width], log_p_[width], over_[width], power_[width];

    void copy(const T* __restrict from, T* __restrict to, int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
            const T z = from[i];
            to[i] = z;
            top_[i] = z > top_[i] ? z : top_[i];
        }
    }

    void remember_wrong(const int64_t* labels, int64_t n, FocalTotals& totals) {
        for (int64_t i = 0; i < n && !totals.is_wrong; ++i) {
            const int64_t y = labels[i];
            totals.is_wrong = y != options_.ignore_index && (y < 0 || y >= classes_);
            totals.wrong = y;
        }
    }

    // All relative to the largest logit, the label's own apart from the others: 1 - p is never a difference.
    void exponentials(int64_t n) {
        const T lowest = -std::numeric_limits<T>::infinity();
        for (int64_t i = 0; i < n; ++i) {
            T& own = numbers_[own_at_[i]];
            own_[i] = own;
            own = lowest;
        }
        for (int64_t i = 0; i < n; ++i) {
            top_[i] = top_[i] > lowest ? top_[i] : T(0);
            others_[i] = T(0);
        }
        for (int64_t k = 0; k < classes_; ++k) {
            T* e = row(k);
            for (int64_t i = 0; i < n; ++i) {
                const T term = exp_of_negative(e[i] - top_[i]);
                e[i] = term;
                others_[i] += term;
            }
        }
    }

    void softmax_of_label(int64_t n) {
        for (int64_t i = 0; i < n; ++i) {
            const T below = own_[i] - top_[i], others = others_[i];
            const T e = exp_of_negative(below);
            const T sum = e + others;
            const T over = T(1) / sum;
            const bool likely = e >= others;
            const T odds = others / e, rest = sum - T(1);
            const T logarithm = log1p(likely ? odds : rest);
            log_p_[i] = (likely ? T(0) : below) - logarithm;
            p_[i] = e * over;
            q_[i] = others * over;
            over_[i] = over;
        }
    }

    // q^gamma
    void power(int64_t n) {
        const T gamma = static_cast<T>(options_.gamma);
        if (gamma == T(0)) {
            for (int64_t i = 0; i < n; ++i) power_[i] = T(1);
        } else if (gamma == T(1)) {
            for (int64_t i = 0; i < n; ++i) power_[i] = q_[i];
        } else if (gamma == T(2)) {
            for (int64_t i = 0; i < n; ++i) power_[i] = q_[i] * q_[i];
        } else {
            for (int64_t i = 0; i < n; ++i) power_[i] = exp(gamma * log(q_[i]));
        }
    }
};

// Sums and counts of the images, and the first wrong label as {whether there is one, the label}.
inline int32_t fold(Zeros<FocalTotals>& totals, const Chunks& chunks, double* sums, double* counts, int64_t* wrong) {
    wrong[0] = 0;
    for (int64_t chunk = 0; chunk < chunks.total; ++chunk) {
        const FocalTotals& part = totals[chunk];
        if (part.lacks_memory) return out_of_memory;
        const int64_t image = chunks.image(chunk);
        const bool first = chunk % chunks.per_image == 0;
        sums[image] = (first ? 0 : sums[image]) + part.sum;
        counts[image] = (first ? 0 : counts[image]) + part.count;
        if (part.is_wrong && !wrong[0]) {
            wrong[0] = 1;
            wrong[1] = part.wrong;
        }
    }
    return ok;
}

}  // namespace DEPTHATTN_NAMESPACE
