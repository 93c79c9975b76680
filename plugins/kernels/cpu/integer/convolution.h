// QLinearShiftConv and QLinearAdderConv: uint8 in and out, channels-last inside.
#ifndef SHIFTADD_KERNELS_CPU_INTEGER_CONVOLUTION_H_
#define SHIFTADD_KERNELS_CPU_INTEGER_CONVOLUTION_H_

#include <cstdint>
#include <vector>

#include "common/parallel.h"
#include "integer/micro_kernels.h"
#include "shiftadd/convolution.h"

namespace shiftadd {
namespace cpu {

struct IntegerConvTensors {
  const uint8_t* x;    // [N, C, H, W] or [N, H, W, C]
  const float* scale;  // [M]
  const float* bias;   // [M]
  uint8_t* y;          // [N, M, OH, OW] or [N, OH, OW, M]
};

// It does not change after construction, so any number of threads may run it at once.
class IntegerConvolution {
 public:
  // `weights` is [M, C/group, kH, kW]: of the adder the codes, of the shift int8, 64 * dec(w). Of
  // `geometry` only channels, group, kernel and dilation count. Throws std::bad_alloc.
  IntegerConvolution(OperatorKind kind, const IntegerKernels& kernels, const ConvGeometry& geometry,
                     const uint8_t* weights);

  // `geometry` agrees with that in the above. Throws std::bad_alloc.
  void run(const ConvGeometry& geometry, const IntegerConvTensors& tensors,
           const Quantization& quantization, Activation activation, Layout layout,
           ParallelRunner& runner) const;

  // The data of one run; its pixels lie channels-last.
  struct Call {
    const ConvGeometry& geometry;
    const uint8_t* x;
    uint8_t* y;
    uint8_t x_zero_point;
    std::vector<int32_t> start;     // [M]
    std::vector<float> multiplier;  // [M]
    const float* bias;
    Requantization requantization;
  };

 private:
  void pack_panels(const ConvGeometry& geometry, const uint8_t* weights);
  void pack_depthwise(const ConvGeometry& geometry, const uint8_t* weights);
  void pack_depthwise_words(const ConvGeometry& geometry, const uint8_t* weights);
  void pack_depthwise_fours(const ConvGeometry& geometry, const uint8_t* weights);
  void pack_depthwise_bytes(const ConvGeometry& geometry, const uint8_t* weights);
  DepthwiseWeights depthwise_form() const;
  int64_t depthwise_row(const ConvGeometry& geometry) const;
  int32_t x_offset() const;
  void run_channels_last(const Call& call, ParallelRunner& runner) const;
  void run_tiles(const Call& call, ParallelRunner& runner) const;
  void run_depthwise(const Call& call, ParallelRunner& runner) const;
  const IntegerTile& tile() const {
    return is_shift(kind_) ? kernels_.shift_tile : kernels_.adder_tile;
  }

  OperatorKind kind_;
  const IntegerKernels& kernels_;
  bool depthwise_;
  std::vector<uint8_t> panels_;             // [group, panels, steps, tile channels, depth]
  std::vector<int16_t> depthwise_weights_;  // as IntegerDepthwiseArguments has them
  std::vector<int32_t> weight_sums_;        // [M] of the shift; 0 of the adder
};

}  // namespace cpu
}  // namespace shiftadd

#endif  // SHIFTADD_KERNELS_CPU_INTEGER_CONVOLUTION_H_
