// The table of micro-kernels of one vector type: each instruction set's source file makes its own.
// Vector types live in unnamed namespaces, so that no instantiation is shared between files that
// are compiled for different processors.
//
// A Vector type offers
//   Register, kLanes;
//   load(p), store(p, v): unaligned; broadcast(x);
//   load_front(p, count), store_front(p, v, count): these touch the first count < kLanes floats
//   only; keep_order(v): v is computed before this and not later; empty where the compiler needs no
//   telling; even(low, high): low[0], low[2], .., high[1], high[3], ..: one vector of every second
//   float of
//     2 kLanes - 1 floats, of which `low` has the first kLanes and `high` the last;
//   multiply_add(a, b, c): a*b + c; add_distance(x, w, sum): sum + |x - w|;
//   at_least(v, bound), at_most(v, bound): both keep a v that is NaN;
//   kShiftRows, and where it is true decode(bytes): the weights of the first kLanes codes of 4
//   bits,
//     of which no byte more is read;
//   kMaximumTiles, and where it is true max(a, b) and min(a, b), both b where one is NaN, and
//     all_at_least_zero(v).
#ifndef SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TABLE_H_
#define SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TABLE_H_

#include <cstddef>

#include "float/micro_kernels.h"
#include "float/micro_kernels/copy.h"
#include "float/micro_kernels/depthwise.h"
#include "float/micro_kernels/shift_rows.h"
#include "float/micro_kernels/tile.h"

namespace shiftadd {
namespace cpu {

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

#endif  // SHIFTADD_KERNELS_CPU_FLOAT_MICRO_KERNELS_TABLE_H_
