// Prints shiftadd/operators.h as JSON; test_operator_table.py compares it with Python's table.
#include <cinttypes>
#include <cstdio>

#include "shiftadd/operators.h"

namespace {

using namespace shiftadd;

const char* name_of(ElementType type) {
  switch (type) {
    case ElementType::kFloat32: return "float32";
    case ElementType::kUint8: return "uint8";
    case ElementType::kInt32: return "int32";
  }
  return "";
}

const char* name_of(AttributeType type) {
  switch (type) {
    case AttributeType::kInts: return "ints";
    case AttributeType::kInt: return "int";
    case AttributeType::kString: return "string";
  }
  return "";
}

// The elements of a list, each printed by print(element).
template <typename List, typename Print>
void print_list(const List& list, const Print& print) {
  std::printf("[");
  const char* separator = "";
  for (const auto& element : list) {
    std::printf("%s", separator);
    print(element);
    separator = ", ";
  }
  std::printf("]");
}

void print_text(const char* text) { std::printf("\"%s\"", text); }

void print_input(const TensorDescription& input) {
  std::printf("[\"%s\", \"%s\", %d]", input.name, name_of(input.type), input.rank);
}

void print_attribute(const AttributeDescription& attribute) {
  std::printf("[\"%s\", \"%s\", %d, %d, ", attribute.name, name_of(attribute.type),
              attribute.length, attribute.least);
  print_list(attribute.choices, print_text);
  std::printf(", ");
  if (attribute.absent == nullptr) {
    std::printf("null]");
  } else {
    std::printf("\"%s\"]", attribute.absent);
  }
}

void print_operator(const OperatorDescription& described) {
  std::printf("{\"name\": \"%s\", \"inputs\": ", described.name);
  print_list(described.inputs, print_input);
  std::printf(", \"output\": ");
  print_input(described.output);
  std::printf(", \"attributes\": ");
  print_list(described.attributes, print_attribute);
  std::printf("}");
}

}  // namespace

int main() {
  std::printf("{\"domain\": \"%s\", \"version\": %d, \"largest_attribute\": %" PRId64
              ", \"activations\": ",
              kDomain, kContractVersion, kLargestAttribute);
  print_list(kActivationNames, print_text);
  std::printf(", \"layouts\": ");
  print_list(kLayoutNames, print_text);
  std::printf(", \"operators\": ");
  print_list(kOperators, print_operator);
  std::printf("}\n");
}
