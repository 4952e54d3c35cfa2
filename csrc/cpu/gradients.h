// What the backward pass gives.

#pragma once

#include <optional>

#include "tensors.h"

namespace deformlab {

struct Needs {
  bool input, offset, weight, mask;

  bool columns() const { return input || offset || mask; }
};

// Gradients, empty where nobody wants them: outputs of an operator must not share memory, so each has its own.
struct Gradients {
  Tensor input, offset, weight, mask;
};

}  // namespace deformlab
