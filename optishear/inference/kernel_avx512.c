/* Matrix times vector for packed weights, with AVX-512: VBMI2 expands, BF16 multiplies.

   mask    [rows][words], bit i % 32 of word i / 32 of a row says whether its weight i is kept
   values  the kept weights in row-major order, with 64 readable bytes behind the last
   starts  [rows], where a row's values begin
   x       [32 * words], y [rows], dense [rows][32 * words] */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static uint16_t to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64); /* not a number stays one */
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline __m512i expand_16bit(uint32_t mask, const uint16_t **values) {
  __m512i weights = _mm512_maskz_expand_epi16(mask, _mm512_loadu_si512(*values));
  *values += __builtin_popcount(mask);
  return weights;
}

static inline __m512 expand_32bit(uint32_t mask, const float **values) {
  __m512 weights = _mm512_maskz_expand_ps((__mmask16)mask, _mm512_loadu_ps(*values));
  *values += __builtin_popcount(mask & 0xffff);
  return weights;
}

void matvec_bfloat16(const uint32_t *mask, const uint16_t *values, const int64_t *starts, const uint16_t *x,
                     uint16_t *y, int64_t rows, int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t *kept = values + starts[row];
    const uint32_t *bits = mask + row * words;
    /* Two sums, so that one product need not wait for the one before. */
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    int64_t word = 0;
    for (; word + 2 <= words; word += 2) {
      __m512i first = expand_16bit(bits[word], &kept);
      __m512i second = expand_16bit(bits[word + 1], &kept);
      even = _mm512_dpbf16_ps(even, (__m512bh)first, (__m512bh)_mm512_loadu_si512(x + 32 * word));
      odd = _mm512_dpbf16_ps(odd, (__m512bh)second, (__m512bh)_mm512_loadu_si512(x + 32 * word + 32));
    }
    if (word < words) {
      __m512i last = expand_16bit(bits[word], &kept);
      even = _mm512_dpbf16_ps(even, (__m512bh)last, (__m512bh)_mm512_loadu_si512(x + 32 * word));
    }
    y[row] = to_bfloat16(_mm512_reduce_add_ps(_mm512_add_ps(even, odd)));
  }
}

void matvec_float32(const uint32_t *mask, const float *values, const int64_t *starts, const float *x, float *y,
                    int64_t rows, int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const float *kept = values + starts[row];
    const uint32_t *bits = mask + row * words;
    __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
    for (int64_t word = 0; word < words; word++) {
      __m512 first = expand_32bit(bits[word], &kept);
      __m512 second = expand_32bit(bits[word] >> 16, &kept);
      low = _mm512_fmadd_ps(first, _mm512_loadu_ps(x + 32 * word), low);
      high = _mm512_fmadd_ps(second, _mm512_loadu_ps(x + 32 * word + 16), high);
    }
    y[row] = _mm512_reduce_add_ps(_mm512_add_ps(low, high));
  }
}

void expand_bfloat16(const uint32_t *mask, const uint16_t *values, const int64_t *starts, uint16_t *dense,
                     int64_t rows, int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t *kept = values + starts[row];
    for (int64_t word = row * words; word < (row + 1) * words; word++)
      _mm512_storeu_si512(dense + 32 * word, expand_16bit(mask[word], &kept));
  }
}

void expand_float32(const uint32_t *mask, const float *values, const int64_t *starts, float *dense, int64_t rows,
                    int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const float *kept = values + starts[row];
    for (int64_t word = row * words; word < (row + 1) * words; word++) {
      _mm512_storeu_ps(dense + 32 * word, expand_32bit(mask[word], &kept));
      _mm512_storeu_ps(dense + 32 * word + 16, expand_32bit(mask[word] >> 16, &kept));
    }
  }
}
