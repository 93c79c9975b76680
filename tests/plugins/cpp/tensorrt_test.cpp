// Plays TensorRT against the plugins, compiled with its headers and with host-built kernels: what
// it asks of creators and plugins, in the orders it uses, and what a broken model, engine file or
// device may bring. Run by tests/plugins/test_tensorrt.py; prints one line for each failure and
// exits 1 if there was any.
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "convolution.h"
#include "convolution_case.h"
#include "cuda_fp16.h"
#include "cuda_runtime_api.h"
#include "support.h"
#include "tensorrt_fields.h"
#include "tensorrt_library.h"
#include "tensorrt_plugins.h"

// The address sanitizer's, of which GCC brings no header.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*,
                                                                           size_t),
                                                         void (*released)(const volatile void*));

namespace {

using namespace shiftadd;
using namespace tensorrt_test;
using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorFormat;
using Severity = nvinfer1::ILogger::Severity;
using Shape = std::vector<int64_t>;
using test::ConvolutionCase;
using test::draw;
using test::expect;

constexpr test::Sizes kSizes = {9, 12, 21, 40, 70, 40, 8, 4, 20};
// The node's name, which every refusal says.
const char* const kNode = "layer7";

struct Operator {
  OperatorKind kind;
  std::shared_ptr<Factory> factory;

  std::string text() const {
    return std::string(operator_name(kind)) + " as " + factory->interface();
  }
};

ConvAttributes attributes_3x3(OperatorKind kind) {
  ConvAttributes a = test::same_attributes(3);
  a.activation = Activation::kRelu6;
  a.weight_bits = is_shift(kind) ? 4 : 0;
  return a;
}

Dims make_dims(const Shape& shape) {
  Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = static_cast<int32_t>(shape[i]);
  return dims;
}

Shape weight_shape(OperatorKind kind, const ConvAttributes& a, const ConvGeometry& g) {
  if (is_shift(kind)) return {g.out_channels, packed_columns(g.terms, a.weight_bits)};
  return {g.out_channels, g.group_channels, g.kernel_height, g.kernel_width};
}

Tensors make_tensors(OperatorKind kind, const ConvAttributes& a, const ConvGeometry& g,
                     DataType type) {
  const Shape shapes[5] = {{g.batch, g.channels, g.height, g.width},
                           weight_shape(kind, a, g),
                           {g.out_channels},
                           {g.out_channels},
                           {g.batch, g.out_channels, g.out_height, g.out_width}};
  Tensors tensors{};
  for (size_t i = 0; i < tensors.size(); ++i) {
    nvinfer1::DynamicPluginTensorDesc& tensor = tensors[i];
    tensor.desc.dims = tensor.min = tensor.max = make_dims(shapes[i]);
    tensor.desc.format = TensorFormat::kLINEAR;
    tensor.desc.type = i == 0 || i == 4           ? type
                       : i == 1 && is_shift(kind) ? DataType::kINT32
                                                  : DataType::kFLOAT;
  }
  return tensors;
}

// Runs `ask`, which must leave at least one line of this severity with all parts in the log.
void expect_logged(const std::string& what, const std::vector<std::string>& parts,
                   const std::function<void()>& ask, Severity severity = Severity::kERROR) {
  library().logger.lines.clear();
  ask();
  std::string all;
  for (const auto& line : library().logger.lines) all += " | " + line.second;
  expect(library().logger.count(severity, parts) > 0,
         what + ": not in the log: " + (parts.empty() ? "anything" : parts.back()) + all);
}

void expect_silence(const std::string& what, const std::function<void()>& ask) {
  library().logger.lines.clear();
  ask();
  expect(library().logger.lines.empty(), what + ": something in the log");
}

// ---- registration

void expect_registered(const std::string& what, size_t count) {
  const auto& entries = library().registry.entries;
  expect(entries.size() == count, what + ": " + detail::text(entries.size()) + " creators");
  for (size_t i = 0; i < entries.size(); ++i) {
    expect(entries[i].name == (i == 0 ? "ShiftConv" : "AdderConv") && entries[i].version == "1" &&
               entries[i].plugin_namespace.empty(),
           what + ": creator " + entries[i].name);
  }
}

// As loadLibrary does after it has opened the library, by which the creators have entered: it fails
// where one of the name is there.
void test_registration() {
  expect_registered("after dlopen", 2);
  int32_t count = 0;
#if NV_TENSORRT_MAJOR >= 10
  Creator* const* creators = getCreators(count);
#else
  Creator* const* creators = getPluginCreators(count);
#endif
  expect(count == 2, "a list of " + detail::text(count) + " creators");
  for (int32_t i = 0; i < count; ++i) {
    expect(library().registry.registerCreator(*creators[i], ""), "loadLibrary: taken already");
  }
  expect_registered("after loadLibrary", 2);
}

void test_creators(const Operator& op) {
  const Factory& factory = *op.factory;
  expect(factory.name() == operator_name(op.kind) && factory.version() == "1" &&
             factory.plugin_namespace().empty(),
         op.text() + ": name, version and namespace");
  const nvinfer1::PluginFieldCollection* names = factory.field_names();
  Fields expected(op.kind, attributes_3x3(op.kind));
  expect(names->nbFields == expected.collection()->nbFields, op.text() + ": number of fields");
  for (int32_t i = 0; i < names->nbFields; ++i) {
    const nvinfer1::PluginField& field = names->fields[i];
    expect(expected.get(field.name).type == field.type, op.text() + ": field " + field.name);
  }
  expect(names->nbFields == expected.collection()->nbFields, op.text() + ": an unknown name");
}

// ---- attributes

std::unique_ptr<Plugin> create(const Operator& op, const ConvAttributes& a,
                               const char* node = kNode) {
  Fields fields(op.kind, a);
  return op.factory->create(node, fields.collection());
}

void expect_accepted(const Operator& op, const std::string& what,
                     const std::function<void(Fields&)>& change) {
  Fields fields(op.kind, attributes_3x3(op.kind));
  change(fields);
  expect_silence(op.text() + ": " + what, [&] {
    const auto plugin = op.factory->create(kNode, fields.collection());
    expect(plugin != nullptr, op.text() + ": refused: " + what);
    const auto plain = create(op, attributes_3x3(op.kind));
    expect(plugin != nullptr && plugin->serialize() == plain->serialize(),
           op.text() + ": attributes are read wrong: " + what);
  });
}

void test_good_fields(const Operator& op) {
  const std::string nul(1, '\0');
  expect_accepted(op, "as the parser gives them", [](Fields&) {});
  expect_accepted(op, "the NUL counted", [&](Fields& f) { f.text("activation", "relu6" + nul); });
  expect_accepted(op, "a field of no attribute", [](Fields& f) { f.ints("auto_pad", {1, 2}); });
  expect_accepted(op, "a field without a name", [](Fields& f) { f.add("").name = nullptr; });
  expect_accepted(op, "integers at odd addresses", [](Fields& f) {
    const int32_t two[] = {3, 3};
    std::vector<char> bytes(1 + sizeof(two));
    std::memcpy(bytes.data() + 1, two, sizeof(two));
    f.set("kernel_shape", bytes.data(), bytes.size(), PluginFieldType::kINT32, 2);
    nvinfer1::PluginField& field = f.get("kernel_shape");
    field.data = static_cast<const char*>(field.data) + 1;
  });
#if NV_TENSORRT_MAJOR >= 10
  expect_accepted(op, "integers of 64 bits", [](Fields& f) {
    f.ints<int64_t>("pads", {1, 1, 1, 1}, PluginFieldType::kINT64);
    f.ints<int64_t>("group", {1}, PluginFieldType::kINT64);
  });
#endif
  for (int i = 0; i < kActivationCount; ++i) {
    ConvAttributes a = attributes_3x3(op.kind);
    a.activation = static_cast<Activation>(i);
    expect(create(op, a) != nullptr, op.text() + ": activation " + activation_name(a.activation));
  }
  expect(create(op, attributes_3x3(op.kind), nullptr) != nullptr, op.text() + ": no name");
}

void expect_refused(const Operator& op, const std::string& field,
                    const std::vector<std::string>& parts,
                    const std::function<void(Fields&)>& change) {
  std::vector<std::string> expected = {
      "[shiftadd]", operator_name(op.kind), kNode, field, "expected", "got"};
  expected.insert(expected.end(), parts.begin(), parts.end());
  Fields fields(op.kind, attributes_3x3(op.kind));
  change(fields);
  expect_logged(op.text() + ": " + field, expected, [&] {
    expect(op.factory->create(kNode, fields.collection()) == nullptr,
           op.text() + ": accepted: " + field);
  });
}

void test_damaged_field(const Operator& op, const std::string& name) {
  expect_refused(op, name, {"none of that name"}, [&](Fields& f) { f.remove(name); });
  expect_refused(op, name, {"two of that name"}, [&](Fields& f) {
    const nvinfer1::PluginField field = f.get(name);
    f.add(name).data = field.data;
  });
  expect_refused(op, name, {"no data"}, [&](Fields& f) { f.get(name).data = nullptr; });
  for (const int32_t length : {-1, -2147483647, 0, 3, 5}) {
    if (name == "activation" && length >= 0) continue;
    expect_refused(op, name, {detail::text(length) + " entries"},
                   [&](Fields& f) { f.get(name).length = length; });
  }
  for (int32_t type = -1; type <= 14; ++type) {
    const auto field_type = static_cast<PluginFieldType>(type);
    const bool text = field_type == PluginFieldType::kCHAR;
    bool integers = field_type == PluginFieldType::kINT32;
#if NV_TENSORRT_MAJOR >= 10
    integers = integers || field_type == PluginFieldType::kINT64;
#endif
    if (name == "activation" ? text : integers) continue;
    expect_refused(op, name, {"field type " + detail::text(type)},
                   [&](Fields& f) { f.get(name).type = field_type; });
  }
}

void test_bad_values(const Operator& op) {
  const int64_t least = std::numeric_limits<int32_t>::min();
  for (const char* name : {"kernel_shape", "strides", "dilations"}) {
    for (const Shape& bad : {Shape{3, 0}, Shape{-1, 3}, Shape{least, 1}}) {
      expect_refused(op, name, {detail::text(bad)}, [&](Fields& f) { f.ints(name, bad); });
    }
  }
  expect_refused(op, "pads", {"[0, 0, -1, 0]"}, [](Fields& f) { f.ints("pads", {0, 0, -1, 0}); });
  for (const int64_t group : {int64_t{0}, int64_t{-1}, least}) {
    expect_refused(op, "group", {"got " + detail::text(group)},
                   [&](Fields& f) { f.ints("group", {group}); });
  }
#if NV_TENSORRT_MAJOR >= 10
  expect_refused(op, "strides", {"4294967297"}, [](Fields& f) {
    f.ints<int64_t>("strides", {1, (int64_t{1} << 32) + 1}, PluginFieldType::kINT64);
  });
#endif
  const std::string nul(1, '\0');
  for (const std::string& bad : {std::string(), nul, std::string("gelu"), "relu" + nul + nul,
                                 "relu" + nul + "6", std::string("Relu"), std::string("relu ")}) {
    expect_refused(op, "activation", {"hardswish"}, [&](Fields& f) { f.text("activation", bad); });
  }
  if (!is_shift(op.kind)) return;
  for (const int64_t bits : {0, 5, 16, -4}) {
    expect_refused(op, "weight_bits", {"4 or 8", "got " + detail::text(bits)},
                   [&](Fields& f) { f.ints("weight_bits", {bits}); });
  }
}

void test_bad_fields(const Operator& op) {
  Fields names(op.kind, attributes_3x3(op.kind));
  for (int32_t i = 0; i < names.collection()->nbFields; ++i) {
    test_damaged_field(op, names.collection()->fields[i].name);
  }
  test_bad_values(op);
  nvinfer1::PluginFieldCollection none{};
  for (const int32_t count : {0, 7, -1}) {
    none.nbFields = count;
    expect_logged(op.text() + ": no fields", {kNode}, [&] {
      expect(op.factory->create(kNode, &none) == nullptr, op.text() + ": accepted no fields");
    });
  }
  expect_logged(op.text() + ": no collection", {kNode}, [&] {
    expect(op.factory->create(kNode, nullptr) == nullptr, op.text() + ": accepted null");
  });
}

// ---- types and formats

void test_combination(const Operator& op, Plugin& plugin, int32_t position, DataType x_type,
                      DataType type, int32_t format) {
  Tensors tensors =
      make_tensors(op.kind, attributes_3x3(op.kind),
                   resolve_geometry(OperatorKind::kAdderConv, "case", attributes_3x3(op.kind),
                                    {1, 8, 5, 5}, {4, 8, 3, 3}),
                   x_type);
  // What comes behind the position is not set yet.
  for (size_t i = static_cast<size_t>(position) + 1; i < tensors.size(); ++i) {
    std::memset(static_cast<void*>(&tensors[i]), 0xa5, sizeof(tensors[i]));
  }
  tensors[static_cast<size_t>(position)].desc.type = type;
  tensors[static_cast<size_t>(position)].desc.format = static_cast<TensorFormat>(format);
  const bool fits = position == 0 ? type == DataType::kFLOAT || type == DataType::kHALF
                    : position == 1
                        ? type == (is_shift(op.kind) ? DataType::kINT32 : DataType::kFLOAT)
                    : position == 4 ? type == x_type
                                    : type == DataType::kFLOAT;
  expect(plugin.supports(position, tensors, 4, 1) ==
             (fits && static_cast<TensorFormat>(format) == TensorFormat::kLINEAR),
         op.text() + ": tensor " + detail::text(position) + " of type " +
             detail::text(static_cast<int>(type)) + " and format " + detail::text(format));
}

void test_formats(const Operator& op) {
  const auto plugin = create(op, attributes_3x3(op.kind));
  library().logger.lines.clear();
  for (int32_t position = 0; position < 5; ++position) {
    for (const DataType x_type : {DataType::kFLOAT, DataType::kHALF}) {
      for (int32_t type = 0; type <= 11; ++type) {
        for (int32_t format = 0; format <= 12; ++format) {
          test_combination(op, *plugin, position, x_type, static_cast<DataType>(type), format);
        }
      }
    }
  }
  expect(library().logger.count(Severity::kERROR, {}) == 0, op.text() + ": a search is no error");
  expect(library().logger.count(Severity::kVERBOSE, {kNode, "W type", "INT8"}) == 1,
         op.text() + ": a refused type is logged once");
  Tensors tensors{};
  for (const int32_t position : {-1, 5, 2147483647}) {
    expect(!plugin->supports(position, tensors, 4, 1), op.text() + ": a sixth tensor");
  }
  expect(!plugin->supports(0, tensors, 3, 1) && !plugin->supports(0, tensors, 5, 1) &&
             !plugin->supports(0, tensors, 4, 2),
         op.text() + ": another number of tensors");
  expect(plugin->output_type(DataType::kHALF) == DataType::kHALF &&
             plugin->output_type(DataType::kFLOAT) == DataType::kFLOAT,
         op.text() + ": Y has X's type");
  expect(plugin->name() == operator_name(op.kind) && plugin->version() == "1" &&
             plugin->plugin_namespace().empty() && plugin->outputs() == 1,
         op.text() + ": what a plugin says of itself");
}

// ---- shapes

// As dimensions, of which those that `known` has not are symbols, numbered as X's axes.
std::vector<DimsExprs> make_expressions(Builder& builder, const std::vector<Shape>& shapes,
                                        const std::vector<bool>& known) {
  std::vector<DimsExprs> all;
  for (size_t input = 0; input < shapes.size(); ++input) {
    DimsExprs dims{};
    dims.nbDims = static_cast<int32_t>(shapes[input].size());
    for (size_t axis = 0; axis < shapes[input].size(); ++axis) {
      const bool constant = input != 0 || known[axis];
      dims.d[axis] =
          builder.make(constant, constant ? shapes[input][axis] : static_cast<int64_t>(axis));
    }
    all.push_back(dims);
  }
  return all;
}

Shape evaluate(const DimsExprs& dims, const Shape& symbols) {
  Shape shape;
  for (int32_t i = 0; i < dims.nbDims; ++i) {
    shape.push_back(static_cast<const Dimension*>(dims.d[i])->value(symbols));
  }
  return shape;
}

void test_output_dims(const Operator& op, std::mt19937& random) {
  ConvAttributes a;
  const ConvGeometry g = test::draw_geometry(random, kSizes, &a);
  a.weight_bits = is_shift(op.kind) ? 4 * draw(random, 1, 2) : 0;
  const Shape x = {g.batch, g.channels, g.height, g.width};
  const std::vector<Shape> shapes = {
      x, weight_shape(op.kind, a, g), {g.out_channels}, {g.out_channels}};
  const auto plugin = create(op, a);
  for (int known = 0; known < 16; ++known) {
    Builder builder;
    const std::vector<bool> is_known = {(known & 1) != 0, (known & 2) != 0, (known & 4) != 0,
                                        (known & 8) != 0};
    const DimsExprs y = plugin->output_dims(make_expressions(builder, shapes, is_known), builder);
    const std::string what = op.text() + ": " + test::describe(op.kind, g);
    expect(y.nbDims == 4, what + ": refused");
    if (y.nbDims != 4) continue;
    expect(evaluate(y, x) == Shape{g.batch, g.out_channels, g.out_height, g.out_width},
           what + ": dimensions " + detail::text(evaluate(y, x)));
    expect(y.d[1]->isConstant(), what + ": Y's channels are no constant");
    // Another image in the same engine.
    const Shape other = {is_known[0] ? x[0] : x[0] + 2, x[1], is_known[2] ? x[2] : x[2] + 5,
                         is_known[3] ? x[3] : x[3] + 3};
    const ConvGeometry h = resolve_geometry(op.kind, "case", a, other, shapes[1]);
    expect(evaluate(y, other) == Shape{h.batch, h.out_channels, h.out_height, h.out_width},
           what + ": dimensions of another image");
  }
}

void expect_dims_refused(const Operator& op, const std::string& field,
                         const std::function<void(ConvAttributes&, std::vector<Shape>&)>& change,
                         const std::vector<bool>& known = {true, true, true, true}) {
  ConvAttributes a = attributes_3x3(op.kind);
  std::vector<Shape> shapes = {
      {2, 8, 5, 5}, is_shift(op.kind) ? Shape{4, 9} : Shape{4, 8, 3, 3}, {4}, {4}};
  change(a, shapes);
  const auto plugin = create(op, a);
  Builder builder;
  expect_logged(op.text() + ": output dimensions", {"[shiftadd]", kNode, field}, [&] {
    for (int repeated = 0; repeated < 3; ++repeated) {
      expect(plugin->output_dims(make_expressions(builder, shapes, known), builder).nbDims == -1,
             op.text() + ": dimensions that break the contract: " + field);
    }
  });
  expect(library().logger.lines.size() == 1, op.text() + ": logged once: " + field);
}

void test_refused_dims(const Operator& op) {
  using A = ConvAttributes;
  using S = std::vector<Shape>;
  expect_dims_refused(op, "channels of X", [](A&, S& s) { s[0][1] = 0; });
  expect_dims_refused(op, "W shape", [](A&, S& s) { s[0][1] = 16; });
  expect_dims_refused(op, "W shape", [](A&, S& s) { s[1][1] += 1; });
  expect_dims_refused(op, "W shape", [](A&, S& s) { s[1][1] += 1; }, {false, true, false, false});
  expect_dims_refused(op, "X rank", [](A&, S& s) { s[0].pop_back(); });
  expect_dims_refused(op, "X rank", [](A&, S& s) { s[0].clear(); });
  expect_dims_refused(op, "W rank", [](A&, S& s) { s[1].pop_back(); });
  expect_dims_refused(op, "W rank", [](A&, S& s) { s[1].pop_back(); },
                      {false, false, false, false});
  expect_dims_refused(op, "scale shape", [](A&, S& s) { s[2] = {5}; });
  expect_dims_refused(op, "scale shape", [](A&, S& s) { s[2] = {}; });
  expect_dims_refused(op, "bias shape", [](A&, S& s) { s[3] = {4, 1}; });
  expect_dims_refused(op, "X padded height", [](A& a, S&) { a.dilations = {4, 1}; });
  expect_dims_refused(op, "rows of W", [](A&, S& s) { s[1][0] = 0; });
  expect_dims_refused(op, "group", [](A& a, S&) { a.group = 3; });
  expect_dims_refused(op, "sum of pads", [](A& a, S&) { a.pads = {2147483647, 0, 1, 0}; },
                      {true, true, false, true});
  expect_dims_refused(op, "dilated kernel",
                      [](A& a, S&) {
                        a.dilations = {1 << 30, 1};
                        a.pads = {5, 0, 5, 0};
                      },
                      {true, true, false, true});
  expect_dims_refused(op, "inputs", [](A&, S& s) { s.pop_back(); });
  expect_dims_refused(op, "inputs", [](A&, S& s) { s.push_back({4}); });
}

void test_odd_ranks(const Operator& op) {
  const auto plugin = create(op, attributes_3x3(op.kind));
  Builder builder;
  const std::vector<Shape> shapes = {
      {2, 8, 5, 5}, is_shift(op.kind) ? Shape{4, 9} : Shape{4, 8, 3, 3}, {4}, {4}};
  for (const int32_t rank : {-1, 9, 2147483647}) {
    for (size_t input = 0; input < 4; ++input) {
      auto dims = make_expressions(builder, shapes, {true, true, true, true});
      dims[input].nbDims = rank;
      expect(plugin->output_dims(dims, builder).nbDims == -1,
             op.text() + ": rank " + detail::text(rank));
    }
  }
  builder.failing = true;
  expect_logged(op.text() + ": a builder that fails", {"dimension expression"}, [&] {
    expect(plugin->output_dims(make_expressions(builder, shapes, {true, true, true, true}), builder)
                   .nbDims == -1,
           op.text() + ": a builder that fails");
  });
}

// ---- memory

// The tensors with every one of X's and Y's extents but the channels unknown until later.
Tensors as_dynamic(Tensors tensors) {
  for (const size_t i : {0, 4}) {
    for (const int axis : {0, 2, 3}) tensors[i].desc.dims.d[axis] = -1;
  }
  return tensors;
}

void test_workspace(const Operator& op, std::mt19937& random) {
  ConvAttributes a = test::same_attributes(1);
  a.weight_bits = is_shift(op.kind) ? 4 : 0;
  const int64_t channels = draw(random, 1, 3000), rows = draw(random, 1, 70);
  const Shape large = {draw(random, 1, 4), channels, draw(random, 1, 20), draw(random, 1, 20)};
  const Shape small = {draw(random, 1, large[0]), channels, draw(random, 1, large[2]),
                       draw(random, 1, large[3])};
  cuda_host::device().multiprocessors = static_cast<int>(draw(random, 1, 130));
  const auto plugin = create(op, a);
  const auto bytes = [&](const Shape& x, const Shape& image, DataType type) {
    const auto geometry = [&](const Shape& shape) {
      return resolve_geometry(OperatorKind::kAdderConv, "case", a, shape, {rows, channels, 1, 1});
    };
    Tensors tensors = as_dynamic(make_tensors(op.kind, a, geometry(x), type));
    plugin->configure(tensors);
    const ConvGeometry g = geometry(image);
    const cuda::Problem problem = {
        op.kind, a.activation,
        type == DataType::kHALF ? cuda::DataType::kHalf : cuda::DataType::kFloat, a.weight_bits, g};
    const size_t needed = cuda::workspace_bytes(problem, cuda_host::device().multiprocessors);
    const size_t given = plugin->workspace(tensors);
    expect(given >= needed && given < (size_t{1} << 40), op.text() + ": workspace");
    return given;
  };
  for (const DataType type : {DataType::kFLOAT, DataType::kHALF}) {
    expect(bytes(small, small, type) <= bytes(large, small, type),
           op.text() + ": workspace of a smaller problem");
  }
  Tensors wrong = make_tensors(
      op.kind, a,
      resolve_geometry(OperatorKind::kAdderConv, "case", a, large, {rows, channels, 1, 1}),
      DataType::kFLOAT);
  wrong[3].max.d[0] += 1;
  expect_logged(op.text() + ": workspace of wrong shapes", {kNode, "bias shape"}, [&] {
    expect(plugin->workspace(wrong) > (size_t{1} << 60), op.text() + ": an answer that builds");
  });
}

// ---- runs

// Device memory of one run. Outputs begin as NaN, and the workspace too.
template <typename Element>
struct Run {
  Run(const ConvolutionCase& c, const std::vector<Element>& x_values, Element poison,
      size_t workspace_bytes)
      : count(static_cast<size_t>(c.geometry.batch * c.geometry.out_channels *
                                  c.geometry.out_height * c.geometry.out_width)),
        x(x_values),
        y(std::vector<Element>(count, poison)),
        w(c.words),
        scale(c.scale),
        bias(c.bias),
        workspace(std::vector<float>(workspace_bytes / sizeof(float), std::nanf(""))) {}

  Buffers buffers() const {
    return {{{x.data(), w.data(), scale.data(), bias.data()}}, {{y.data()}}, workspace.data()};
  }

  size_t count;
  test::Guarded<Element> x, y;
  test::Guarded<int32_t> w;
  test::Guarded<float> scale, bias, workspace;
};

float as_float(float value) { return value; }
float as_float(__half value) { return __half2float(value); }

template <typename Element>
void test_run(const Operator& op, Plugin& plugin, const ConvolutionCase& c,
              const std::vector<Element>& x, const Tensors& tensors, size_t workspace,
              double tolerance) {
  const Run<Element> run(c, x, Element(std::nanf("")), workspace);
  const int32_t answer = plugin.enqueue(plain(tensors), run.buffers());
  expect(answer == 0, op.text() + ": enqueue answers " + detail::text(answer));
  std::vector<float> y;
  for (size_t i = 0; i < run.count; ++i) y.push_back(as_float(run.y.data()[i]));
  const double error = c.error(y);
  expect(error <= tolerance, op.text() + ": " + c.text() + ": error " + detail::text(error));
}

// What an engine's life brings: built on one device, with dynamic shapes or not, and run from a
// file on one that may have another number of multiprocessors.
struct Life {
  bool dynamic, clone_often, announced;
  int built_on, run_on;
};

Life draw_life(std::mt19937& random) {
  const auto coin = [&] { return draw(random, 0, 1) == 1; };
  const int built_on = static_cast<int>(draw(random, 1, 8));
  return {coin(), coin(), coin(), built_on,
          coin() ? built_on : static_cast<int>(draw(random, 1, 8))};
}

// A case as an engine is given it.
template <typename Element>
struct Image {
  ConvolutionCase c;
  std::vector<Element> x;
  Tensors tensors;
};

Image<float> make_image(const ConvolutionCase& c, float) {
  return {c, c.x, make_tensors(c.kind, c.attributes, c.geometry, DataType::kFLOAT)};
}

// With values that a half can hold.
Image<__half> make_image(ConvolutionCase c, __half) {
  std::vector<__half> x;
  for (float& value : c.x) {
    x.push_back(__float2half_rn(value));
    value = __half2float(x.back());
  }
  return {c, x, make_tensors(c.kind, c.attributes, c.geometry, DataType::kHALF)};
}

// Y of the engine's largest image and, where shapes are dynamic, of a smaller one, in turns and
// with the workspace that was asked for.
template <typename Element>
void test_contexts(const Operator& op, Plugin& engine, const std::vector<Image<Element>>& images,
                   size_t workspace, double tolerance, bool announced) {
  const auto first = engine.attach(), second = engine.attach();
  for (Plugin* context : {first.get(), second.get(), first.get()}) {
    for (const Image<Element>& image : images) {
      if (announced) context->change_shapes(image.tensors);
      test_run(op, *context, image.c, image.x, image.tensors, workspace, tolerance);
    }
  }
}

template <typename Element>
void test_life(const Operator& op, const std::vector<Image<Element>>& images, double tolerance,
               const Life& life) {
  const Image<Element>& largest = images[0];
  cuda_host::device().multiprocessors = life.built_on;
  auto plugin = create(op, largest.c.attributes);
  if (life.clone_often) plugin = plugin->clone();
  plugin->configure(life.dynamic ? as_dynamic(largest.tensors) : largest.tensors);
  if (life.clone_often) plugin = plugin->clone();
  const size_t workspace = plugin->workspace(largest.tensors);
  const Blob blob = plugin->serialize();
  // The builder runs it as well, to time it.
  test_contexts(op, *plugin, images, workspace, tolerance, true);
  plugin.reset();
  cuda_host::device().multiprocessors = life.run_on;
  const auto engine = op.factory->deserialize(kNode, Bytes(blob.data(), blob.size()));
  expect(engine != nullptr && engine->serialize() == blob, op.text() + ": a blob comes back");
  if (engine != nullptr) {
    test_contexts(op, *engine, images, workspace, tolerance, life.announced);
  }
}

template <typename Element>
void test_lives_of(const Operator& op, const ConvolutionCase& largest,
                   const ConvolutionCase& smaller, double tolerance, std::mt19937& random) {
  const Life life = draw_life(random);
  std::vector<Image<Element>> images = {make_image(largest, Element{})};
  if (life.dynamic) images.push_back(make_image(smaller, Element{}));
  test_life(op, images, tolerance, life);
}

// Another image for the same node, no larger.
ConvolutionCase draw_smaller(std::mt19937& random, const ConvolutionCase& c) {
  const ConvGeometry& g = c.geometry;
  const auto extent = [&](size_t axis, int64_t largest) {
    const ConvAttributes& a = c.attributes;
    const int64_t window = a.dilations[axis] * (a.kernel_shape[axis] - 1) + 1;
    return draw(random, std::max<int64_t>(window - a.pads[axis] - a.pads[axis + 2], 0), largest);
  };
  return test::draw_case(
      random, c.kind, c.attributes,
      {draw(random, 0, g.batch), g.channels, extent(0, g.height), extent(1, g.width)},
      g.out_channels);
}

void test_lives(const Operator& op, std::mt19937& random) {
  ConvolutionCase c = test::draw_case(random, kSizes);
  while (c.kind != op.kind) c = test::draw_case(random, kSizes);
  ConvolutionCase smaller = draw_smaller(random, c);
  // One node has one activation.
  smaller.attributes.activation = smaller.activation = c.activation;
  cuda_host::device().reversed = draw(random, 0, 1) == 1;
  library().logger.lines.clear();
  test_lives_of<float>(op, c, smaller, 2e-6, random);
  test_lives_of<__half>(op, c, smaller, 2e-3, random);
  expect(library().logger.lines.empty(), op.text() + ": something in the log of a good life");
}

// ---- what goes wrong at run time

ConvolutionCase small_case(const Operator& op, std::mt19937& random) {
  return test::draw_case(random, op.kind, attributes_3x3(op.kind), {2, 8, 5, 6}, 4);
}

void expect_run_refused(const Operator& op, Plugin& plugin, const ConvolutionCase& c,
                        const std::string& what, const std::vector<std::string>& parts,
                        const std::function<void(PlainTensors&, Buffers&)>& change) {
  const Tensors tensors = make_tensors(op.kind, c.attributes, c.geometry, DataType::kFLOAT);
  const Run<float> run(c, c.x, 7.0f, plugin.workspace(tensors));
  PlainTensors descriptions = plain(tensors);
  Buffers buffers = run.buffers();
  change(descriptions, buffers);
  expect_logged(op.text() + ": " + what, parts, [&] {
    expect(plugin.enqueue(descriptions, buffers) != 0, op.text() + ": ran: " + what);
  });
  for (size_t i = 0; i < run.count; ++i) {
    expect(run.y.data()[i] == 7.0f, op.text() + ": wrote: " + what);
  }
}

void test_refused_runs(const Operator& op, std::mt19937& random) {
  const ConvolutionCase c = small_case(op, random);
  const Tensors tensors = make_tensors(op.kind, c.attributes, c.geometry, DataType::kFLOAT);
  for (const bool prepared : {false, true}) {
    const auto plugin = create(op, c.attributes);
    if (prepared) plugin->change_shapes(tensors);
    const auto refused = [&](const std::string& what, const std::vector<std::string>& parts,
                             const std::function<void(PlainTensors&, Buffers&)>& change) {
      expect_run_refused(op, *plugin, c, what, parts, change);
    };
    using P = PlainTensors;
    using B = Buffers;
    refused("X too wide for Y", {kNode, "Y shape"}, [](P& t, B&) { t[0].dims.d[3] += 1; });
    refused("X too small", {kNode, "X padded"}, [](P& t, B&) { t[0].dims.d[2] = 0; });
    refused("X unknown", {kNode, "X shape"}, [](P& t, B&) { t[0].dims.d[0] = -1; });
    refused("W", {kNode, "W shape"}, [](P& t, B&) { t[1].dims.d[1] += 1; });
    refused("bias", {kNode, "bias shape"}, [](P& t, B&) { t[3].dims.d[0] = 3; });
    refused("a smaller Y", {kNode, "Y shape"}, [](P& t, B&) { t[4].dims.d[0] = 1; });
    refused("X's type", {kNode, "X type"}, [](P& t, B&) { t[0].type = DataType::kINT8; });
    refused("Y's type", {kNode, "Y type"}, [](P& t, B&) { t[4].type = DataType::kHALF; });
    refused("Y's format", {kNode, "Y format"},
            [](P& t, B&) { t[4].format = TensorFormat::kCHW32; });
    refused("a rank beyond all", {kNode, "Y rank"}, [](P& t, B&) { t[4].dims.nbDims = 99; });
    refused("no rank", {kNode, "X rank"}, [](P& t, B&) { t[0].dims.nbDims = -1; });
    refused("a size beyond 32 bits", {kNode},
            [](P& t, B&) { t[0].dims.d[2] = t[4].dims.d[2] = 2147483647; });
    for (const size_t input : {0, 1, 2, 3}) {
      refused("a null input", {kNode, "null"}, [&](P&, B& b) { b.inputs[input] = nullptr; });
    }
    refused("a null output", {kNode, "null"}, [](P&, B& b) { b.outputs[0] = nullptr; });
    refused("a launch that fails", {kNode, "running the kernels", "unspecified launch failure"},
            [](P&, B&) { cuda_host::device().next_error = cudaErrorLaunchFailure; });
    test_run<float>(op, *plugin, c, c.x, tensors, plugin->workspace(tensors), 2e-6);
  }
}

// A sum in parts needs its workspace: that of the device that the engine was built on, even where
// the one that it runs on would sum in more parts.
void test_sums_in_parts(const Operator& op, std::mt19937& random) {
  ConvAttributes a = test::same_attributes(1);
  a.weight_bits = is_shift(op.kind) ? 4 : 0;
  const ConvolutionCase c = test::draw_case(random, op.kind, a, {1, 2500, 8, 8}, 8);
  const auto plugin = create(op, c.attributes);
  const auto workspace = [&](int multiprocessors) {
    cuda_host::device().multiprocessors = multiprocessors;
    return plugin->workspace(make_tensors(op.kind, a, c.geometry, DataType::kFLOAT));
  };
  expect(workspace(1) > 0 && workspace(16) > workspace(1), op.text() + ": sums in parts");
  test_life<float>(op, {make_image(c, float{})}, 2e-6, {true, true, true, 1, 16});
  expect_run_refused(op, *plugin, c, "no workspace", {kNode, "null"},
                     [](PlainTensors&, Buffers& b) { b.workspace = nullptr; });
}

void test_unknown_device(const Operator& op, std::mt19937& random) {
  const ConvolutionCase c = small_case(op, random);
  const Tensors tensors = make_tensors(op.kind, c.attributes, c.geometry, DataType::kFLOAT);
  const auto fail = [] { cuda_host::device().next_error = cudaErrorInvalidValue; };
  const std::vector<std::string> parts = {kNode, "multiprocessors", "invalid argument"};
  const auto plugin = create(op, c.attributes);
  expect_logged(op.text() + ": configure without a device", parts, [&] {
    fail();
    plugin->configure(tensors);
  });
  expect_logged(op.text() + ": attach without a device", parts, [&] {
    fail();
    expect(plugin->attach() == nullptr, op.text() + ": attached without a device");
  });
  expect_logged(op.text() + ": run without a device", parts, [&] {
    const Run<float> run(c, c.x, 7.0f, 0);
    fail();
    expect(plugin->enqueue(plain(tensors), run.buffers()) != 0, op.text() + ": ran nowhere");
  });
  const auto other = create(op, c.attributes);
  expect_logged(op.text() + ": workspace without a device", parts, [&] {
    fail();
    expect(other->workspace(tensors) > (size_t{1} << 60), op.text() + ": a workspace to build");
  });
}

// Configuring checks what shapes and types it is told.
void test_refused_configurations(const Operator& op) {
  const ConvAttributes a = attributes_3x3(op.kind);
  const Tensors good = make_tensors(
      op.kind, a, resolve_geometry(OperatorKind::kAdderConv, "case", a, {2, 8, 5, 5}, {4, 8, 3, 3}),
      DataType::kHALF);
  const auto plugin = create(op, a);
  const auto refused = [&](const std::string& field, const std::function<void(Tensors&)>& change) {
    for (const bool dynamic : {false, true}) {
      Tensors tensors = dynamic ? as_dynamic(good) : good;
      change(tensors);
      const auto fresh = plugin->clone();
      expect_logged(op.text() + ": configure", {kNode, field}, [&] {
        fresh->configure(tensors);
        fresh->configure(tensors);
      });
      expect(library().logger.lines.size() == 1, op.text() + ": logged once: " + field);
    }
  };
  refused("W type", [](Tensors& t) { t[1].desc.type = DataType::kHALF; });
  refused("scale type", [](Tensors& t) { t[2].desc.type = DataType::kHALF; });
  refused("Y type", [](Tensors& t) { t[4].desc.type = DataType::kFLOAT; });
  refused("X format", [](Tensors& t) { t[0].desc.format = TensorFormat::kCHW2; });
  refused("bias shape", [](Tensors& t) { t[3].desc.dims.d[0] = 1; });
  refused("W shape", [](Tensors& t) { t[1].desc.dims.d[1] += 1; });
  refused("X rank", [](Tensors& t) { t[0].desc.dims.nbDims = 5; });
  for (const bool dynamic : {false, true}) {
    expect_silence(op.text() + ": configure",
                   [&] { plugin->configure(dynamic ? as_dynamic(good) : good); });
  }
}

// ---- engine files

void expect_no_plugin(const Operator& op, const std::string& what, const Blob& blob) {
  expect_logged(op.text() + ": " + what, {"[shiftadd]", kNode}, [&] {
    expect(op.factory->deserialize(kNode, Bytes(blob.data(), blob.size())) == nullptr,
           op.text() + ": a plugin from " + what);
  });
}

uint64_t load_word(const Blob& blob, size_t index) {
  uint64_t word = 0;
  for (size_t i = 0; i < 8; ++i) {
    word |= static_cast<uint64_t>(static_cast<uint8_t>(blob[8 * index + i])) << (8 * i);
  }
  return word;
}

void store_word(Blob& blob, size_t index, uint64_t word) {
  for (size_t i = 0; i < 8; ++i) blob[8 * index + i] = static_cast<char>(word >> (8 * i));
}

// The blob with a word changed and the checksum, FNV-1a, made to fit.
Blob forge(Blob blob, size_t index, uint64_t word) {
  store_word(blob, index, word);
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i + 8 < blob.size(); ++i) {
    hash = (hash ^ static_cast<uint8_t>(blob[i])) * 0x100000001b3;
  }
  store_word(blob, blob.size() / 8 - 1, hash);
  return blob;
}

// Somebody who knows the checksum still gets nothing but valid attributes.
void test_forged_blobs(const Operator& op, const Blob& blob) {
  const size_t words = blob.size() / 8;
  expect(forge(blob, 0, load_word(blob, 0)) == blob, op.text() + ": the checksum is FNV-1a");
  // What follows the kind: kernel_shape, strides, pads, dilations, group, weight_bits, ...
  for (size_t index = 0; index < 4; ++index) {
    for (const uint64_t change : {1, 2, 255}) {
      expect_no_plugin(op, "a forged header", forge(blob, index, load_word(blob, index) ^ change));
    }
  }
  for (size_t index = 4; index < words - 1; ++index) {
    for (const uint64_t word : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{1} << 32}) {
      const bool ignored = !is_shift(op.kind) && index == 15;
      if (!ignored) expect_no_plugin(op, "a forged attribute", forge(blob, index, word));
    }
  }
  for (const size_t index : {4, 5, 6, 7, 12, 13, 14}) {
    expect_no_plugin(op, "a forged 0", forge(blob, index, 0));
  }
  Blob extended = blob;
  extended.resize(blob.size() + 8);
  expect_no_plugin(op, "a forged extension", forge(extended, 0, load_word(blob, 0)));
  expect_no_plugin(op, "a forged length", forge(extended, 2, extended.size()));
  expect_no_plugin(op, "a forged activation", forge(blob, 16, 4));
  if (is_shift(op.kind)) expect_no_plugin(op, "forged weight_bits", forge(blob, 15, 5));
}

void test_blobs(const Operator& op, const Operator& other) {
  cuda_host::device().multiprocessors = 3;
  const auto plugin = create(op, attributes_3x3(op.kind));
  plugin->attach();
  const Blob blob = plugin->serialize();
  for (size_t size = 0; size < blob.size(); ++size) {
    Blob truncated = blob;
    truncated.resize(size);
    expect_no_plugin(op, "a truncated blob", truncated);
  }
  for (size_t at = 0; at < blob.size(); ++at) {
    for (const int change : {1, 0x80, 0xff, static_cast<int>(at % 254) + 1}) {
      Blob damaged = blob;
      damaged[at] = static_cast<char>(damaged[at] ^ change);
      expect_no_plugin(op, "a damaged blob", damaged);
    }
  }
  for (const size_t more : {1, 8, 4096}) {
    Blob extended = blob;
    extended.resize(blob.size() + more);
    expect_no_plugin(op, "an extended blob", extended);
  }
  expect_no_plugin(op, "zeros", Blob(blob.size(), 0));
  expect_no_plugin(op, "a text", Blob(blob.size(), 'x'));
  expect_no_plugin(op, "the other operator's blob",
                   create(other, attributes_3x3(other.kind))->serialize());
  test_forged_blobs(op, blob);
}

void test_copies_differ_in_nothing(const Operator& op, std::mt19937& random) {
  for (int i = 0; i < 20; ++i) {
    const ConvolutionCase c = test::draw_case(random, kSizes);
    ConvAttributes a = c.attributes;
    a.weight_bits = is_shift(op.kind) ? 8 : 0;
    const auto plugin = create(op, a);
    const Blob blob = plugin->serialize();
    expect(plugin->clone()->serialize() == blob, op.text() + ": a clone is another");
    a.group += 1;
    expect(create(op, a)->serialize() != blob, op.text() + ": a blob forgets the group");
  }
}

// ---- the log

void test_foreign_library(const Operator& op) {
  // Of another major version than the headers: its logger must not be touched.
  library().major = NV_TENSORRT_MAJOR + 1;
  library().logger.lines.clear();
  ConvAttributes bad = attributes_3x3(op.kind);
  bad.group = 0;
  expect(create(op, bad) == nullptr, op.text() + ": group 0");
  expect(library().logger.lines.empty(), op.text() + ": a logger of another TensorRT");
  library().major = NV_TENSORRT_MAJOR;
}

#if NV_TENSORRT_MAJOR >= 10

struct Finder : nvinfer1::ILoggerFinder {
  nvinfer1::ILogger* findLogger() override {
    if (failing) throw std::runtime_error("no logger");
    return found;
  }
  Logger* found = nullptr;
  bool failing = false;
};

void test_logger_finder(const Operator& op) {
  Finder finder;
  Logger own;
  ConvAttributes bad = attributes_3x3(op.kind);
  bad.group = 0;
  setLoggerFinder(&finder);
  expect_logged(op.text() + ": a finder that finds none", {kNode}, [&] { create(op, bad); });
  finder.failing = true;
  expect_logged(op.text() + ": a finder that throws", {kNode}, [&] { create(op, bad); });
  finder.failing = false;
  finder.found = &own;
  expect_silence(op.text() + ": the global logger", [&] { create(op, bad); });
  expect(own.count(Severity::kERROR, {kNode, "group"}) == 1, op.text() + ": the engine's logger");
  setLoggerFinder(nullptr);
}

// Fields of an engine file that are not those that were put there.
void test_serialized_fields(const Operator& op) {
  const auto* factory = dynamic_cast<const FactoryV3*>(op.factory.get());
  if (factory == nullptr) return;
  const ConvAttributes a = attributes_3x3(op.kind);
  const Blob blob = create(op, a)->serialize();
  const auto refused = [&](const std::string& what, const std::function<void(Fields&)>& change) {
    Fields fields;
    fields.set("shiftadd_plugin", blob.data(), blob.size(), PluginFieldType::kUNKNOWN, blob.size());
    change(fields);
    expect_logged(op.text() + ": " + what, {kNode}, [&] {
      expect(
          factory->create(kNode, fields.collection(), nvinfer1::TensorRTPhase::kRUNTIME) == nullptr,
          op.text() + ": accepted " + what);
    });
  };
  refused("no field", [](Fields& f) { f.remove("shiftadd_plugin"); });
  refused("two fields", [](Fields& f) { f.add("shiftadd_plugin"); });
  refused("a null field", [](Fields& f) { f.get("shiftadd_plugin").data = nullptr; });
  refused("a negative length", [](Fields& f) { f.get("shiftadd_plugin").length = -1; });
  refused("another type",
          [](Fields& f) { f.get("shiftadd_plugin").type = PluginFieldType::kCHAR; });
  Fields attributes(op.kind, a);
  expect(
      factory->create(kNode, attributes.collection(), nvinfer1::TensorRTPhase::kRUNTIME) == nullptr,
      op.text() + ": attributes as an engine's");
  Fields serialized;
  serialized.set("shiftadd_plugin", blob.data(), blob.size(), PluginFieldType::kUNKNOWN,
                 blob.size());
  expect(factory->create(kNode, serialized.collection()) == nullptr,
         op.text() + ": an engine's as attributes");
}

// Of the attributes and nothing else.
void test_timing_cache_ids(const Operator& op) {
  if (dynamic_cast<const FactoryV3*>(op.factory.get()) == nullptr) return;
  const auto id = [&](const ConvAttributes& a, const char* node) {
    return static_cast<PluginV3*>(create(op, a, node).get())->timing_cache_id();
  };
  const ConvAttributes a = attributes_3x3(op.kind);
  expect(!id(a, "n").empty() && id(a, "n") == id(a, "m"), op.text() + ": timing cache id");
  std::vector<ConvAttributes> others(6, a);
  others[0].pads[3] = 2;
  others[1].strides[0] = 2;
  others[2].dilations[1] = 3;
  others[3].group = 2;
  others[4].activation = Activation::kNone;
  others[5].kernel_shape[0] = 1;
  for (const ConvAttributes& other : others) {
    expect(id(other, "n") != id(a, "n"), op.text() + ": timing cache id of other attributes");
  }
}

#else

void test_logger_finder(const Operator&) {}
void test_serialized_fields(const Operator&) {}
void test_timing_cache_ids(const Operator&) {}

#endif

// Whoever sets a creator's namespace finds it in the plugins that it makes.
void test_namespaces(const Operator& op) {
  const auto* factory = dynamic_cast<const FactoryV2*>(op.factory.get());
  if (factory == nullptr) return;
  factory->creator()->setPluginNamespace("acme");
  const auto plugin = create(op, attributes_3x3(op.kind));
  const Blob blob = plugin->serialize();
  expect(factory->plugin_namespace() == "acme" && plugin->plugin_namespace() == "acme" &&
             plugin->clone()->plugin_namespace() == "acme" &&
             op.factory->deserialize(kNode, Bytes(blob.data(), blob.size()))->plugin_namespace() ==
                 "acme",
         op.text() + ": namespace");
  factory->creator()->setPluginNamespace(nullptr);
  expect(factory->plugin_namespace().empty(), op.text() + ": null namespace");
}

// ---- no allocation in enqueue

int g_allocations = 0;
void count_allocation(const volatile void*, size_t) { ++g_allocations; }
void ignore_release(const volatile void*) {}

// With an empty batch, for which no kernel is launched: the host's launches do allocate.
void test_allocations(const Operator& op) {
  const ConvAttributes a = attributes_3x3(op.kind);
  const ConvGeometry g =
      resolve_geometry(OperatorKind::kAdderConv, "case", a, {0, 8, 5, 5}, {4, 8, 3, 3});
  const Tensors tensors = make_tensors(op.kind, a, g, DataType::kFLOAT);
  const auto plugin = create(op, a);
  plugin->change_shapes(tensors);
  const PlainTensors descriptions = plain(tensors);
  const Buffers none{};
  g_allocations = 0;
  const int32_t answer = plugin->enqueue(descriptions, none);
  const int allocations = g_allocations;
  expect(answer == 0 && allocations == 0,
         op.text() + ": " + detail::text(allocations) + " allocations in enqueue");
}

std::vector<Operator> operators() {
  std::vector<Operator> all;
  const OperatorKind kinds[] = {OperatorKind::kShiftConv, OperatorKind::kAdderConv};
  int32_t count = 0;
  nvinfer1::IPluginCreator* const* v2 = getPluginCreators(count);
  for (size_t i = 0; i < 2; ++i) {
    all.push_back({kinds[i], std::shared_ptr<Factory>(new FactoryV2(v2[i]))});
  }
#if NV_TENSORRT_MAJOR >= 10
  nvinfer1::IPluginCreatorInterface* const* v3 = getCreators(count);
  for (size_t i = 0; i < 2; ++i) {
    all.push_back({kinds[i], std::shared_ptr<Factory>(new FactoryV3(v3[i]))});
  }
#endif
  return all;
}

}  // namespace

int main(int count, char** arguments) {
  const int cases = count > 1 ? std::atoi(arguments[1]) : 25;
  const unsigned seed =
      count > 2 ? std::strtoul(arguments[2], nullptr, 10) : std::random_device{}();
  std::mt19937 random(seed);
  __sanitizer_install_malloc_and_free_hooks(count_allocation, ignore_release);
  test_registration();
  const std::vector<Operator> all = operators();
  for (size_t i = 0; i < all.size(); ++i) {
    const Operator& op = all[i];
    test_creators(op);
    test_good_fields(op);
    test_bad_fields(op);
    test_formats(op);
    for (int j = 0; j < cases; ++j) test_output_dims(op, random);
    test_refused_dims(op);
    test_odd_ranks(op);
    for (int j = 0; j < cases; ++j) test_workspace(op, random);
    for (int j = 0; j < cases; ++j) test_lives(op, random);
    test_refused_runs(op, random);
    test_sums_in_parts(op, random);
    test_unknown_device(op, random);
    test_refused_configurations(op);
    test_blobs(op, all[i ^ 1]);
    test_copies_differ_in_nothing(op, random);
    test_foreign_library(op);
    test_logger_finder(op);
    test_serialized_fields(op);
    test_timing_cache_ids(op);
    test_namespaces(op);
    test_allocations(op);
  }
  return test::report(seed);
}
