// Attention over pages of 16 positions. Keys lie as [width][16], values as [16][width], both in half precision.
#pragma once

#include <vector>

#include "blocks.hpp"

constexpr int64_t PAGE = 16;

// e^x for x <= 0 and far from overflow: 2^n times a polynomial of the rest (Cephes' coefficients).
inline __m256 exponential(__m256 x) {
    x = _mm256_max_ps(x, _mm256_set1_ps(-87.0f));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    x = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
    x = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), x);
    __m256 y = _mm256_set1_ps(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
        y = _mm256_fmadd_ps(y, x, _mm256_set1_ps(c));
    y = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(x, x), y, x), _mm256_set1_ps(1.0f));
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(y, _mm256_castsi256_ps(power));
}

// Queries of one sequence that share a key head, in order of position.
struct Queries {
    const float* const* q;
    float* const* out;
    const int64_t* lengths;  // positions that each of them sees
    int64_t count;
    int64_t width;
};

struct Pages {
    const uint16_t* keys;  // of one layer and head: page p lies at p * stride
    const uint16_t* values;
    const int32_t* table;
    int64_t stride;
};

// Scratch of one thread.
struct Workspace {
    std::vector<float> scores, page;
};

inline void widen(const uint16_t* from, float* to, int64_t count) {
    for (int64_t i = 0; i < count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
}

template <int Q>
inline void score(const float* const* q, const float* keys, int64_t width, float* scores, int64_t stride) {
    __m256 sums[Q][2];
    for (int i = 0; i < Q; ++i) sums[i][0] = sums[i][1] = _mm256_setzero_ps();
    for (int64_t d = 0; d < width; ++d) {
        const __m256 low = _mm256_loadu_ps(keys + d * PAGE), high = _mm256_loadu_ps(keys + d * PAGE + 8);
        for (int i = 0; i < Q; ++i) {
            const __m256 factor = _mm256_broadcast_ss(q[i] + d);
            sums[i][0] = _mm256_fmadd_ps(factor, low, sums[i][0]);
            sums[i][1] = _mm256_fmadd_ps(factor, high, sums[i][1]);
        }
    }
    for (int i = 0; i < Q; ++i) {
        _mm256_storeu_ps(scores + i * stride, sums[i][0]);
        _mm256_storeu_ps(scores + i * stride + 8, sums[i][1]);
    }
}

inline void softmax(float* scores, int64_t length) {
    const int64_t padded = (length + 7) / 8 * 8;
    for (int64_t i = length; i < padded; ++i) scores[i] = -1e30f;
    __m256 most = _mm256_loadu_ps(scores);
    for (int64_t i = 8; i < padded; i += 8) most = _mm256_max_ps(most, _mm256_loadu_ps(scores + i));
    most = _mm256_set1_ps(largest(most));
    __m256 sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < padded; i += 8) {
        const __m256 y = exponential(_mm256_sub_ps(_mm256_loadu_ps(scores + i), most));
        _mm256_storeu_ps(scores + i, y);
        sum = _mm256_add_ps(sum, y);
    }
    const __m256 factor = _mm256_set1_ps(1.0f / total(sum));
    for (int64_t i = 0; i < padded; i += 8) _mm256_storeu_ps(scores + i, _mm256_mul_ps(_mm256_loadu_ps(scores + i), factor));
}

template <int V>
inline void weigh(const float* scores, const float* values, int64_t width, int64_t count, float* out) {
    __m256 sums[V];
    for (int v = 0; v < V; ++v) sums[v] = _mm256_loadu_ps(out + v * 8);
    for (int64_t p = 0; p < count; ++p) {
        const __m256 factor = _mm256_broadcast_ss(scores + p);
        for (int v = 0; v < V; ++v) sums[v] = _mm256_fmadd_ps(factor, _mm256_loadu_ps(values + p * width + v * 8), sums[v]);
    }
    for (int v = 0; v < V; ++v) _mm256_storeu_ps(out + v * 8, sums[v]);
}

inline void attend(const Queries& queries, const Pages& pages, Workspace& work) {
    const int64_t width = queries.width;
    const int64_t used = (queries.lengths[queries.count - 1] + PAGE - 1) / PAGE;
    const int64_t stride = used * PAGE;
    work.scores.resize(std::max<size_t>(work.scores.size(), queries.count * stride));
    work.page.resize(width * PAGE);
    float *scores = work.scores.data(), *page = work.page.data();
    for (int64_t p = 0; p < used; ++p) {
        widen(pages.keys + pages.table[p] * pages.stride, page, width * PAGE);
        int64_t i = 0;
        for (; i + 4 <= queries.count; i += 4) score<4>(queries.q + i, page, width, scores + i * stride + p * PAGE, stride);
        const auto rest = queries.count - i == 3 ? score<3> : queries.count - i == 2 ? score<2> : score<1>;
        if (i < queries.count) rest(queries.q + i, page, width, scores + i * stride + p * PAGE, stride);
    }
    for (int64_t i = 0; i < queries.count; ++i) {
        softmax(scores + i * stride, queries.lengths[i]);
        std::fill_n(queries.out[i], width, 0.0f);
    }
    for (int64_t p = 0; p < used; ++p) {
        widen(pages.values + pages.table[p] * pages.stride, page, width * PAGE);
        for (int64_t i = 0; i < queries.count; ++i) {
            const int64_t seen = std::min(PAGE, queries.lengths[i] - p * PAGE);
            if (seen <= 0) continue;
            const float* weights = scores + i * stride + p * PAGE;
            int64_t d = 0;
            for (; d + 64 <= width; d += 64) weigh<8>(weights, page + d, width, seen, queries.out[i] + d);
            for (; d < width; d += 8) weigh<1>(weights, page + d, width, seen, queries.out[i] + d);
        }
    }
}
