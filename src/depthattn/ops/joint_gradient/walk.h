// A walk down the rows of a strip with the Sobel windows around its pixels: docs/derivations/joint_gradient.md has the
// formulas. What the rows above leave behind stays in small buffers, so that every map is read once.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "../native/maps.h"

namespace DEPTHATTN_NAMESPACE {

// Whole rows of the common widths, so that memory is read in its order; two dozen such rows of floats stay in a
// second-level cache. High enough that the halo of two rows above and below costs little.
constexpr int64_t strip_columns = 640, strip_pixels = 32768;

struct GradientMaps {
    View pred, target, mask, semantics;  // semantics: labels of an integer dtype, or a map of a float one, or absent
    int64_t terms;                           // 2 with semantics, also with those of no pixel, which look absent
    int64_t batch, height, width;
    int64_t ignore_index;

    bool labels() const { return semantics && semantics.dtype >= Dtype::uint8; }
    int64_t pixels() const { return batch * height * width; }
};

// The pixels of an image that one chunk of work owns: rows first to last, columns left to right.
struct Strip {
    int64_t image, first, last, left, right;
};

struct Strips {
    int64_t width, across;
    Chunks bands;

    explicit Strips(const GradientMaps& maps)
        : width(maps.width), across(width > strip_columns ? (width + strip_columns - 1) / strip_columns : 1),
          bands(maps.batch * across, maps.height, width < strip_columns ? width : strip_columns, strip_pixels) {}

    int64_t total() const { return bands.total; }
    Strip at(int64_t chunk) const {
        const int64_t column = bands.image(chunk) % across;
        const int64_t left = column * strip_columns, right = left + strip_columns;
        return {bands.image(chunk) / across, bands.first(chunk), bands.last(chunk), left, right < width ? right : width};
    }
    // Adds up what every strip has found, `kinds` numbers for each, into totals (kinds,B).
    template <class Number>
    void add_up(Number* parts, int64_t kinds, int64_t batch, Number* totals) const {
        const int64_t each = across * bands.per_image;
        for (int64_t kind = 0; kind < kinds; ++kind) {
            for (int64_t image = 0; image < batch; ++image) {
                Number total = 0;
                for (int64_t part = 0; part < each; ++part) total += parts[(image * each + part) * kinds + kind];
                totals[kind * batch + image] = total;
            }
        }
    }
};

// What counts in a row of pixels and in the windows that it completes. Column i of a buffer is the pixel `halo` columns
// left of the strip, or the window with its left column there.
template <class T>
class Marks {
  public:
    using Int = typename Format<T>::Int;
    static constexpr Int depth = 1, semantic = 2;

    Marks(const GradientMaps& maps_, const Strip& strip_, bool slopes)
        : maps(maps_), strip(strip_), halo(slopes && strip.left > 0 ? 2 : 0), columns(strip.right - strip.left) {
        const int64_t behind = maps.width - strip.right;
        pixels = halo + columns + (behind < 2 ? behind : 2);
        windows = pixels > 2 ? pixels - 2 : 0;
        // Above the first row of the walk nothing counts.
        std::memset(rows_, 0, sizeof(rows_));
        std::memset(flags_, 0, sizeof(flags_));
    }

    // Marks the pixels of row y, of which those below the image do not count, and the windows whose last row it is.
    void take(int64_t y, bool with_depth = true) {
        if (y < maps.height) {
            mark_depth(y, with_depth ? depth : 0);
            if (maps.semantics) maps.labels() ? mark_labels(y) : mark_map(y);
        } else {
            std::memset(flags_, 0, sizeof(flags_));
        }
        now_ = 1 - now_;
        find_windows(0, halo < windows ? halo : windows);
        find_windows(halo, windows);
    }

    const Int* inside() const { return inside_; }
    // Pixels of the row in the strip whose depth counts.
    int64_t depth_pixels() const { return count_marks(flags_ + halo, depth, columns); }
    // Windows of the strip, without its halo, that the last row has completed.
    int64_t depth_windows() const { return depth_windows_; }
    int64_t semantic_windows() const { return semantic_windows_; }

    const GradientMaps maps;
    const Strip strip;
    const int64_t halo, columns;
    int64_t pixels, windows;
    // The maps at the pixels of the row, as they lie or in a buffer.
    const T *target_row = target_buffer_, *semantic_row = semantic_buffer_;

  protected:
    static constexpr int64_t room = strip_columns + 8;

  private:
    // Of a row of labels: whether a pixel is like the one to its right, and like the one above it.
    static constexpr Int right = semantic, up = 4;

    int64_t column() const { return strip.left - halo; }

    void mark_depth(int64_t y, Int bit) {
        target_row = read_target(maps.target, maps.mask, strip.image, y, column(), pixels, target_buffer_);
        mark_valid(target_row, bit, pixels, flags_);
    }

    static void mark_valid(const T* __restrict depths, Int bit, int64_t n, Int* __restrict flags) {
        for (int64_t i = 0; i < n; ++i) flags[i] = valid_depth(depths[i]) ? bit : Int(0);
    }

    void mark_labels(int64_t y) {
        const View& map = maps.semantics;
        int64_t* buffer = label_buffer_[now_];
        const int64_t* here = read_labels(map, offset_of(map, strip.image, y, column()), map.strides[2], pixels, buffer);
        const int64_t* above = labels_ == nullptr ? here : labels_;
        labels_ = here;
        mark_equal(here, above, maps.ignore_index, pixels - 1, flags_);
    }

    static void mark_equal(
        const int64_t* __restrict here, const int64_t* __restrict above, int64_t ignored, int64_t n,
        Int* __restrict flags) {
        for (int64_t i = 0; i < n; ++i) {
            const bool like_right = (here[i] == here[i + 1]) & (here[i] != ignored);
            const bool like_above = here[i] == above[i];
            flags[i] |= (like_right ? right : Int(0)) | (like_above ? up : Int(0));
        }
    }

    void mark_map(int64_t y) {
        const View& map = maps.semantics;
        semantic_row = read(map, offset_of(map, strip.image, y, column()), map.strides[2], pixels, semantic_buffer_);
        mark_finite(semantic_row, pixels, flags_);
    }

    static void mark_finite(const T* __restrict values, int64_t n, Int* __restrict flags) {
        const T infinity = std::numeric_limits<T>::infinity();
        for (int64_t i = 0; i < n; ++i) {
            const bool finite = (values[i] > -infinity) & (values[i] < infinity);
            flags[i] |= finite ? semantic | up : Int(0);
        }
    }

    void find_windows(int64_t begin, int64_t end) {
        // A label is compared with those to its right and above it: the right column and the first row have none.
        const Int last_column = maps.labels() ? right | up : up;
        Int counts[2] = {};
        join_marks(flags_ + begin, rows_[1 - now_] + begin, last_column, end - begin, rows_[now_] + begin,
                   inside_ + begin, counts);
        depth_windows_ = counts[0] / depth;
        semantic_windows_ = counts[1] / semantic;
    }

    // `row` holds the marks of three pixels each two rows above, and makes room for those of this row.
    static void join_marks(
        const Int* __restrict flags, const Int* __restrict row_above, Int last_column, int64_t n, Int* __restrict row,
        Int* __restrict inside, Int* counts) {
        Int of_depth = 0, of_semantics = 0;
        for (int64_t i = 0; i < n; ++i) {
            const Int here = flags[i] & (flags[i + 1] | up) & (flags[i + 2] | last_column);
            const Int all = here & row_above[i] & (row[i] | up);
            row[i] = here;
            const Int depth_counts = all & depth, semantics_count = all & (all >> 1) & semantic;
            inside[i] = depth_counts | semantics_count;
            of_depth += depth_counts;
            of_semantics += semantics_count;
        }
        counts[0] = of_depth;
        counts[1] = of_semantics;
    }

    static Int count_marks(const Int* marks, Int bit, int64_t n) {
        Int count = 0;
        for (int64_t i = 0; i < n; ++i) count += marks[i] & bit;
        return count;
    }

    Int flags_[room], rows_[2][room], inside_[room];
    T target_buffer_[room], semantic_buffer_[room];
    int64_t label_buffer_[2][room];
    const int64_t* labels_ = nullptr;
    int64_t depth_windows_ = 0, semantic_windows_ = 0;
    int now_ = 0;
};

// The windows themselves: their values, and what their signs add to the pixels.
template <class T>
class Walk : public Marks<T> {
    using Base = Marks<T>;
    using Int = typename Base::Int;
    using Base::room;

  public:
    using Base::columns, Base::halo, Base::maps, Base::pixels, Base::strip, Base::windows;

    Walk(const GradientMaps& maps_, const Strip& strip_, bool slopes, bool with_depth = true)
        : Base(maps_, strip_, slopes), slopes_(slopes), with_depth_(with_depth) {
        std::memset(across_, 0, sizeof(across_));
        std::memset(down_, 0, sizeof(down_));
        std::memset(horizontal_, 0, sizeof(horizontal_));
        std::memset(vertical_, 0, sizeof(vertical_));
        std::memset(gathered_, 0, sizeof(gathered_));
    }

    // The first row of pixels to take: a slope needs the windows of two rows above it. The last is strip.last + 1.
    int64_t top() const { return slopes_ && strip.first > 2 ? strip.first - 2 : slopes_ ? 0 : strip.first; }

    void take(int64_t y) {
        Base::take(y, with_depth_);
        if (y < maps.height) {
            const View& map = maps.pred;
            const int64_t offset = offset_of(map, strip.image, y, strip.left - halo);
            pred_row = read(map, offset, map.strides[2], pixels, pred_buffer_);
            subtract(pred_row, this->target_row, pixels, error_[0]);
            if (maps.semantics && !maps.labels()) subtract(pred_row, this->semantic_row, pixels, error_[1]);
        }
        old_ = 1 - old_;
        row_ = (row_ + 1) % 3;
        find_edges(0, error_[0]);
        if (maps.semantics) find_edges(1, maps.labels() ? pred_row : error_[1]);
    }

    // Adds the values and the number of the windows of the strip, without its halo, that the last row has completed.
    void add_to(double* sums, int64_t* counts) const {
        if (windows <= halo) return;
        for (int64_t term = 0; term < maps.terms; ++term) sums[term] += sum_of(value_[term] + halo, windows - halo);
        counts[0] += this->depth_windows();
        if (maps.terms == 2) counts[1] += this->semantic_windows();
    }

    // The slopes of both terms at the pixels of the row before the last one but one, as depth + 64 * semantic: each is
    // a whole number in [-16, 16], or NaN.
    const T* slopes() {
        const int before = (row_ + 2) % 3, first = (row_ + 1) % 3;
        // A pixel is the right, the middle and the left one of three windows: the first has its corner 2 columns left.
        gather(horizontal_[row_], horizontal_[before], horizontal_[first], vertical_[row_], vertical_[first], windows,
               gathered_[0] + (2 - halo), gathered_[1] + (2 - halo));
        spread(gathered_[0], gathered_[1], columns, slope_);
        return slope_;
    }

    const T* pred_row = pred_buffer_;

  private:
    static void subtract(const T* __restrict p, const T* __restrict q, int64_t n, T* __restrict error) {
        for (int64_t i = 0; i < n; ++i) error[i] = p[i] - q[i];
    }

    void find_edges(int64_t term, const T* row) {
        const Int bit = term == 0 ? Base::depth : Base::semantic;
        const auto find = slopes_ ? (term == 0 ? differentiate<1> : differentiate<64>) : differentiate<0>;
        find(row, this->inside(), bit, across_[term][1 - old_], windows, across_[term][old_], down_[term][old_],
             value_[term], horizontal_[row_], vertical_[row_]);
    }

    // |Sh| + |Sv| of the windows that count, 0 of the others, and their signs times `share`, which the second term adds
    // to those of the first. `across` and `down` hold the differences and sums of three pixels each two rows above, and
    // make room for those of this row.
    template <int share>
    static void differentiate(
        const T* __restrict x, const Int* __restrict inside, Int bit, const T* __restrict across_above, int64_t n,
        T* __restrict across, T* __restrict down, T* __restrict value, T* __restrict horizontal_signs,
        T* __restrict vertical_signs) {
        for (int64_t i = 0; i < n; ++i) {
            const T left = x[i], right = x[i + 2];
            const T difference = right - left, smoothed = (left + right) + T(2) * x[i + 1];
            const T horizontal = (across[i] + difference) + T(2) * across_above[i];
            const T vertical = smoothed - down[i];
            across[i] = difference;
            down[i] = smoothed;
            // Selected before anything else, so that a NaN outside of the windows goes nowhere.
            const bool counts = (inside[i] & bit) != 0;
            const T h = counts ? horizontal : T(0), v = counts ? vertical : T(0);
            value[i] = std::fabs(h) + std::fabs(v);
            if constexpr (share == 1) {
                horizontal_signs[i] = sign(h);
                vertical_signs[i] = sign(v);
            } else if constexpr (share > 1) {
                horizontal_signs[i] += T(share) * sign(h);
                vertical_signs[i] += T(share) * sign(v);
            }
        }
    }

    // What the windows of three rows add to their pixels, first down the columns, then along the row.
    static void gather(
        const T* __restrict h0, const T* __restrict h1, const T* __restrict h2, const T* __restrict v0,
        const T* __restrict v2, int64_t n, T* __restrict across, T* __restrict down) {
        for (int64_t i = 0; i < n; ++i) {
            across[i] = (h0[i] + h2[i]) + T(2) * h1[i];
            down[i] = v2[i] - v0[i];
        }
    }

    static void spread(const T* __restrict across, const T* __restrict down, int64_t n, T* __restrict slope) {
        for (int64_t i = 0; i < n; ++i) {
            slope[i] = (across[i] - across[i + 2]) + ((down[i] + down[i + 2]) + T(2) * down[i + 1]);
        }
    }

    const bool slopes_, with_depth_;
    int old_ = 0, row_ = 0;
    T pred_buffer_[room], error_[2][room], across_[2][2][room], down_[2][2][room], value_[2][room];
    T horizontal_[3][room], vertical_[3][room], gathered_[2][room], slope_[room];
};

// The slopes of `terms` terms at n pixels, as `Walk` packs them, times the scale of each: also an infinite scale leaves
// a pixel at 0 that no window uses.
template <class T>
inline void weigh(const T* __restrict packed, int64_t terms, const T* scales, int64_t n, T* __restrict gradient) {
    const T depth_scale = scales[0], semantic_scale = scales[1];
    if (terms == 1) {
        for (int64_t i = 0; i < n; ++i) {
            const T scaled = packed[i] * depth_scale;
            gradient[i] = packed[i] != T(0) ? scaled : T(0);
        }
        return;
    }
    for (int64_t i = 0; i < n; ++i) {
        const T semantic = (packed[i] * T(1.0 / 64) + Format<T>::magic) - Format<T>::magic;
        const T depth = packed[i] - T(64) * semantic;
        const T of_depth = depth * depth_scale, of_semantics = semantic * semantic_scale;
        gradient[i] = (depth != T(0) ? of_depth : T(0)) + (semantic != T(0) ? of_semantics : T(0));
    }
}

}  // namespace DEPTHATTN_NAMESPACE
