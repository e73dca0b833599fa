// Deformable attention as plain loops on one core: what a compiled operator would cost on a CPU,
// for which mmcv compiles none. Built by operators.py; float32, contiguous, shapes as in
// mmseg_domino/operators/attention.py.

#include <cmath>
#include <cstdint>

namespace {

struct Sizes {
  int batch, positions, heads, channels, queries, levels, points;
};

// Calls visit(entry, row, x share, y share, signs of their slopes) for each neighbour read.
template <typename Visit>
void each_corner(const Sizes& s, const int64_t* shapes, const int64_t* starts, const float* places,
                 int image, int64_t head_of_query, int head, Visit visit) {
  for (int level = 0; level < s.levels; ++level) {
    const int height = shapes[2 * level], width = shapes[2 * level + 1];
    for (int point = 0; point < s.points; ++point) {
      const int64_t entry = (head_of_query * s.levels + level) * s.points + point;
      const float x = places[2 * entry] * width - 0.5f, y = places[2 * entry + 1] * height - 0.5f;
      const int left = std::floor(x), top = std::floor(y);
      for (int corner = 0; corner < 4; ++corner) {
        const int right = corner & 1, below = corner >> 1, column = left + right, row = top + below;
        if (column < 0 || row < 0 || column >= width || row >= height) continue;
        const int64_t position = starts[level] + int64_t(row) * width + column;
        const int64_t at = ((int64_t(image) * s.positions + position) * s.heads + head);
        const float share_x = right ? x - left : 1 - (x - left);
        const float share_y = below ? y - top : 1 - (y - top);
        visit(entry, at * s.channels, share_x, share_y, right ? width : -width,
              below ? height : -height);
      }
    }
  }
}

}  // namespace

extern "C" {

void forward(const Sizes* s, const float* value, const int64_t* shapes, const int64_t* starts,
             const float* places, const float* weights, float* output) {
  for (int64_t n = 0; n < int64_t(s->batch) * s->queries * s->heads; ++n) {
    float* out = output + n * s->channels;
    each_corner(*s, shapes, starts, places, n / (s->queries * s->heads), n, n % s->heads,
                [&](int64_t entry, int64_t at, float share_x, float share_y, int, int) {
                  const float share = weights[entry] * share_x * share_y;
                  for (int d = 0; d < s->channels; ++d) out[d] += share * value[at + d];
                });
  }
}

void backward(const Sizes* s, const float* value, const int64_t* shapes, const int64_t* starts,
              const float* places, const float* weights, const float* grad, float* grad_value,
              float* grad_places, float* grad_weights) {
  for (int64_t n = 0; n < int64_t(s->batch) * s->queries * s->heads; ++n) {
    const float* g = grad + n * s->channels;
    each_corner(*s, shapes, starts, places, n / (s->queries * s->heads), n, n % s->heads,
                [&](int64_t entry, int64_t at, float share_x, float share_y, int dx, int dy) {
                  const float share = weights[entry] * share_x * share_y;
                  float product = 0;
                  for (int d = 0; d < s->channels; ++d) {
                    product += g[d] * value[at + d];
                    grad_value[at + d] += share * g[d];
                  }
                  grad_weights[entry] += product * share_x * share_y;
                  grad_places[2 * entry] += product * weights[entry] * share_y * dx;
                  grad_places[2 * entry + 1] += product * weights[entry] * share_x * dy;
                });
  }
}
}
