/* Matrix times vector for packed weights, with AVX2: eight mask bits look up the shuffle that expands eight weights.

   The arguments are those of kernel_avx512.c. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* Where each of eight weights comes from among those that are kept; the top bit says that it is zero. */
static uint8_t bytes_of[256][16] __attribute__((aligned(64)));
static int32_t lanes_of[256][8] __attribute__((aligned(64)));

__attribute__((constructor)) static void fill_tables(void) {
  for (int mask = 0; mask < 256; mask++) {
    int kept = 0;
    for (int weight = 0; weight < 8; weight++) {
      int is_kept = mask >> weight & 1;
      bytes_of[mask][2 * weight] = is_kept ? (uint8_t)(2 * kept) : 0x80;
      bytes_of[mask][2 * weight + 1] = is_kept ? (uint8_t)(2 * kept + 1) : 0x80;
      lanes_of[mask][weight] = is_kept ? kept : INT32_MIN;
      kept += is_kept;
    }
  }
}

static uint16_t to_bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64); /* not a number stays one */
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline __m128i expand_16bit(uint32_t mask, const uint16_t **values) {
  __m128i shuffle = _mm_load_si128((const __m128i *)bytes_of[mask & 255]);
  __m128i weights = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)*values), shuffle);
  *values += __builtin_popcount(mask & 255);
  return weights;
}

static inline __m256 expand_32bit(uint32_t mask, const float **values) {
  __m256i lanes = _mm256_load_si256((const __m256i *)lanes_of[mask & 255]);
  __m256 weights = _mm256_permutevar8x32_ps(_mm256_loadu_ps(*values), lanes);
  *values += __builtin_popcount(mask & 255);
  return _mm256_blendv_ps(weights, _mm256_setzero_ps(), _mm256_castsi256_ps(lanes));
}

static inline __m256 widen(__m128i bfloat16) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bfloat16), 16));
}

static inline float sum_of(const __m256 *sums) {
  __m256 four = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

void matvec_bfloat16(const uint32_t *mask, const uint16_t *values, const int64_t *starts, const uint16_t *x,
                     uint16_t *y, int64_t rows, int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t *kept = values + starts[row];
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int64_t word = 0; word < words; word++) {
      uint32_t bits = mask[row * words + word];
#pragma GCC unroll 4
      for (int part = 0; part < 4; part++) {
        __m256 weights = widen(expand_16bit(bits >> 8 * part, &kept));
        __m256 inputs = widen(_mm_loadu_si128((const __m128i *)(x + 32 * word + 8 * part)));
        sums[part] = _mm256_fmadd_ps(weights, inputs, sums[part]);
      }
    }
    y[row] = to_bfloat16(sum_of(sums));
  }
}

void matvec_float32(const uint32_t *mask, const float *values, const int64_t *starts, const float *x, float *y,
                    int64_t rows, int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const float *kept = values + starts[row];
    __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int64_t word = 0; word < words; word++) {
      uint32_t bits = mask[row * words + word];
#pragma GCC unroll 4
      for (int part = 0; part < 4; part++) {
        __m256 weights = expand_32bit(bits >> 8 * part, &kept);
        sums[part] = _mm256_fmadd_ps(weights, _mm256_loadu_ps(x + 32 * word + 8 * part), sums[part]);
      }
    }
    y[row] = sum_of(sums);
  }
}

void expand_bfloat16(const uint32_t *mask, const uint16_t *values, const int64_t *starts, uint16_t *dense,
                     int64_t rows, int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const uint16_t *kept = values + starts[row];
    for (int64_t word = row * words; word < (row + 1) * words; word++)
      for (int part = 0; part < 4; part++)
        _mm_storeu_si128((__m128i *)(dense + 32 * word + 8 * part), expand_16bit(mask[word] >> 8 * part, &kept));
  }
}

void expand_float32(const uint32_t *mask, const float *values, const int64_t *starts, float *dense, int64_t rows,
                    int64_t words) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const float *kept = values + starts[row];
    for (int64_t word = row * words; word < (row + 1) * words; word++)
      for (int part = 0; part < 4; part++)
        _mm256_storeu_ps(dense + 32 * word + 8 * part, expand_32bit(mask[word] >> 8 * part, &kept));
  }
}
