// The adder's forward pass and input gradient for training on a CPU, as a plain C interface.
//
// Everything is one matrix form: x is [rows, depth], w is [outputs, depth], y is [rows, outputs],
// all float32, row-major and dense. A 1x1 layer in channels-last memory is that form as it stands
// (rows = N*H*W, depth = C); other layers reach it through im2col. The weight gradient sum_r
// gy[r,m] * (x[r,k] - w[m,k]) is a matrix product and needs no kernel of its own.
#ifndef SHIFTADD_TRAINING_H_
#define SHIFTADD_TRAINING_H_

#include <cstdint>

#define SHIFTADD_EXPORT __attribute__((visibility("default")))

extern "C" {

enum ShiftaddTrainingResult {
  kShiftaddDone = 0,
  kShiftaddNoMemory = 1,
  kShiftaddRefused = 2,  // shiftadd_training_error() says why
};

// y[r,m] = -sum_k |x[r,k] - w[m,k]|  (AdderNet, arXiv 1912.13200, eq. 2)
//
// Returns a ShiftaddTrainingResult; y is undefined unless it is kShiftaddDone.
SHIFTADD_EXPORT int shiftadd_adder_forward_f32(const float* x, const float* w, float* y,
                                               int64_t rows, int64_t depth, int64_t outputs,
                                               int threads);

// gx[r,k] = sum_m gy[r,m] * clip(w[m,k] - x[r,k], -1, 1)  (ibid., eq. 6, HardTanh)
SHIFTADD_EXPORT int shiftadd_adder_input_grad_f32(const float* x, const float* w, const float* gy,
                                                  float* gx, int64_t rows, int64_t depth,
                                                  int64_t outputs, int threads);

// Why the last call on this thread that was refused was refused: SHIFTADD_CPU_ISA names no
// instruction set of this processor.
SHIFTADD_EXPORT const char* shiftadd_training_error(void);

}  // extern "C"

#endif  // SHIFTADD_TRAINING_H_
