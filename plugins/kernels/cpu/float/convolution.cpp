// The choice between the algorithms: register tiles over packed panels, depthwise rows, and the
// rows of a single position.
#include "float/convolution.h"

#include <cstring>

namespace shiftadd {
namespace cpu {
namespace {

// Depthwise rows copy the whole dilated window, holes and all, so it has to be of a sane size; and
// they add up all of its terms in sequence, so these have to be few for float32's rounding.
constexpr int64_t kLargestWindow = 1024;
constexpr int64_t kMostTerms = 1024;

// With one input channel a group and few outputs a tile would be nearly empty.
bool is_depthwise(const ConvGeometry& g, size_t tile_rows) {
  return g.group_channels == 1 && static_cast<size_t>(g.group_out_channels) < tile_rows &&
         g.terms <= kMostTerms && g.dilation_height * (g.kernel_height - 1) < kLargestWindow &&
         g.dilation_width * (g.kernel_width - 1) < kLargestWindow;
}

}  // namespace

Convolution::Convolution(OperatorKind kind, const MicroKernels& kernels,
                         const ConvGeometry& geometry, const float* weights)
    : kind_(kind), kernels_(kernels), depthwise_(is_depthwise(geometry, kernels.tile_rows)) {
  if (depthwise_) {
    const size_t count = static_cast<size_t>(geometry.out_channels * geometry.terms);
    weights_ = AlignedBuffer(count);
    std::memcpy(weights_.data(), weights, count * sizeof(float));
  } else {
    pack_panels(geometry, weights);
    if (is_shift(kind) && kernels.shift_rows != nullptr) pack_codes(geometry, weights);
  }
}

void Convolution::run(const ConvGeometry& geometry, const ConvTensors& tensors,
                      Activation activation, ParallelRunner& runner) const {
  if (geometry.batch == 0) return;
  if (is_dot_product(geometry)) {
    run_position(geometry, tensors, activation, runner);
  } else if (depthwise_) {
    run_depthwise(geometry, tensors, activation, runner);
  } else {
    run_tiles(geometry, tensors, activation, runner);
  }
}

}  // namespace cpu
}  // namespace shiftadd
