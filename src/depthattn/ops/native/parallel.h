// Chunks of work on PyTorch's own threads. Their number and borders depend on the shape alone, and partial sums are
// added in order, so that any number of threads gives the same bits.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "abi.h"

// PyTorch's torch_parallel_for, handed over when the library is loaded; null means that all work is done by the caller.
using ParallelFor = int32_t (*)(int64_t, int64_t, int64_t, void (*)(int64_t, int64_t, void*), void*);
extern "C" ParallelFor depthattn_parallel_for;

namespace DEPTHATTN_NAMESPACE {

template <class Work>
void run_range(int64_t begin, int64_t end, void* work) {
    for (int64_t chunk = begin; chunk < end; ++chunk) (*static_cast<Work*>(work))(chunk);
}

// What makes a second thread worth waking, the same as for PyTorch's own operators: so a small call in a forked child,
// where threads of the parent are waited for in vain, comes back as theirs does.
constexpr int64_t worth_a_thread = 32768;

// Calls work(chunk) for every chunk of `numbers` in all, in one parallel region.
template <class Work>
void for_chunks(int64_t chunks, int64_t numbers, Work work) {
    const int64_t grain = numbers > worth_a_thread ? (chunks * worth_a_thread + numbers - 1) / numbers : chunks;
    if (depthattn_parallel_for == nullptr || chunks <= grain ||
        depthattn_parallel_for(0, chunks, grain, run_range<Work>, &work) != 0) {
        run_range<Work>(0, chunks, &work);
    }
}

// How the rows of B images are cut into chunks of about `pixels` pixels; a chunk lies within one image.
struct Chunks {
    int64_t rows, rows_each, per_image, total;

    Chunks(int64_t batch, int64_t rows_, int64_t width, int64_t pixels) : rows(rows_) {
        const int64_t wanted = (rows * width + pixels - 1) / pixels;
        const int64_t most = rows > 0 ? rows : 1;
        const int64_t cuts = wanted < 1 ? 1 : wanted > most ? most : wanted;
        rows_each = (most + cuts - 1) / cuts;
        per_image = (most + rows_each - 1) / rows_each;
        total = batch * per_image;
    }
    int64_t image(int64_t chunk) const { return chunk / per_image; }
    int64_t first(int64_t chunk) const { return chunk % per_image * rows_each; }
    int64_t last(int64_t chunk) const {
        const int64_t end = first(chunk) + rows_each;
        return end < rows ? end : rows;
    }
};

// An array of zeros that frees itself; check it before use.
template <class T>
class Zeros {
  public:
    explicit Zeros(int64_t count) : data_(static_cast<T*>(std::calloc(count > 0 ? count : 1, sizeof(T)))) {}
    ~Zeros() { std::free(data_); }
    Zeros(const Zeros&) = delete;
    Zeros& operator=(const Zeros&) = delete;
    explicit operator bool() const { return data_ != nullptr; }
    T& operator[](int64_t index) { return data_[index]; }
    T* get() { return data_; }

  private:
    T* data_;
};

}  // namespace DEPTHATTN_NAMESPACE
