// im2col of one panel: a few pixels by a block of the sum's terms, never the whole matrix.
#ifndef SHIFTADD_KERNELS_CPU_PANEL_PACKER_H_
#define SHIFTADD_KERNELS_CPU_PANEL_PACKER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "micro_kernels.h"
#include "shiftadd/contract.h"

namespace shiftadd {
namespace cpu {

class PanelPacker {
 public:
  PanelPacker(const ConvGeometry& geometry, CopyKernel copy_rows)
      : geometry_(geometry), copy_rows_(copy_rows) {}

  // Sets the panel to output pixels [first, first + columns) of one image, in rows of `stride`
  // floats; the columns above are 0.
  void set_pixels(int64_t first, size_t columns, size_t stride);

  // Writes the terms [begin, end), in the order (c, kh, kw), of the panel to [end - begin, stride].
  // `x` is the group's first channel of [group_channels, H, W].
  void pack(const float* x, int64_t begin, int64_t end, float* panel) const;

 private:
  // Part of a panel's row: `length` floats of input from `source` on, or zeros.
  struct Run {
    size_t column;
    size_t length;
    int64_t source;  // offset in the channel's plane; kZeros: padding
  };
  static constexpr int64_t kZeros = -1;

  void add_tap(int64_t first, size_t columns, int64_t kernel_row, int64_t kernel_column);
  void add_zeros(size_t column, size_t length);
  void pack_run(const Run& run, const float* x, int64_t channel_begin, int64_t channel_end,
                float* rows) const;

  const ConvGeometry& geometry_;
  const CopyKernel copy_rows_;
  size_t stride_ = 0;
  std::vector<Run> runs_;
  std::vector<size_t> tap_ends_;  // end of each tap's runs in runs_
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_PANEL_PACKER_H_
