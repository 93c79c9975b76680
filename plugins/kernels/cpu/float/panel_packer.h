// The pixels that a register tile reads: in place, from padded patches of the image, or from an
// im2col of a few pixels by one block of terms. The whole im2col matrix is never built.
#ifndef SHIFTADD_KERNELS_CPU_PANEL_PACKER_H_
#define SHIFTADD_KERNELS_CPU_PANEL_PACKER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/aligned_buffer.h"
#include "float/micro_kernels.h"
#include "shiftadd/convolution.h"

namespace shiftadd {
namespace cpu {

class PanelPacker {
 public:
  // The most terms that a panel may have.
  static constexpr int64_t kMostTerms = 256;

  // `terms` are the most that a panel has, `once` says that it is used so seldom that pixels are
  // better read in place. Throws std::bad_alloc.
  PanelPacker(const ConvGeometry& geometry, const MicroKernels& kernels, int64_t terms, bool once);

  // Sets the panel to output pixels [first, first + columns) of one image.
  void set_pixels(int64_t first, size_t columns);

  // The terms [begin, end), in the order (c, kh, kw), of these pixels; whole channels, where one
  // has no more than kMostTerms taps. `x` is the group's first channel of [group_channels, H, W].
  // The memory behind the columns is readable up to a whole vector; its values do not matter.
  PanelView pack(const float* x, int64_t begin, int64_t end);

 private:
  enum class Way { kInPlace, kPatches, kCopiedPatches, kRuns };

  // Part of a panel's row: `length` floats of input from `source` on, or zeros.
  struct Run {
    size_t column;
    size_t length;
    int64_t source;  // offset in the channel's plane; kZeros: padding
  };
  static constexpr int64_t kZeros = -1;

  bool reads_patches() const;
  Way choose_way() const;
  void set_rows(size_t step);
  void set_patch(int64_t channels);
  size_t patch_offset(int64_t pixel) const;
  void set_segments();
  void set_vectors();
  void copy_patch(const float* x, int64_t channel, float* patch) const;
  void pack_patches(const float* x, int64_t begin, int64_t end);
  void pack_copied_patches(const float* x, int64_t begin, int64_t end);

  void set_runs();
  void add_tap(int64_t kernel_row, int64_t kernel_column);
  void add_zeros(size_t column, size_t length);
  void pack_runs(const float* x, int64_t begin, int64_t end);
  void pack_run(const Run& run, const float* x, int64_t channel_begin, int64_t channel_end,
                float* rows) const;

  const ConvGeometry& geometry_;
  const MicroKernels& kernels_;
  const size_t terms_, taps_;
  const bool once_;
  Way way_ = Way::kRuns;
  int64_t first_ = 0;
  size_t columns_ = 0, stride_ = 0;  // of the panel: pixels, and those with the last vector's rest
  PanelView view_ = {};
  std::vector<ptrdiff_t> rows_;
  AlignedBuffer panel_;  // [terms, stride]

  // The padded rows that the pixels' taps read: of one channel after the other, or of all at once.
  size_t patch_width_, patch_floats_ = 0;
  std::vector<float> patches_;
  std::vector<size_t> tap_offsets_;
  std::vector<PanelSegment> segments_;
  // The part of a patch that lies in the image.
  size_t inside_ = 0, inside_rows_ = 0, inside_columns_ = 0;
  int64_t inside_source_ = 0;  // offset in the channel's plane

  // The pieces of each tap's row.
  std::vector<Run> runs_;
  std::vector<size_t> tap_ends_;  // end of each tap's runs in runs_
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_PANEL_PACKER_H_
