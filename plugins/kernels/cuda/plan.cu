#include <algorithm>

#include "depthwise.cuh"
#include "few_positions.cuh"
#include "plan.h"

namespace shiftadd {
namespace cuda {
namespace {

// This many blocks keep a multiprocessor busy; the registers of a tile let it hold no more.
constexpr int64_t kBlocksPerMultiprocessor = 8;
// The fewest terms of a part, a multiple of every kernel's slice: adding up smaller parts would
// cost more than they save.
constexpr int64_t kFewestSplitTerms = 128;
// The most terms of a part: a longer float32 sum, taken one term after the other, would come near
// the tolerance of docs/operators.md, section 9.
constexpr int64_t kMostSplitTerms = 2048;
constexpr int64_t kLargestExtent = int64_t{1} << 28;
// The largest count that a kernel holds in an int; it leaves room for the unused rest of the last
// tile or slice.
constexpr int64_t kLargestCount = (int64_t{1} << 31) - 1024;

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

int64_t positions(const ConvGeometry& g) { return g.batch * g.out_height * g.out_width; }

int64_t row_words(const Problem& problem) {
  return is_shift(problem.kind) ? packed_columns(problem.geometry.terms, problem.weight_bits)
                                : problem.geometry.terms;
}

// The tile height that computes the fewest rows for nothing, and of those the tallest, which reads
// the least.
int tile_rows(const ConvGeometry& g) {
  int best = 8;
  for (const int thread_rows : {4, 2}) {
    const auto computed = [&](int rows) {
      return divide_up(g.group_out_channels, dense_rows(rows)) * dense_rows(rows);
    };
    // A shorter tile reads more for each term, so it is chosen only where it saves a quarter of the
    // rows.
    if (4 * computed(thread_rows) <= 3 * computed(best)) best = thread_rows;
  }
  return best;
}

int64_t tiles_across(const ConvGeometry& g, int thread_rows) {
  return g.group * divide_up(g.group_out_channels, dense_rows(thread_rows));
}

int64_t fewest_splits(const ConvGeometry& g) { return divide_up(g.terms, kMostSplitTerms); }

// Parts of at least kFewestSplitTerms terms, enough of them for `multiprocessors`.
Splits make_splits(const ConvGeometry& g, int64_t tiles, int multiprocessors) {
  const int64_t wanted = kBlocksPerMultiprocessor * multiprocessors / std::max<int64_t>(tiles, 1);
  const int64_t most = std::max<int64_t>(g.terms / kFewestSplitTerms, 1);
  const int64_t count = std::max(fewest_splits(g), std::min(wanted, most));
  const int64_t terms =
      divide_up(divide_up(g.terms, std::max<int64_t>(count, 1)), kFewestSplitTerms) *
      kFewestSplitTerms;
  return {static_cast<int>(divide_up(g.terms, terms)), static_cast<int>(terms)};
}

Family family(const Problem& problem) {
  const ConvGeometry& g = problem.geometry;
  if (g.group_channels == 1) return Family::kDepthwise;
  return positions(g) <= kFewPositions ? Family::kFewPositions : Family::kDense;
}

}  // namespace

Shape kernel_shape(const Problem& problem) {
  const ConvGeometry& g = problem.geometry;
  const auto as_int = [](int64_t value) { return static_cast<int>(value); };
  Shape s;
  s.channels = as_int(g.channels);
  s.height = as_int(g.height);
  s.width = as_int(g.width);
  s.out_channels = as_int(g.out_channels);
  s.out_height = as_int(g.out_height);
  s.out_width = as_int(g.out_width);
  s.groups = as_int(g.group);
  s.group_channels = as_int(g.group_channels);
  s.group_rows = as_int(g.group_out_channels);
  s.kernel_height = as_int(g.kernel_height);
  s.kernel_width = as_int(g.kernel_width);
  s.taps = s.kernel_height * s.kernel_width;
  // If there is only one, its distance to the next is never used and may be anything.
  s.stride_height = g.out_height == 1 ? 1 : as_int(g.stride_height);
  s.stride_width = g.out_width == 1 ? 1 : as_int(g.stride_width);
  s.dilation_height = g.kernel_height == 1 ? 1 : as_int(g.dilation_height);
  s.dilation_width = g.kernel_width == 1 ? 1 : as_int(g.dilation_width);
  s.pad_top = as_int(g.pad_top);
  s.pad_left = as_int(g.pad_left);
  s.terms = as_int(g.terms);
  s.row_words = as_int(row_words(problem));
  s.positions = as_int(positions(g));
  s.row_span = s.kernel_width * s.dilation_width;
  s.column_span = s.kernel_height * s.dilation_height;
  // These are taken modulo 2^32, like the indices that they are added to.
  const unsigned to_first_column = static_cast<unsigned>((s.kernel_width - 1) * s.dilation_width);
  const unsigned to_first_row = static_cast<unsigned>((s.kernel_height - 1) * s.dilation_height);
  const unsigned width = static_cast<unsigned>(s.width);
  s.row_step = static_cast<unsigned>(s.dilation_height) * width - to_first_column;
  s.channel_step = static_cast<unsigned>(s.height) * width - to_first_row * width - to_first_column;
  return s;
}

Plan make_plan(const Problem& problem, int multiprocessors) {
  const ConvGeometry& g = problem.geometry;
  Plan plan = {family(problem), 0, {1, static_cast<int>(g.terms)}, 0};
  if (positions(g) == 0) return plan;
  if (plan.family == Family::kDepthwise) {
    plan.blocks = divide_up(strip_count(kernel_shape(problem)), kDepthwiseThreads);
  } else if (plan.family == Family::kFewPositions) {
    plan.blocks = divide_up(g.out_channels, kLaneRows);
  } else {
    plan.thread_rows = tile_rows(g);
    const int64_t tiles =
        tiles_across(g, plan.thread_rows) * divide_up(positions(g), kDensePositions);
    plan.splits = make_splits(g, tiles, multiprocessors);
    plan.blocks = tiles * plan.splits.count;
  }
  return plan;
}

size_t workspace_bytes(const Problem& problem, int multiprocessors) noexcept {
  const ConvGeometry& g = problem.geometry;
  // A smaller problem with the same weights may run in more parts, but never in more than fill the
  // device. So its partial sums take no more memory than those of that many tiles.
  const int64_t across = tiles_across(g, tile_rows(g));
  const int64_t filling =
      divide_up(kBlocksPerMultiprocessor * multiprocessors, across) * kDensePositions;
  const int64_t most_splits = std::max(fewest_splits(g), g.terms / kFewestSplitTerms);
  if (g.group_channels == 1 || most_splits <= 1) return 0;
  const int64_t sums = std::max(fewest_splits(g) > 1 ? fewest_splits(g) * positions(g) : 0,
                                std::min(filling, most_splits * positions(g)));
  return static_cast<size_t>(divide_up(sums * g.out_channels * 4, 256) * 256);
}

void validate_limits(const std::string& node, const Problem& problem) {
  const ConvGeometry& g = problem.geometry;
  const auto require = [&](const char* what, int64_t value, int64_t most) {
    if (value > most) {
      throw ContractError(node, what, "at most " + detail::text(most) + " on a GPU",
                          detail::text(value));
    }
  };
  const auto count = [&](const char* what, const std::vector<int64_t>& factors) {
    require(what, detail::checked_product(node, what, factors), kLargestCount);
  };
  const auto reach = [](int64_t out, int64_t stride, int64_t kernel, int64_t dilation) {
    return std::max<int64_t>(out - 1, 0) * stride + (kernel - 1) * dilation + 1;
  };
  require("height of X", g.height, kLargestExtent);
  require("width of X", g.width, kLargestExtent);
  require("pads", std::max(g.pad_top, g.pad_left), kLargestExtent);
  require("height of X with its padding",
          reach(g.out_height, g.stride_height, g.kernel_height, g.dilation_height), kLargestExtent);
  require("width of X with its padding",
          reach(g.out_width, g.stride_width, g.kernel_width, g.dilation_width), kLargestExtent);
  // This also holds for an empty batch, whose images have planes nevertheless.
  const int64_t batch = std::max<int64_t>(g.batch, 1);
  count("elements of X", {batch, g.channels, g.height, g.width});
  count("channels of the batch", {batch, g.channels});
  count("elements of Y", {batch, g.out_channels, g.out_height, g.out_width});
  count("terms of one output", {g.group_channels, g.kernel_height, g.kernel_width});
  count("elements of W", {g.out_channels, row_words(problem)});
  require("blocks", make_plan(problem, 1).blocks, kLargestCount);
}

}  // namespace cuda
}  // namespace shiftadd
