// The inner loops, as a table of functions: one table per vector unit and type, chosen once at run time.
//
// A "row" belongs to one output pixel and holds the channels of one tap; rows of consecutive pixels follow each other
// at a fixed distance.

#pragma once

#include "../positions.h"

namespace deformlab::deform_conv2d {

template <typename T>
struct Rows {
  T* data;  // of the first pixel, or null where nobody wants them
  int64_t stride;
};

// Consecutive input channels, and where they stand in a row: weight groups of `per_group` channels begin at multiples
// of `group_stride`.
struct Channels {
  int64_t begin, end;
  int64_t per_group, group_stride;
};

// Pixels of (N, H, W, C) memory. `data` points at channel `Channels::begin` of the first pixel.
template <typename T>
struct Image {
  T* data;
  int64_t stride;  // between pixels
};

// Where offsets and masks are, and what they mean.
template <typename acc_t>
struct Positions {
  ConvShape shape;
  const acc_t* offset;  // (N, 2·G·K, P, Q)
  const acc_t* mask;    // (N, G·K, P, Q) or null
};

// One sampling position, looked up once for all of its channels and all passes over them.
template <typename acc_t>
struct Tap {
  BilinearPoint<acc_t> point;
  acc_t factor;   // the mask's, or 1
  bool inside;    // false: the sample is zero and has no gradients
  int64_t image;  // what to add to point.cell for a cell of the whole batch
  int64_t mask_index, offset_index;
};

// What reading the input at the positions of one tap may give. Any of the results may be null.
template <typename scalar_t>
struct Read {
  using acc_t = accumulate_t<scalar_t>;
  Image<const scalar_t> input;
  const scalar_t* zeros;  // as many as channels: stands in for a cell that is not there
  Channels channels;
  const Tap<acc_t>* taps;
  int64_t first, last;            // channels of the taps' offset group, within `channels`
  int64_t pixels;
  Rows<scalar_t> columns;         // set: the samples
  Rows<const scalar_t> gradient;  // of the columns; set: `sums`
  acc_t* sums;                    // (pixels, 4): per cell around a tap, the sum over channels of gradient x cell
};

// The way back: adds the columns' gradient to the cells that were read.
template <typename scalar_t>
struct Scatter {
  using acc_t = accumulate_t<scalar_t>;
  Image<acc_t> grad_input;
  Channels channels;
  const Tap<acc_t>* taps;
  int64_t first, last;            // channels to work on
  int64_t first_cell, last_cell;  // cells of the batch to work on
  int64_t pixels;
  Rows<const scalar_t> gradient;
};

// c (rows, columns) = or += a (rows, depth) x b (depth, columns), in blocks that stay in registers. `rows` and
// `columns` are multiples of the block. Element (i, k) of `a` is a[i / R * a_block + i % R * a_row + k * a_depth],
// R the rows of a block; element (k, j) of `b` is b[j / S * b_panel + k * b_depth + j % S], S the columns of a block.
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
  // Fills taps of output pixels [begin, end) for tap k of offset group g.
  void (*locate)(const Positions<acc_t>&, int64_t g, int64_t k, int64_t begin, int64_t end, Tap<acc_t>* taps);
  void (*read)(const Read<scalar_t>&);
  void (*scatter)(const Scatter<scalar_t>&);
  int64_t block_rows, block_columns;
  void (*multiply)(const Product<acc_t>&);
};

// The table for the vector unit that this process uses.
template <typename scalar_t>
const Kernels<scalar_t>& kernels();

}  // namespace deformlab::deform_conv2d
