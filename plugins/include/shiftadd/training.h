// What training on a CPU needs beside PyTorch, as a plain C interface: the adder's forward pass and
// input gradient, and a BatchNorm's backward pass.
//
// The adder's are one matrix form: x is [rows, depth], w is [outputs, depth], y is [rows, outputs], all
// float32, row-major and dense. A 1x1 layer in channels-last memory is that form as it stands
// (rows = N*H*W, depth = C); other layers reach it through im2col. The weight gradient
// sum_r gy[r,m] * (x[r,k] - w[m,k]) is a matrix product and needs no kernel of its own.
#ifndef SHIFTADD_TRAINING_H_
#define SHIFTADD_TRAINING_H_

#include <cstdint>

#define SHIFTADD_EXPORT __attribute__((visibility("default")))

extern "C" {

// y[r,m] = -sum_k |x[r,k] - w[m,k]|                                    (AdderNet, arXiv 1912.13200, eq. 2)
// Returns 0, or 1 where memory could not be had (y is then undefined).
SHIFTADD_EXPORT int shiftadd_adder_forward_f32(const float* x, const float* w, float* y,
                                               int64_t rows, int64_t depth, int64_t outputs,
                                               int threads);

// gx[r,k] = sum_m gy[r,m] * clip(w[m,k] - x[r,k], -1, 1)               (ibid., eq. 6, HardTanh)
SHIFTADD_EXPORT int shiftadd_adder_input_grad_f32(const float* x, const float* w, const float* gy,
                                                  float* gx, int64_t rows, int64_t depth,
                                                  int64_t outputs, int threads);

// The backward pass of a BatchNorm in training mode over channels-last memory: x, gy and gx are
// [rows, channels], the others [channels]; inverse_std is 1/sqrt(variance + eps) of these rows.
//   gb = sum_r gy,  gw = sum_r gy * xhat,  gx = weight*inverse_std * (gy - gb/rows - xhat*gw/rows),
// xhat = (x - mean)*inverse_std                            (Batch Normalization, arXiv 1502.03167, sec. 3)
// Returns 0, or 1 where memory could not be had (the outputs are then undefined).
SHIFTADD_EXPORT int shiftadd_batch_norm_backward_f32(const float* x, const float* gy,
                                                     const float* mean, const float* inverse_std,
                                                     const float* weight, float* gx, float* gw,
                                                     float* gb, int64_t rows, int64_t channels,
                                                     int threads);

}  // extern "C"

#endif  // SHIFTADD_TRAINING_H_
