// A node's attributes as TensorRT's parsers hand them over.
#ifndef SHIFTADD_TENSORRT_FIELDS_H_
#define SHIFTADD_TENSORRT_FIELDS_H_

#include <string>

#include "shiftadd/convolution.h"
#include "tensorrt_api.h"

namespace shiftadd {
namespace tensorrt {

// The names and types of the attributes that a creator asks the parser for.
const nvinfer1::PluginFieldCollection* field_names(OperatorKind kind);

// The field of this name. Throws ContractError where there is none, or more than one, or the
// collection is none.
const nvinfer1::PluginField& find_field(const std::string& node,
                                        const nvinfer1::PluginFieldCollection* collection,
                                        const char* name);

// Validated attributes; fields beyond the contract's are not looked at. `node` is the label for
// refusals. Throws ContractError.
ConvAttributes read_fields(OperatorKind kind, const std::string& node,
                           const nvinfer1::PluginFieldCollection* collection);

}  // namespace tensorrt
}  // namespace shiftadd

#endif  // SHIFTADD_TENSORRT_FIELDS_H_
