/* The two passes of a step of Adam with factored second moments, over one matrix of weights.

   The weights are float32 with -DFLOAT32, else bfloat16, which have a residual each: what their precision cannot hold.
   gradients, weights, residuals, momenta  [rows][columns]
   is_pruned                               whether a weight of zero is pruned: it has no gradient, and stays zero */
#include <stdint.h>
#include <string.h>

#ifdef FLOAT32
typedef float stored;
static inline float read(stored value) { return value; }
static inline stored rounded(float value) { return value; }
static inline int is_zero(stored value) { return value == 0; }
#else
typedef uint16_t stored;
static inline float read(stored value) {
  uint32_t bits = (uint32_t)value << 16;
  float wide;
  memcpy(&wide, &bits, 4);
  return wide;
}
static inline stored rounded(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return (stored)((bits & 0x7fffffff) > 0x7f800000 ? bits >> 16 | 64 : nearest); /* not a number stays one */
}
static inline int is_zero(stored value) { return !(value & 0x7fff); }
#endif

/* Sums of squared gradients of kept weights: of_rows [rows], and of_columns [blocks][columns], which is zero before, for
   each block of so many rows (height). The blocks do not depend on the number of threads, nor do the sums. */
void sums_of_squares(const stored *restrict gradients, const stored *restrict weights, float *restrict of_rows,
                     float *restrict of_columns, int64_t rows, int64_t columns, int64_t height, int is_pruned) {
#pragma omp parallel for schedule(static)
  for (int64_t first = 0; first < rows; first += height) {
    float *restrict sums = of_columns + first / height * columns;
    int64_t end = first + height < rows ? first + height : rows;
    for (int64_t row = first; row < end; row++) {
      const stored *restrict g = gradients + row * columns;
      const stored *restrict w = weights + row * columns;
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t column = 0; column < columns; column++) {
        float gradient = read(g[column]);
        float square = is_pruned & is_zero(w[column]) ? 0 : gradient * gradient;
        sums[column] += square;
        sum += square;
      }
      of_rows[row] = sum;
    }
  }
}

/* Move the momenta towards the gradients by the share fresh, and the weights along the momenta times of_rows [rows] and
   of_columns [columns]. A kept weight at zero would be one that is pruned, so smallest is added to each. */
void move(const stored *restrict gradients, stored *restrict weights, stored *restrict residuals,
          stored *restrict momenta, const float *restrict of_rows, const float *restrict of_columns, int64_t rows,
          int64_t columns, float width, float fresh, float smallest, int is_pruned) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const stored *restrict g = gradients + row * columns;
    stored *restrict w = weights + row * columns;
    stored *restrict m = momenta + row * columns;
    float of_row = of_rows[row];
#ifndef FLOAT32
    stored *restrict r = residuals + row * columns;
#endif
#pragma omp simd
    for (int64_t column = 0; column < columns; column++) {
      int is_kept = !(is_pruned & is_zero(w[column]));
      float gradient = is_kept ? read(g[column]) : 0;
      float momentum = read(m[column]);
      momentum += fresh * (gradient - momentum);
      m[column] = rounded(momentum);
      float exact = read(w[column]);
#ifndef FLOAT32
      exact += read(r[column]);
#endif
      exact -= width * (momentum * of_row * of_columns[column]);
      if (is_pruned) exact = is_kept ? exact + smallest : 0;
      w[column] = rounded(exact);
#ifndef FLOAT32
      r[column] = rounded(exact - read(w[column]));
#endif
    }
  }
}
