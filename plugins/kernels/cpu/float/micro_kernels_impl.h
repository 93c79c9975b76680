// Micro-kernels written once over a vector type; each instruction set's source file instantiates
// them with its own. Vector types live in unnamed namespaces, so no instantiation is shared between
// files that are compiled for different processors.
//
// A Vector type offers: Register, kLanes, load, store (both unaligned), broadcast,
// load_front(p, count) and store_front(p, v, count) that touch the first count < kLanes floats
// only, keep_order(v), before which v is computed and not later, where the compiler needs to be
// told, even(low, high) = low[0], low[2], .., high[1], high[3], ..: one vector of every second
// float of 2 kLanes - 1, of which low has the first kLanes and high the last, multiply_add(a, b, c)
// = a*b + c, add_distance(x, w, sum) = sum + |x - w|, clamp(v, low, high) that keeps NaN. One with
// kShiftRows offers decode(bytes), the weights of the first kLanes codes of 4 bits, of which no
// byte more is read. One with kMaximumTiles offers max(a, b) and min(a, b), both b where one is
// NaN, and all_at_least_zero(v).
#ifndef SHIFTADD_KERNELS_CPU_MICRO_KERNELS_IMPL_H_
#define SHIFTADD_KERNELS_CPU_MICRO_KERNELS_IMPL_H_

#include <cstring>

#include "common/unroll.h"
#include "float/micro_kernels.h"

namespace shiftadd {
namespace cpu {

// The weights of the 16 codes of 4 bits.
constexpr float kDecoded[16] = {0.0f,     1.0f,      0.5f,      0.25f,     0.125f, 0.0625f,
                                0.03125f, 0.015625f, 0.0f,      -1.0f,     -0.5f,  -0.25f,
                                -0.125f,  -0.0625f,  -0.03125f, -0.015625f};

// sum + w*x; the operator's output is +sum.
template <typename Vector>
struct ShiftTerm {
  static constexpr float kSign = 1.0f;
  static SHIFTADD_INLINE typename Vector::Register accumulate(typename Vector::Register x,
                                                              typename Vector::Register w,
                                                              typename Vector::Register sum) {
    return Vector::multiply_add(x, w, sum);
  }
};

// sum + |x - w|; the operator's output is -sum.
template <typename Vector>
struct AdderTerm {
  static constexpr float kSign = -1.0f;
  static SHIFTADD_INLINE typename Vector::Register accumulate(typename Vector::Register x,
                                                              typename Vector::Register w,
                                                              typename Vector::Register sum) {
    return Vector::add_distance(x, w, sum);
  }
};

// sum + max(x, w); see DistanceSums.
template <typename Vector>
struct MaximumTerm {
  static SHIFTADD_INLINE typename Vector::Register accumulate(typename Vector::Register x,
                                                              typename Vector::Register w,
                                                              typename Vector::Register sum) {
    return sum + Vector::max(x, w);
  }
};

template <typename Vector>
SHIFTADD_INLINE typename Vector::Register activate(typename Vector::Register v,
                                                   Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return Vector::clamp(v, Vector::broadcast(0.0f), Vector::broadcast(__builtin_inff()));
    case Activation::kRelu6:
      return Vector::clamp(v, Vector::broadcast(0.0f), Vector::broadcast(6.0f));
    case Activation::kHardswish: {
      const auto gate = Vector::clamp(v + Vector::broadcast(3.0f), Vector::broadcast(0.0f),
                                      Vector::broadcast(6.0f));
      return v * (gate * Vector::broadcast(1.0f / 6.0f));
    }
    case Activation::kNone: break;
  }
  return v;
}

// Stores as much of a vector as a row of `count` floats takes.
template <typename Vector>
SHIFTADD_INLINE void store_within(float* y, typename Vector::Register v, size_t count) {
  if (count >= Vector::kLanes) {
    Vector::store(y, v);
  } else {
    Vector::store_front(y, v, count);
  }
}

template <typename Vector, typename Term>
SHIFTADD_INLINE typename Vector::Register finish(typename Vector::Register sum,
                                                 const Epilogue& epilogue, size_t row) {
  const auto scale = Vector::broadcast(Term::kSign * epilogue.scale[row]);
  const auto bias = Vector::broadcast(epilogue.bias[row]);
  return activate<Vector>(Vector::multiply_add(scale, sum, bias), epilogue.activation);
}

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

// The tile's sums over this block of terms. Some are taken at once, and each vector has a pointer
// of its own: counting and adding up addresses would take slots of the units that multiply.
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
  // Added after the block's own sum, not before it: a sum in blocks rounds less than one in
  // sequence.
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

// Makes sums of distances of sums of maxima; whether each of them counts (DistanceSums).
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
    // A NaN is there in the last row, too: then it is the limit's infinity that brings it about.
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

// In runs of few terms, which are added up in turn: what these sums round off comes on top of the
// maxima's own.
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

// Outputs [first, first + count), count at most kLanes.
template <typename Vector>
SHIFTADD_INLINE void shift_few_rows(const ShiftRowsArguments& call, size_t first, size_t count) {
  using Register = typename Vector::Register;
  constexpr size_t kRowsAtOnce = 4;
  const size_t row_bytes = call.terms / 2;
  const uint8_t* w = reinterpret_cast<const uint8_t*>(call.w) + first * row_bytes;
  float totals[Vector::kLanes] = {};
  for (size_t row = 0; row < count; row += kRowsAtOnce) {
    const size_t left = count - row;
    const uint8_t* rows[kRowsAtOnce];
    Register sums[kRowsAtOnce];
    SHIFTADD_UNROLL(4)
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      rows[r] = w + (row + (r < left ? r : left - 1)) * row_bytes;
      sums[r] = Vector::broadcast(0.0f);
    }
    for (size_t k = 0; k < call.terms; k += Vector::kLanes) {
      const Register x = Vector::load(call.x + k);
      SHIFTADD_UNROLL(4)
      for (size_t r = 0; r < kRowsAtOnce; ++r) {
        sums[r] = Vector::multiply_add(x, Vector::decode(rows[r] + k / 2), sums[r]);
      }
    }
    for (size_t r = 0; r < kRowsAtOnce && r < left; ++r) {
      float lanes[Vector::kLanes];
      Vector::store(lanes, sums[r]);
      for (size_t i = 0; i < Vector::kLanes; ++i) totals[row + r] += lanes[i];
    }
  }
  const bool all = count == Vector::kLanes;
  const float* scale = call.epilogue.scale + first;
  const float* bias = call.epilogue.bias + first;
  const Register y = activate<Vector>(
      Vector::multiply_add(all ? Vector::load(scale) : Vector::load_front(scale, count),
                           Vector::load(totals),
                           all ? Vector::load(bias) : Vector::load_front(bias, count)),
      call.epilogue.activation);
  store_within<Vector>(call.y + first, y, count);
}

template <typename Vector>
void shift_rows(const ShiftRowsArguments& call) {
  for (size_t first = 0; first < call.rows; first += Vector::kLanes) {
    const size_t left = call.rows - first;
    shift_few_rows<Vector>(call, first, left < Vector::kLanes ? left : Vector::kLanes);
  }
}

// `Vectors` output vectors of `Rows` depthwise rows. Taps is the number of taps where it is known
// to the compiler, which then keeps the weights in registers from row to row; 0 where it is not.
template <typename Vector, typename Term, size_t Taps, size_t Rows, size_t Vectors>
SHIFTADD_INLINE void depthwise_step(const DepthwiseArguments& call, const float* x, float* y,
                                    size_t columns) {
  using Register = typename Vector::Register;
  const size_t taps = Taps == 0 ? call.taps : Taps;
  Register sums[Rows][Vectors];
  SHIFTADD_UNROLL(4)
  for (size_t r = 0; r < Rows; ++r) {
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v < Vectors; ++v) sums[r][v] = Vector::broadcast(0.0f);
  }
  SHIFTADD_UNROLL(9)
  for (size_t t = 0; t < taps; ++t) {
    const Register weight = Vector::broadcast(call.w[t]);
    const float* pixels = x + call.offsets[t];
    SHIFTADD_UNROLL(4)
    for (size_t r = 0; r < Rows; ++r) {
      SHIFTADD_UNROLL(4)
      for (size_t v = 0; v < Vectors; ++v) {
        const float* from = pixels + r * call.x_stride + v * Vector::kLanes;
        sums[r][v] = Term::accumulate(Vector::load(from), weight, sums[r][v]);
      }
    }
  }
  SHIFTADD_UNROLL(4)
  for (size_t r = 0; r < Rows; ++r) {
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v < Vectors; ++v) {
      const size_t begin = v * Vector::kLanes;
      store_within<Vector>(y + r * call.columns + begin,
                           finish<Vector, Term>(sums[r][v], call.epilogue, 0), columns - begin);
    }
  }
}

// All rows of `Vectors` vectors of columns, in fours of vectors: one sum after the other would wait
// for itself.
template <typename Vector, typename Term, size_t Taps, size_t Vectors>
SHIFTADD_INLINE void depthwise_columns(const DepthwiseArguments& call, size_t begin) {
  constexpr size_t kRows = 4 / Vectors;
  const size_t columns = call.columns - begin;
  const float* x = call.x + begin;
  float* y = call.y + begin;
  size_t row = 0;
  for (; row + kRows <= call.rows; row += kRows) {
    depthwise_step<Vector, Term, Taps, kRows, Vectors>(call, x, y, columns);
    x += kRows * call.x_stride;
    y += kRows * call.columns;
  }
  for (; row < call.rows; ++row, x += call.x_stride, y += call.columns) {
    depthwise_step<Vector, Term, Taps, 1, Vectors>(call, x, y, columns);
  }
}

template <typename Vector, typename Term, size_t Taps>
void depthwise_all_columns(const DepthwiseArguments& call) {
  size_t column = 0;
  while (column < call.columns) {
    const size_t vectors = (call.columns - column + Vector::kLanes - 1) / Vector::kLanes;
    if (vectors >= 4) {
      depthwise_columns<Vector, Term, Taps, 4>(call, column);
      column += 4 * Vector::kLanes;
    } else if (vectors >= 2) {
      depthwise_columns<Vector, Term, Taps, 2>(call, column);
      column += 2 * Vector::kLanes;
    } else {
      depthwise_columns<Vector, Term, Taps, 1>(call, column);
      column += Vector::kLanes;
    }
  }
}

template <typename Vector, typename Term>
void depthwise_rows(const DepthwiseArguments& call) {
  constexpr size_t kUsualTaps = 9;
  if (call.taps == kUsualTaps) {
    depthwise_all_columns<Vector, Term, kUsualTaps>(call);
  } else {
    depthwise_all_columns<Vector, Term, 0>(call);
  }
}

// `count` floats, kLanes at most, `PixelStep` apart; nothing is read behind the last of them.
template <typename Vector, size_t PixelStep>
SHIFTADD_INLINE typename Vector::Register load_pixels(const float* p, size_t count) {
  constexpr size_t kLanes = Vector::kLanes;
  if (PixelStep == 1) return count == kLanes ? Vector::load(p) : Vector::load_front(p, count);
  const size_t floats = 2 * count - 1;
  const auto low = floats < kLanes ? Vector::load_front(p, floats) : Vector::load(p);
  if (floats < kLanes) return Vector::even(low, low);
  const float* last = p + kLanes - 1;
  const auto high =
      count == kLanes ? Vector::load(last) : Vector::load_front(last, floats - (kLanes - 1));
  return Vector::even(low, high);
}

// Rows of `Vectors` vectors, not all of the last: that one ends where the row does, over some of
// what is copied; a row that does not fill the only one is copied as far as it goes.
template <typename Vector, size_t PixelStep, size_t Vectors>
SHIFTADD_INLINE void copy_vectors(const CopyArguments& call) {
  static_assert(PixelStep <= 2, "load_pixels takes all pixels or every second");
  constexpr size_t kLanes = Vector::kLanes;
  const size_t length = call.length;
  const bool front = length < Vector::kLanes;
  const size_t last = front ? 0 : length - Vector::kLanes;
  float* to = call.to;
  const float* from = call.from;
  for (size_t row = 0; row < call.rows; ++row, to += call.to_step, from += call.from_step) {
    SHIFTADD_UNROLL(4)
    for (size_t v = 0; v + 1 < Vectors; ++v) {
      const size_t i = v * Vector::kLanes;
      Vector::store(to + i, load_pixels<Vector, PixelStep>(from + i * PixelStep, kLanes));
    }
    if (Vectors == 1 && front) {
      Vector::store_front(to, load_pixels<Vector, PixelStep>(from, length), length);
    } else {
      Vector::store(to + last, load_pixels<Vector, PixelStep>(from + last * PixelStep, kLanes));
    }
  }
}

template <typename Vector, size_t PixelStep>
SHIFTADD_INLINE bool copy_few_vectors(const CopyArguments& call) {
  switch ((call.length + Vector::kLanes - 1) / Vector::kLanes) {
    case 1: copy_vectors<Vector, PixelStep, 1>(call); return true;
    case 2: copy_vectors<Vector, PixelStep, 2>(call); return true;
    case 3: copy_vectors<Vector, PixelStep, 3>(call); return true;
    case 4: copy_vectors<Vector, PixelStep, 4>(call); return true;
    default: return false;
  }
}

template <typename Vector>
void copy_rows(const CopyArguments& call) {
  if (call.length == 0) return;
  if (call.pixel_step == 1 && copy_few_vectors<Vector, 1>(call)) return;
  if (call.pixel_step == 2 && copy_few_vectors<Vector, 2>(call)) return;
  for (size_t row = 0; row < call.rows; ++row) {
    float* to = call.to + row * call.to_step;
    const float* from = call.from + row * call.from_step;
    if (call.pixel_step == 1) {
      std::memcpy(to, from, call.length * sizeof(float));
    } else {
      for (size_t i = 0; i < call.length; ++i) to[i] = from[i * call.pixel_step];
    }
  }
}

template <typename Vector>
void copy_taps(const CopyTapsArguments& call) {
  float* to = call.to;
  for (size_t t = 0; t < call.tap_count; ++t, to += call.to_step) {
    const float* from = call.patch + call.taps[t];
    for (size_t s = 0; s < call.segment_count; ++s) {
      const PanelSegment segment = call.segments[s];
      for (size_t i = 0; i < segment.length; i += Vector::kLanes) {
        Vector::store(to + segment.column + i, Vector::load(from + segment.source + i));
      }
    }
    if (call.columns < call.to_step) Vector::store(to + call.columns, Vector::broadcast(0.0f));
  }
}

template <typename Vector, size_t Rows, size_t Vectors>
struct TileKernels {
  static void fill(MicroKernels& table) {
    TileKernels<Vector, Rows, Vectors - 1>::fill(table);
    table.shift_tiles[Vectors - 1] = conv_tile<Vector, ShiftTerm<Vector>, Rows, Vectors>;
    table.adder_tiles[Vectors - 1] = conv_tile<Vector, AdderTerm<Vector>, Rows, Vectors>;
  }
};

template <typename Vector, size_t Rows>
struct TileKernels<Vector, Rows, 0> {
  static void fill(MicroKernels&) {}
};

template <typename Vector, size_t Rows, size_t Vectors>
struct MaximumTiles {
  static void fill(MicroKernels& table) {
    MaximumTiles<Vector, Rows, Vectors - 1>::fill(table);
    table.maximum_tiles[Vectors - 1] = maximum_tile<Vector, Rows, Vectors>;
    table.sum_pixels = sum_pixels<Vector>;
  }
};

template <typename Vector, size_t Rows>
struct MaximumTiles<Vector, Rows, 0> {
  static void fill(MicroKernels&) {}
};

template <typename Vector, bool kOffered>
struct ShiftRows {
  static void fill(MicroKernels& table) { table.shift_rows = shift_rows<Vector>; }
};

template <typename Vector>
struct ShiftRows<Vector, false> {
  static void fill(MicroKernels&) {}
};

template <typename Vector, size_t Rows, size_t Vectors>
MicroKernels make_micro_kernels(const char* name) {
  static_assert(Vectors <= kLargestTileVectors, "the table has no room for so wide a tile");
  MicroKernels table = {};
  table.name = name;
  table.lanes = Vector::kLanes;
  table.tile_rows = Rows;
  table.tile_vectors = Vectors;
  TileKernels<Vector, Rows, Vectors>::fill(table);
  MaximumTiles<Vector, Rows, Vector::kMaximumTiles ? Vectors : 0>::fill(table);
  ShiftRows<Vector, Vector::kShiftRows>::fill(table);
  table.shift_depthwise = depthwise_rows<Vector, ShiftTerm<Vector>>;
  table.adder_depthwise = depthwise_rows<Vector, AdderTerm<Vector>>;
  table.copy_rows = copy_rows<Vector>;
  table.copy_taps = copy_taps<Vector>;
  return table;
}

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_MICRO_KERNELS_IMPL_H_
