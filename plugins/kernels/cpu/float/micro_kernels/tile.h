// Register tiles: some output channels by some vectors of pixels, over a block of terms.
#ifndef SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TILE_H_
#define SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TILE_H_

#include <cstddef>

#include "common/unroll.h"
#include "float/micro_kernels.h"
#include "float/micro_kernels/terms.h"

namespace shiftadd {
namespace cpu {

template <typename Vector, size_t Rows, size_t Vectors>
using TileSums = typename Vector::Register[Rows][Vectors];

// One term: `w` are its rows' weights, `x` points to each vector of its pixels when `row` is added.
template <typename Vector, typename Term, size_t Rows, size_t Vectors>
SHIFTADD_INLINE void add_term(const float* w, const float* const (&x)[Vectors], ptrdiff_t row,
                              TileSums<Vector, Rows, Vectors>& sums) {
  using Register = typename Vector::Register;
  Register pixels[Vectors];
  SHIFTADD_UNROLL(4)
  for (size_t v = 0; v < Vectors; ++v) pixels[v] = Vector::load(x[v] + row);
  SHIFTADD_UNROLL(16)
  for (size_t r = 0; r < Rows; ++r) {
    const Register weight = Vector::broadcast(w[r]);
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v < Vectors; ++v) {
      sums[r][v] = Term::accumulate(pixels[v], weight, sums[r][v]);
      Vector::keep_order(sums[r][v]);
    }
  }
}

// The tile's sums over this block of terms. Several terms are unrolled and each vector has a
// pointer of its own, because counting and address arithmetic would take issue slots from the
// multiplications.
template <typename Vector, typename Term, size_t Rows, size_t Vectors>
SHIFTADD_INLINE void sum_block(const TileArguments& tile, TileSums<Vector, Rows, Vectors>& sums) {
  constexpr size_t kTermsAtOnce = 4;
  SHIFTADD_UNROLL(16)
  for (size_t r = 0; r < Rows; ++r) {
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v < Vectors; ++v) {
      sums[r][v] = Vector::broadcast(0.0f);
    }
  }
  const float* w = tile.w;
  const float* x[Vectors];
  SHIFTADD_UNROLL(4)
  for (size_t v = 0; v < Vectors; ++v) {
    x[v] = tile.x.x + tile.x.vectors[v];
    __asm__("" : "+r"(x[v]));
  }
  const ptrdiff_t* row = tile.x.rows;
  size_t k = 0;
  for (; k + kTermsAtOnce <= tile.depth; k += kTermsAtOnce) {
    SHIFTADD_UNROLL(4)
    for (size_t i = 0; i < kTermsAtOnce; ++i) {
      add_term<Vector, Term, Rows, Vectors>(w + i * Rows, x, row[i], sums);
    }
    w += kTermsAtOnce * Rows;
    row += kTermsAtOnce;
  }
  for (; k < tile.depth; ++k, w += Rows, ++row) {
    add_term<Vector, Term, Rows, Vectors>(w, x, *row, sums);
  }
}

// Adds what earlier blocks left, and leaves the sums for the next block or writes the outputs.
template <typename Vector, typename Term, size_t Rows, size_t Vectors>
SHIFTADD_INLINE void finish_tile(const TileArguments& tile, TileSums<Vector, Rows, Vectors>& sums) {
  // The earlier blocks are added after this block's own sum, because a sum in blocks rounds less
  // than one long sum.
  if (tile.load_partial) {
    SHIFTADD_UNROLL(16)
    for (size_t r = 0; r < Rows; ++r) {
      SHIFTADD_UNROLL(4)
      for (size_t v = 0; v < Vectors; ++v) {
        sums[r][v] += Vector::load(tile.partial + (r * Vectors + v) * Vector::kLanes);
      }
    }
  }
  if (tile.store_partial) {
    SHIFTADD_UNROLL(16)
    for (size_t r = 0; r < Rows; ++r) {
      SHIFTADD_UNROLL(4)
      for (size_t v = 0; v < Vectors; ++v) {
        Vector::store(tile.partial + (r * Vectors + v) * Vector::kLanes, sums[r][v]);
      }
    }
    return;
  }
  SHIFTADD_UNROLL(16)
  for (size_t r = 0; r < Rows; ++r) {
    if (r >= tile.rows) return;
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v < Vectors; ++v) {
      const size_t begin = v * Vector::kLanes;
      if (begin >= tile.columns) break;
      store_within<Vector>(tile.y + r * tile.y_stride + begin,
                           finish<Vector, Term>(sums[r][v], tile.epilogue, r),
                           tile.columns - begin);
    }
  }
}

template <typename Vector, typename Term, size_t Rows, size_t Vectors>
void conv_tile(const TileArguments& tile) {
  TileSums<Vector, Rows, Vectors> sums;
  sum_block<Vector, Term, Rows, Vectors>(tile, sums);
  finish_tile<Vector, Term, Rows, Vectors>(tile, sums);
}

// Turns the sums of maxima into sums of distances. Answers whether every one of them can be used
// (DistanceSums).
template <typename Vector, size_t Rows, size_t Vectors>
SHIFTADD_INLINE bool take_distances(const TileArguments& tile,
                                    TileSums<Vector, Rows, Vectors>& sums) {
  using Register = typename Vector::Register;
  constexpr size_t kWidth = Vectors * Vector::kLanes;
  bool all_count = true;
  SHIFTADD_UNROLL(4)
  for (size_t v = 0; v < Vectors; ++v) {
    const Register x_sum = Vector::load(tile.x_sums + v * Vector::kLanes);
    const Register x_limit = Vector::load(tile.x_sums + kWidth + v * Vector::kLanes);
    // min() drops a NaN of its first operand, so the last row decides. That is enough: a pixel that
    // is NaN is in every row, and a weight that is not finite made the last row's limit infinite
    // (sum_weights).
    Register least = Vector::broadcast(0.0f);
    SHIFTADD_UNROLL(16)
    for (size_t r = 0; r < Rows; ++r) {
      const Register twice = sums[r][v] + sums[r][v];
      const Register limit = x_limit + Vector::broadcast(tile.w_sums[Rows + r]);
      least = Vector::min(least, twice - limit);
      sums[r][v] = twice - (x_sum + Vector::broadcast(tile.w_sums[r]));
    }
    all_count = all_count && Vector::all_at_least_zero(least);
  }
  return all_count;
}

template <typename Vector, size_t Rows, size_t Vectors>
void maximum_tile(const TileArguments& tile) {
  TileSums<Vector, Rows, Vectors> sums;
  sum_block<Vector, MaximumTerm<Vector>, Rows, Vectors>(tile, sums);
  if (!take_distances<Vector, Rows, Vectors>(tile, sums)) {
    sum_block<Vector, AdderTerm<Vector>, Rows, Vectors>(tile, sums);
  }
  finish_tile<Vector, AdderTerm<Vector>, Rows, Vectors>(tile, sums);
}

// The terms are summed in short runs, and then the runs: the rounding error of these sums comes on
// top of that of the maxima, so it has to be small.
template <typename Vector>
void sum_pixels(const SumPixelsArguments& call) {
  using Register = typename Vector::Register;
  constexpr size_t kRun = 16;
  const Register zero = Vector::broadcast(0.0f);
  for (size_t v = 0; v < call.vectors; ++v) {
    const float* x = call.x.x + call.x.vectors[v];
    Register sum = zero, magnitude = zero;
    for (size_t begin = 0; begin < call.depth; begin += kRun) {
      const size_t end = begin + kRun < call.depth ? begin + kRun : call.depth;
      Register run_sum = zero, run_magnitude = zero;
      for (size_t k = begin; k < end; ++k) {
        const Register pixels = Vector::load(x + call.x.rows[k]);
        run_sum += pixels;
        run_magnitude = Vector::add_distance(pixels, zero, run_magnitude);
      }
      sum += run_sum;
      magnitude += run_magnitude;
    }
    float* sums = call.sums + v * Vector::kLanes;
    float magnitudes[Vector::kLanes];
    Vector::store(sums, sum);
    Vector::store(magnitudes, magnitude);
    for (size_t i = 0; i < Vector::kLanes; ++i) {
      sums[call.sums_stride + i] = DistanceSums::limit(sums[i], magnitudes[i]);
    }
  }
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TILE_H_
