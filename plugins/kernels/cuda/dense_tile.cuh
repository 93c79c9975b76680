// What the two dense kernels share: a convolution as a product of matrices, W [rows, terms] by the
// patches of X [terms, positions], cut into tiles of which a block computes one.
//
// A block has 8 x 8 threads, each of which sums kRows x 8 outputs: 8 * kRows rows of W, 64
// positions. Terms come in slices through two buffers in shared memory, of which one is filled with
// the next slice while the other is summed. Thread t loads the slice's terms of position t and of
// row t.
#ifndef SHIFTADD_KERNELS_CUDA_DENSE_TILE_CUH_
#define SHIFTADD_KERNELS_CUDA_DENSE_TILE_CUH_

#include "arithmetic.cuh"
#include "shape.cuh"

namespace shiftadd {
namespace cuda {

constexpr int kDenseThreads = 64;
constexpr int kDensePositions = 64;  // of a tile
constexpr int kCombineThreads = 128;

// How many rows of W a tile has.
__host__ __device__ constexpr int dense_rows(int thread_rows) { return 8 * thread_rows; }

// Which terms a block sums: with more than one split the sums are partial ones.
struct Splits {
  int count;
  int terms;  // of each but the last; a multiple of every kernel's slice
};

struct TileIndex {
  int group, row, position;  // row within the group
  int first_term, end_term;
  int split;

  // The tile of a block; positions vary fastest, so that neighbours share rows of W.
  __device__ TileIndex(const Shape& s, const Splits& splits, int tile_rows) {
    const int position_tiles = (s.positions - 1) / kDensePositions + 1;
    const int row_tiles = (s.group_rows - 1) / tile_rows + 1;
    int block = blockIdx.x;
    position = block % position_tiles * kDensePositions;
    block /= position_tiles;
    row = block % row_tiles * tile_rows;
    block /= row_tiles;
    group = block % s.groups;
    split = block / s.groups;
    first_term = split * splits.terms;
    end_term = split + 1 == splits.count ? s.terms : first_term + splits.terms;
  }
};

// A thread's kCount rows or positions lie in runs of kRun, 8 * kRun apart: eight threads read
// neighbouring runs of shared memory.
template <int kCount>
struct Runs {
  static constexpr int kRun = kCount < 4 ? kCount : 4;

  static __device__ int at(int thread, int i) {
    return i / kRun * 8 * kRun + thread * kRun + i % kRun;
  }
};

// Copies a thread's values out of a line of shared memory: runs of kRun, 8 * kRun apart.
template <typename T, int kRun, int kCount>
__device__ inline void read_runs(const Vector<T, kRun>* line, int thread, T (&values)[kCount]) {
#pragma unroll
  for (int run = 0; run < kCount / kRun; ++run) {
    const Vector<T, kRun> vector = line[run * 8 + thread];
#pragma unroll
    for (int i = 0; i < kRun; ++i) values[run * kRun + i] = vector.values[i];
  }
}

// The 32-bit words of one row of W that hold a slice of kTerms terms. Words behind the row's end
// are 0, and so are all words of a row that is beyond the group's last.
template <typename Operation, int kTerms>
class SliceWords {
 public:
  __device__ void load(const Shape& s, const unsigned* row, int first_term) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const int word = first_term / Operation::kWordTerms + i;
      words_[i] = row != nullptr && word < s.row_words ? row[word] : 0u;
    }
  }
  __device__ unsigned word(int i) const { return words_[i]; }
  __device__ float weight(int term) const {
    return Operation::weight(words_[term / Operation::kWordTerms], term % Operation::kWordTerms);
  }

 private:
  static constexpr int kWords = kTerms / Operation::kWordTerms;
  unsigned words_[kWords];
};

// The row of W whose words thread t loads, or null.
__device__ inline const unsigned* weight_row(const Shape& s, const TileIndex& tile, int thread,
                                             int tile_rows, const unsigned* w) {
  const int row = tile.row + thread;
  if (thread >= tile_rows || row >= s.group_rows) return nullptr;
  return w + static_cast<unsigned>(tile.group * s.group_rows + row) * s.row_words;
}

// Writes a thread's sums: outputs, or with `partial` [splits, M, positions] what combine_splits
// adds. Positions are divided, and a row's scale and bias read, once.
template <typename Operation, typename Element, int kRows>
__device__ void write_sums(const Shape& s, const TileIndex& tile, const Splits& splits,
                           const float (&sums)[kRows][8], const Epilogue& epilogue, float* partial,
                           Element* y) {
  const int across = threadIdx.x % 8, down = threadIdx.x / 8;
  const bool parts = splits.count > 1;
  const unsigned plane = s.out_height * s.out_width;
  const unsigned channel_step = parts ? s.positions : plane;
  float* const lines = partial + static_cast<size_t>(tile.split) * s.out_channels * s.positions;
  unsigned first[8];  // index of the position in channel 0
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const unsigned position = tile.position + Runs<8>::at(across, j);
    const unsigned image = position / plane;
    first[j] = parts ? position : image * s.out_channels * plane + (position - image * plane);
  }
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int row = tile.row + Runs<kRows>::at(down, i);
    if (row >= s.group_rows) continue;
    const unsigned channel = tile.group * s.group_rows + row;
    const float scale = epilogue.scale[channel], bias = epilogue.bias[channel];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      if (tile.position + Runs<8>::at(across, j) >= s.positions) continue;
      const unsigned index = channel * channel_step + first[j];
      if (parts) {
        lines[index] = sums[i][j];
      } else {
        const float sum = Operation::finish(sums[i][j]);
        store(y + index, activate(fmaf(sum, scale, bias), epilogue.activation));
      }
    }
  }
}

// Adds the partial sums of a dense kernel's splits, always in the same order: one thread an output.
template <typename Operation, typename Element>
__global__ void __launch_bounds__(kCombineThreads)
    combine_splits(Shape s, int splits, const float* __restrict__ partial, Epilogue epilogue,
                   Element* __restrict__ y) {
  const unsigned outputs = static_cast<unsigned>(s.out_channels) * s.positions;
  const unsigned output = blockIdx.x * kCombineThreads + threadIdx.x;
  if (output >= outputs) return;
  float sum = 0.0f;
  for (int split = 0; split < splits; ++split) {
    sum += partial[static_cast<size_t>(split) * outputs + output];
  }
  const int channel = output / s.positions;
  store(y + output_index(s, channel, output % s.positions),
        apply(epilogue, channel, Operation::finish(sum)));
}

}  // namespace cuda
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CUDA_DENSE_TILE_CUH_
