// Matrices in blocks of 32 numbers of a row, each number `scale * q + least`, times rows of int8.
//
// A tile is 16 rows of the matrix; its blocks follow each other: the q of all 16 rows, then 16 scales, then 16 leasts.
// Within a block, 32 bytes hold 4 consecutive columns of 8 rows; with 4 bits, the next 4 columns lie in the high halves.
// Sums within a block are whole numbers and blocks are added in order, so a result never depends on its neighbours.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

constexpr int64_t BLOCK = 32;
constexpr int64_t TILE = 16;

struct Matrix {
    const uint8_t* tiles;
    int64_t rows;  // a multiple of TILE
    int64_t columns;  // a multiple of BLOCK
    int64_t bits;  // 4: q up to 15; 8: q up to 127, so that two products fit in 16 bits

    int64_t blocks() const { return columns / BLOCK; }
    int64_t block_bytes() const { return TILE * BLOCK * bits / 8 + TILE * 4; }
    const uint8_t* tile(int64_t index) const { return tiles + index * blocks() * block_bytes(); }
};

constexpr int64_t ROWS = 16;

// Rows of activations: int8, with the scale of each block and scale times the sum of the block, those of 16 rows side
// by side: [rows / 16, blocks, 16]. There is memory for a multiple of 16 rows.
struct Quantised {
    int8_t* q;
    float* scales;
    float* sums;
    int64_t columns;

    int8_t* row(int64_t n) const { return q + n * columns; }
    float* scales_of(int64_t n) const { return scales + n / ROWS * (columns / BLOCK * ROWS) + n % ROWS; }
    float* sums_of(int64_t n) const { return sums + n / ROWS * (columns / BLOCK * ROWS) + n % ROWS; }
};

inline float largest(__m256 v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}

inline float total(__m256 v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

inline void quantise(const float* x, const Quantised& out, int64_t n) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    for (int64_t b = 0; b < out.columns / BLOCK; ++b) {
        const float* from = x + b * BLOCK;
        __m256 most = _mm256_setzero_ps();
        for (int i = 0; i < 4; ++i) most = _mm256_max_ps(most, _mm256_andnot_ps(sign, _mm256_loadu_ps(from + 8 * i)));
        const float scale = largest(most) / 127.0f;
        const __m256 factor = _mm256_set1_ps(scale > 0 ? 1.0f / scale : 0.0f);
        __m256i whole[4];
        __m256i sum = _mm256_setzero_si256();
        for (int i = 0; i < 4; ++i) {
            whole[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from + 8 * i), factor));
            sum = _mm256_add_epi32(sum, whole[i]);
        }
        const __m256i low = _mm256_packs_epi32(whole[0], whole[1]), high = _mm256_packs_epi32(whole[2], whole[3]);
        const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.row(n) + b * BLOCK), bytes);
        out.scales_of(n)[b * ROWS] = scale;
        out.sums_of(n)[b * ROWS] = scale * total(_mm256_cvtepi32_ps(sum));
    }
}

#if defined(__AVX512F__) && defined(__AVX512VNNI__)

// Rows of activations that one reading of a tile serves.
constexpr int AT_ONCE = 8;

inline __m512i four(const int8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, 4);
    return _mm512_set1_epi32(bytes);
}

inline __m512 halves(const uint8_t* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

// M rows of activations times one tile: out[m][0] has its first 8 rows, out[m][1] the others.
template <int BITS, int M>
inline void multiply(const uint8_t* tile, const Quantised& x, int64_t first, __m256 out[M][2]) {
    const int8_t* q[M];
    const float *scales[M], *totals[M];
    __m512 results[M];
    for (int m = 0; m < M; ++m) {
        q[m] = x.row(first + m), scales[m] = x.scales_of(first + m), totals[m] = x.sums_of(first + m);
        results[m] = _mm512_setzero_ps();
    }
    const __m512i low_half = _mm512_set1_epi8(15);
    constexpr int64_t DATA = TILE * BLOCK * BITS / 8;
    for (int64_t b = 0; b < x.columns / BLOCK; ++b, tile += DATA + TILE * 4) {
        __m512i sums[M];
        for (auto& sum : sums) sum = _mm512_setzero_si512();
        for (int64_t line = 0; line < DATA; line += 64) {
            _mm_prefetch(reinterpret_cast<const char*>(tile + 2048 + line), _MM_HINT_T0);
            const __m512i bytes = _mm512_loadu_si512(tile + line);
            if constexpr (BITS == 4) {
                const __m512i low = _mm512_and_si512(bytes, low_half);
                const __m512i high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low_half);
                for (int m = 0; m < M; ++m) sums[m] = _mm512_dpbusd_epi32(sums[m], low, four(q[m] + b * BLOCK + line / 8));
                for (int m = 0; m < M; ++m) sums[m] = _mm512_dpbusd_epi32(sums[m], high, four(q[m] + b * BLOCK + line / 8 + 4));
            } else {
                for (int m = 0; m < M; ++m) sums[m] = _mm512_dpbusd_epi32(sums[m], bytes, four(q[m] + b * BLOCK + line / 16));
            }
        }
        const __m512 scale = halves(tile + DATA), least = halves(tile + DATA + TILE * 2);
        for (int m = 0; m < M; ++m) {
            const __m512 weighted = _mm512_mul_ps(scale, _mm512_set1_ps(scales[m][b * ROWS]));
            results[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[m]), weighted, results[m]);
            results[m] = _mm512_fmadd_ps(least, _mm512_set1_ps(totals[m][b * ROWS]), results[m]);
        }
    }
    for (int m = 0; m < M; ++m) {
        out[m][0] = _mm512_castps512_ps256(results[m]);
        out[m][1] = _mm512_extractf32x8_ps(results[m], 1);
    }
}

#else

constexpr int AT_ONCE = 4;

// The sum of products of unsigned q and signed activations, 8 rows side by side, within one block.
template <int BITS>
struct Sum {
    __m256i value = _mm256_setzero_si256();

    void add(__m256i q, __m256i x) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
        value = _mm256_dpbusd_epi32(value, q, x);
#else
        const __m256i pairs = _mm256_maddubs_epi16(q, x);
        if constexpr (BITS == 4)
            value = _mm256_add_epi16(value, pairs);  // 8 times 2 * 15 * 127 fits in 16 bits
        else
            value = _mm256_add_epi32(value, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
#endif
    }

    __m256 floats() const {
#if !(defined(__AVX512VNNI__) && defined(__AVX512VL__))
        if constexpr (BITS == 4) return _mm256_cvtepi32_ps(_mm256_madd_epi16(value, _mm256_set1_epi16(1)));
#endif
        return _mm256_cvtepi32_ps(value);
    }
};

inline __m256i four(const int8_t* x) {
    int32_t bytes;
    std::memcpy(&bytes, x, 4);
    return _mm256_set1_epi32(bytes);
}

inline __m256 halves(const uint8_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// M rows of activations times one tile: out[m][0] has its first 8 rows, out[m][1] the others.
template <int BITS, int M>
inline void multiply(const uint8_t* tile, const Quantised& x, int64_t first, __m256 out[M][2]) {
    const int8_t* q[M];
    const float *scales[M], *totals[M];
    for (int m = 0; m < M; ++m) q[m] = x.row(first + m), scales[m] = x.scales_of(first + m), totals[m] = x.sums_of(first + m);
    for (int m = 0; m < M; ++m) out[m][0] = out[m][1] = _mm256_setzero_ps();
    const __m256i low_half = _mm256_set1_epi8(15);
    constexpr int64_t DATA = TILE * BLOCK * BITS / 8;
    for (int64_t b = 0; b < x.columns / BLOCK; ++b, tile += DATA + TILE * 4) {
        Sum<BITS> sums[M][2];
        for (int64_t line = 0; line < DATA; line += 64) _mm_prefetch(reinterpret_cast<const char*>(tile + 2048 + line), _MM_HINT_T0);
        for (int g = 0; g < DATA / 64; ++g) {
            for (int half = 0; half < 2; ++half) {
                const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile + (g * 2 + half) * 32));
                if constexpr (BITS == 4) {
                    const __m256i low = _mm256_and_si256(bytes, low_half);
                    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low_half);
                    for (int m = 0; m < M; ++m) {
                        sums[m][half].add(low, four(q[m] + b * BLOCK + g * 8));
                        sums[m][half].add(high, four(q[m] + b * BLOCK + g * 8 + 4));
                    }
                } else {
                    for (int m = 0; m < M; ++m) sums[m][half].add(bytes, four(q[m] + b * BLOCK + g * 4));
                }
            }
        }
        for (int half = 0; half < 2; ++half) {
            const __m256 scale = halves(tile + DATA + half * 16), least = halves(tile + DATA + TILE * 2 + half * 16);
            for (int m = 0; m < M; ++m) {
                const __m256 weighted = _mm256_mul_ps(scale, _mm256_broadcast_ss(scales[m] + b * ROWS));
                out[m][half] = _mm256_fmadd_ps(sums[m][half].floats(), weighted, out[m][half]);
                out[m][half] = _mm256_fmadd_ps(least, _mm256_broadcast_ss(totals[m] + b * ROWS), out[m][half]);
            }
        }
    }
}

#endif
