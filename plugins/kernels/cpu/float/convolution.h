// ShiftConv and AdderConv in float32, NCHW: weights are packed once, then run on any batch and
// size.
#ifndef SHIFTADD_KERNELS_CPU_CONVOLUTION_H_
#define SHIFTADD_KERNELS_CPU_CONVOLUTION_H_

#include <cstdint>
#include <vector>

#include "common/aligned_buffer.h"
#include "common/parallel.h"
#include "float/micro_kernels.h"
#include "shiftadd/convolution.h"

namespace shiftadd {
namespace cpu {

struct ConvTensors {
  const float* x;      // [N, C, H, W]
  const float* scale;  // [M]
  const float* bias;   // [M]
  float* y;            // [N, M, OH, OW]
};

// It does not change after construction, so any number of threads may run it at once.
class Convolution {
 public:
  // `weights` is [M, C/group, kH, kW], decoded. Of `geometry` only channels, group, kernel and
  // dilation count. Throws std::bad_alloc.
  Convolution(OperatorKind kind, const MicroKernels& kernels, const ConvGeometry& geometry,
              const float* weights);

  // Y = activation(scale * sum + bias); `geometry` agrees with that in the above.
  // Throws std::bad_alloc.
  void run(const ConvGeometry& geometry, const ConvTensors& tensors, Activation activation,
           ParallelRunner& runner) const;

 private:
  void pack_panels(const ConvGeometry& geometry, const float* weights);
  void sum_weights(const ConvGeometry& geometry);
  void run_tiles(const ConvGeometry& geometry, const ConvTensors& tensors, Activation activation,
                 ParallelRunner& runner) const;
  void pack_codes(const ConvGeometry& geometry, const float* weights);
  bool is_dot_product(const ConvGeometry& geometry) const;
  void run_position(const ConvGeometry& geometry, const ConvTensors& tensors, Activation activation,
                    ParallelRunner& runner) const;
  void run_depthwise(const ConvGeometry& geometry, const ConvTensors& tensors,
                     Activation activation, ParallelRunner& runner) const;

  OperatorKind kind_;
  const MicroKernels& kernels_;
  bool depthwise_;
  // Depthwise: [M, kH*kW]. Otherwise [group, blocks of depth, panels, terms of the block,
  // tile_rows], rows filled up with 0.
  AlignedBuffer weights_;
  // The sums and limits of the packed weights, if the kernels have maximum_tiles: [group, blocks of
  // depth, panels, 2, tile_rows].
  AlignedBuffer weight_sums_;
  // The codes of a shift that is not depthwise: [M, terms filled up to kShiftRowTerms / 8]. It is
  // empty where a weight needs more than 4 bits.
  std::vector<uint32_t> codes_;
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_CONVOLUTION_H_
