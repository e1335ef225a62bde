// The semantic focal loss on resized logits on the CPU: they exist at full size for a few pixels at a time.
//
// The rows of the logits are cut into bands. Between two rows of logits lies a gap of full-size rows that read these two
// and no other. A band takes the gaps behind its rows, so it adds to its own rows and to the first one of the next band;
// what is meant for that one waits until all bands are done. Nothing is computed twice, and nothing is shared.
#include <cstring>
#include <utility>

#include "../native/maps.h"
#include "../native/resize.h"
#include "../semantic_focal/pixels.h"

namespace DEPTHATTN_NAMESPACE {
namespace {

struct Arguments {
    View logits, target, weight;
    int64_t batch, classes, height, width;  // of the logits
    int64_t target_height, target_width, align_corners;
    SemanticFocalOptions options;
    View scales;     // (B,): factors of the gradient; absent: 1
    View gradient;   // (B,K,h,w), contiguous and in the dtype of the arithmetic, or absent
    double* sums;    // (B,)
    double* counts;  // (B,)
    int64_t* wrong;  // whether a label is wrong, and the first one that is
};

// Full-size columns at once, and rows of logits in a band: its extra row is a twelfth of the gradient.
constexpr int64_t columns_at_once = 64, band_rows = 12;

// A stretch of full-size columns: which logits they read.
template <class T>
struct Columns {
    int64_t first, n;                                          // of the stretch
    int64_t source, source_n;                                  // logits under it
    int32_t before[columns_at_once], behind[columns_at_once];  // counted from `source`
    T share[columns_at_once];

    Columns(const ResizedAxis& axis, int64_t first_) : first(first_) {
        n = axis.size - first < columns_at_once ? axis.size - first : columns_at_once;
        source = axis.before(first);
        source_n = axis.behind(first + n - 1) + 1 - source;
        for (int64_t i = 0; i < n; ++i) {
            before[i] = static_cast<int32_t>(axis.before(first + i) - source);
            behind[i] = static_cast<int32_t>(axis.behind(first + i) - source);
            share[i] = axis.share<T>(first + i);
        }
    }

    void resize(const T* from, T* __restrict to) const {
        for (int64_t i = 0; i < n; ++i) to[i] = (T(1) - share[i]) * from[before[i]] + share[i] * from[behind[i]];
    }

    // The adjoint of `resize`, added to a row of the gradient.
    void give_back(const T* from, T* to) const {
        for (int64_t i = 0; i < n;) {
            const int32_t left = before[i], right = behind[i];
            T to_left = 0, to_right = 0;
            for (; i < n && before[i] == left; ++i) {
                to_left += (T(1) - share[i]) * from[i];
                to_right += share[i] * from[i];
            }
            to[left] += to_left;
            to[right] += to_right;
        }
    }
};

template <class T>
T* gradient_row(const Arguments& a, int64_t image, int64_t k, int64_t row) {
    return static_cast<T*>(a.gradient.data) + ((image * a.classes + k) * a.height + row) * a.width;
}

// A row of numbers for each class, as long as a stretch of columns.
template <class T>
struct Sheet {
    Zeros<T> numbers;
    int64_t held = -1;  // the row of logits that it was made from

    explicit Sheet(int64_t classes) : numbers(classes * columns_at_once) {}
    T* row(int64_t k) { return numbers.get() + k * columns_at_once; }
    void clear(int64_t classes) { std::memset(numbers.get(), 0, classes * columns_at_once * sizeof(T)); }
};

template <class T>
void scale_numbers(T* numbers, int64_t n, T scale) {
    for (int64_t i = 0; i < n; ++i) {
        const T scaled = numbers[i] * scale;
        // Also an infinite scale leaves 0 where nothing counts.
        numbers[i] = numbers[i] != T(0) ? scaled : T(0);
    }
}

// The rows `first` to `last` of the logits of an image.
template <class T>
class Band {
  public:
    Band(const Arguments& a, int64_t image, int64_t first, int64_t last, FocalTotals& totals)
        : a_(a), image_(image), first_(first), last_(last), totals_(totals), pixels_(a.options, a.weight, a.classes),
          sheets_{Sheet<T>(a.classes), Sheet<T>(a.classes), Sheet<T>(a.classes), Sheet<T>(a.classes)},
          buffer_(a.width) {}

    explicit operator bool() const {
        bool complete = static_cast<bool>(pixels_) && static_cast<bool>(buffer_);
        for (const Sheet<T>& sheet : sheets_) complete = complete && sheet.numbers;
        return complete;
    }

    // `passed` (K,w), zeros before, gets what the gradient of the row behind the last one is given.
    void run(const ResizedAxis& rows, const ResizedAxis& columns, T* passed) {
        for (int64_t k = 0; a_.gradient && k < a_.classes; ++k) {
            std::memset(gradient_row<T>(a_, image_, k, first_), 0, (last_ - first_) * a_.width * sizeof(T));
        }
        for (int64_t column = 0; column < columns.size; column += columns_at_once) {
            const Columns<T> stretch(columns, column);
            above_->held = below_->held = -1;
            here_->clear(a_.classes);
            for (int64_t gap = first_; gap < last_; ++gap) {
                next_->clear(a_.classes);
                take_gap(rows, gap, stretch);
                for (int64_t k = 0; a_.gradient && k < a_.classes; ++k) {
                    stretch.give_back(here_->row(k), gradient_row<T>(a_, image_, k, gap) + stretch.source);
                }
                std::swap(here_, next_);
            }
            for (int64_t k = 0; a_.gradient && k < a_.classes; ++k) {
                stretch.give_back(here_->row(k), passed + k * a_.width + stretch.source);
            }
        }
        if (!a_.scales) return;
        // The first row waits for what the band before has passed on.
        const int64_t complete = first_ > 0 ? first_ + 1 : 0;
        const T scale = static_cast<T>(number_at(a_.scales, image_));
        for (int64_t k = 0; k < a_.classes; ++k) {
            scale_numbers(gradient_row<T>(a_, image_, k, complete), (last_ - complete) * a_.width, scale);
        }
    }

  private:
    const Arguments& a_;
    const int64_t image_, first_, last_;
    FocalTotals& totals_;
    FocalPixels<T, columns_at_once> pixels_;
    Sheet<T> sheets_[4];
    // Rows of logits with their columns at full size, and the gradient of such rows.
    Sheet<T>*above_ = &sheets_[0], *below_ = &sheets_[1], *here_ = &sheets_[2], *next_ = &sheets_[3];
    Zeros<T> buffer_;
    int64_t label_row_[columns_at_once];

    void take_gap(const ResizedAxis& rows, int64_t gap, const Columns<T>& stretch) {
        const int64_t begin = rows.start(gap), end = rows.start(gap + 1);
        if (begin == end) return;
        if (below_->held == gap) std::swap(above_, below_);
        hold(gap, stretch, *above_);
        const bool is_last = gap + 1 == a_.height;
        if (!is_last) hold(gap + 1, stretch, *below_);
        Sheet<T>& below = is_last ? *above_ : *below_;
        const View& target = a_.target;
        for (int64_t row = begin; row < end; ++row) {
            const int64_t at = offset_of(target, image_, row, stretch.first);
            const T share = rows.template share<T>(row);
            pixels_.begin(read_labels(target, at, target.strides[2], stretch.n, label_row_), stretch.n, totals_);
            for (int64_t k = 0; k < a_.classes; ++k) {
                pixels_.take_between(k, above_->row(k), below.row(k), share, stretch.n);
            }
            pixels_.finish(stretch.n, totals_);
            for (int64_t k = 0; a_.gradient && k < a_.classes; ++k) {
                pixels_.divide(k, share, here_->row(k), next_->row(k), stretch.n);
            }
        }
    }

    void hold(int64_t row, const Columns<T>& stretch, Sheet<T>& sheet) {
        if (sheet.held == row) return;
        const View& z = a_.logits;
        for (int64_t k = 0; k < a_.classes; ++k) {
            const int64_t at = image_ * z.strides[0] + k * z.strides[1] + row * z.strides[2] + stretch.source * z.strides[3];
            stretch.resize(read(z, at, z.strides[3], stretch.source_n, buffer_.get()), sheet.row(k));
        }
        sheet.held = row;
    }
};

template <class T>
int32_t run(const Arguments& a) {
    const ResizedAxis rows(a.height, a.target_height, a.align_corners), columns(a.width, a.target_width, a.align_corners);
    const Chunks bands(a.batch, a.height, 1, band_rows);
    Zeros<FocalTotals> totals(bands.total);
    const int64_t row = a.classes * a.width;
    Zeros<T> passed(a.gradient ? bands.total * row : 0);
    if (!totals || !passed) return out_of_memory;

    const int64_t numbers = a.batch * a.classes * a.target_height * a.target_width;
    for_chunks(bands.total, numbers, [&](int64_t chunk) {
        Band<T> band(a, bands.image(chunk), bands.first(chunk), bands.last(chunk), totals[chunk]);
        if (!band) {
            totals[chunk].lacks_memory = 1;
            return;
        }
        band.run(rows, columns, passed.get() + (a.gradient ? chunk * row : 0));
    });
    for (int64_t chunk = 0; a.gradient && chunk < bands.total; ++chunk) {
        if (bands.first(chunk) == 0) continue;
        const int64_t image = bands.image(chunk);
        const T scale = a.scales ? static_cast<T>(number_at(a.scales, image)) : T(1);
        const T* from = passed.get() + (chunk - 1) * row;
        for (int64_t k = 0; k < a.classes; ++k, from += a.width) {
            T* to = gradient_row<T>(a, image, k, bands.first(chunk));
            for (int64_t i = 0; i < a.width; ++i) to[i] += from[i];
            scale_numbers(to, a.width, scale);
        }
    }
    return fold(totals, bands, a.sums, a.counts, a.wrong);
}

}  // namespace
}  // namespace DEPTHATTN_NAMESPACE

DEPTHATTN_EXPORT int32_t DEPTHATTN_NAME(semantic_focal_upsample)(const void* arguments, int32_t wide) {
    using namespace DEPTHATTN_NAMESPACE;
    const Arguments& a = *static_cast<const Arguments*>(arguments);
    return wide ? run<double>(a) : run<float>(a);
}
