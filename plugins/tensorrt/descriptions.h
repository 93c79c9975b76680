// The tensors of one convolution from TensorRT's arrays of inputs and outputs.
#ifndef SHIFTADD_TENSORRT_DESCRIPTIONS_H_
#define SHIFTADD_TENSORRT_DESCRIPTIONS_H_

#include "conv_core.h"
#include "tensorrt_api.h"

namespace shiftadd {
namespace tensorrt {

inline const nvinfer1::PluginTensorDesc& plain(const nvinfer1::PluginTensorDesc& description) {
  return description;
}

inline const nvinfer1::PluginTensorDesc& plain(
    const nvinfer1::DynamicPluginTensorDesc& description) {
  return description.desc;
}

// Both arrays are of full length.
template <typename Description>
Descriptions gather(const Description* in, const Description* out) {
  return {{plain(in[kInputX]), plain(in[kInputW]), plain(in[kInputScale]), plain(in[kInputBias]),
           plain(out[0])}};
}

// The dimensions that `dims` picks of each input.
template <typename Description, typename Pick>
InputDims gather_dims(const Description* in, const Pick& dims) {
  return {{dims(in[kInputX]), dims(in[kInputW]), dims(in[kInputScale]), dims(in[kInputBias])}};
}

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // SHIFTADD_TENSORRT_DESCRIPTIONS_H_
