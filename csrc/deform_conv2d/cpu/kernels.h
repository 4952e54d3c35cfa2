// The inner loops, as a table of functions. There is one table per vector unit and type; the unit is chosen once, at
// run time.
//
// A "row" belongs to one output pixel and contains the channels of one tap. Rows of consecutive pixels are a fixed
// distance apart.

#pragma once

#include "../positions.h"

namespace deformlab::deform_conv2d {

template <typename T>
struct Rows {
  T* data;  // row of the first pixel, or null if the rows are not needed
  int64_t stride;
};

// Consecutive input channels, and their places in a row: each weight group has `per_group` channels, which start at a
// multiple of `group_stride`.
struct Channels {
  int64_t begin, end;
  int64_t per_group, group_stride;
};

// Pixels in (N, H, W, C) memory. `data` points to channel `Channels::begin` of the first pixel.
template <typename T>
struct Image {
  T* data;
  int64_t stride;  // between pixels
};

// The offsets and masks of a call, with its sizes.
template <typename acc_t>
struct Positions {
  ConvShape shape;
  const acc_t* offset;  // (N, 2·G·K, P, Q)
  const acc_t* mask;    // (N, G·K, P, Q) or null
};

// One sampling position. It is computed once for all of its channels and all passes over them.
template <typename acc_t>
struct Tap {
  BilinearPoint<acc_t> point;
  acc_t factor;   // the value of the mask, or 1
  bool inside;    // if false, the sample is zero and passes no gradient
  int64_t image;  // index of the image's first cell in the batch; point.cell is relative to it
  int64_t mask_index, offset_index;
};

// Arguments of `read`, which reads the input at the positions of one tap. Results that are not needed are null.
template <typename scalar_t>
struct Read {
  using acc_t = accumulate_t<scalar_t>;
  Image<const scalar_t> input;
  const scalar_t* zeros;  // as many zeros as channels, read in place of a missing cell
  Channels channels;
  const Tap<acc_t>* taps;
  int64_t first, last;            // channels of the taps' offset group, within `channels`
  int64_t pixels;
  Rows<scalar_t> columns;         // result: the samples; may be null
  Rows<const scalar_t> gradient;  // gradient of the columns; may be null, then `sums` is not computed
  acc_t* sums;                    // result (pixels, 4): for each cell around a tap, sum of gradient x cell
};

// Arguments of `scatter`, which adds the gradient of the columns to the gradient of the cells that were read.
template <typename scalar_t>
struct Scatter {
  using acc_t = accumulate_t<scalar_t>;
  Image<acc_t> grad_input;
  Channels channels;
  const Tap<acc_t>* taps;
  int64_t first, last;            // channels to process
  int64_t first_cell, last_cell;  // cells of the batch to process
  int64_t pixels;
  Rows<const scalar_t> gradient;
};

// Arguments of `multiply`: c (rows, columns) = or += a (rows, depth) x b (depth, columns), in blocks of R rows and S
// columns that stay in registers. `rows` is a multiple of R, and `columns` is a multiple of S. Element (i, k) of `a` is
// a[i / R * a_block + i % R * a_row + k * a_depth], and element (k, j) of `b` is
// b[j / S * b_panel + k * b_depth + j % S].
template <typename T>
struct Product {
  const T* a;
  int64_t a_block, a_row, a_depth;
  const T* b;
  int64_t b_panel, b_depth;
  T* c;
  int64_t c_row;
  int64_t rows, columns, depth;
  bool accumulate;
};

template <typename scalar_t>
struct Kernels {
  using acc_t = accumulate_t<scalar_t>;
  // Computes the sampling positions of tap k of offset group g for the output pixels [begin, end).
  void (*locate)(const Positions<acc_t>&, int64_t g, int64_t k, int64_t begin, int64_t end, Tap<acc_t>* taps);
  void (*read)(const Read<scalar_t>&);
  void (*scatter)(const Scatter<scalar_t>&);
  int64_t block_rows, block_columns;
  void (*multiply)(const Product<acc_t>&);
};

// Returns the table for the vector unit that this process uses.
template <typename scalar_t>
const Kernels<scalar_t>& kernels();

}  // namespace deformlab::deform_conv2d
