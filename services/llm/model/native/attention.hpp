// Attention over pages of 16 positions. Keys lie as [width][16], values as [16][width], both in half precision.
#pragma once

#include "lanes.hpp"

constexpr int64_t PAGE = 16;

// Rows of one sequence, of each the `shared` heads that look at the same keys; row r sees the first `length` + r positions.
struct Queries {
    const float* q;
    float* out;
    int64_t q_stride, out_stride;  // from row to row
    int64_t rows, shared, width, length;

    int64_t count() const { return rows * shared; }
    const float* query(int64_t i) const { return q + i / shared * q_stride + i % shared * width; }
    float* answer(int64_t i) const { return out + i / shared * out_stride + i % shared * width; }
    int64_t sees(int64_t i) const { return length + i / shared; }
};

struct Pages {
    const uint16_t* keys;  // of one layer and head: page p lies at p * stride
    const uint16_t* values;
    const int32_t* table;
    int64_t stride;

    const uint16_t* key(int64_t p) const { return keys + table[p] * stride; }
    const uint16_t* value(int64_t p) const { return values + table[p] * stride; }
};

inline void fetch(const uint16_t* page, int64_t numbers) {
    for (int64_t i = 0; i < numbers; i += 32) _mm_prefetch(reinterpret_cast<const char*>(page + i), _MM_HINT_T0);
}

// Products of Q queries with the 16 keys of a page.
template <int Q>
inline void score(const Queries& queries, int64_t first, const uint16_t* keys, float* scores, int64_t stride) {
    constexpr int V = PAGE / LANES;
    const float* q[Q];
    Lanes sums[Q][V];
    for (int i = 0; i < Q; ++i) q[i] = queries.query(first + i);
    for (auto& row : sums)
        for (auto& sum : row) sum = zeros();
    for (int64_t d = 0; d < queries.width; ++d)
        for (int v = 0; v < V; ++v) {
            const Lanes key = widened(keys + d * PAGE + v * LANES);
            for (int i = 0; i < Q; ++i) sums[i][v] = multiply_add(all(q[i][d]), key, sums[i][v]);
        }
    for (int i = 0; i < Q; ++i)
        for (int v = 0; v < V; ++v) store(scores + (first + i) * stride + v * LANES, sums[i][v]);
}

// Add the values of a page at columns `d` on, each of its first `count` positions with its weight.
template <int Q, int V>
inline void weigh(const Queries& queries, int64_t first, const uint16_t* values, int64_t d, const float* weights,
                  int64_t stride, int64_t from, int64_t count) {
    Lanes sums[Q][V];
    for (int i = 0; i < Q; ++i)
        for (int v = 0; v < V; ++v) sums[i][v] = load(queries.answer(first + i) + d + v * LANES);
    for (int64_t p = from; p < count; ++p)
        for (int v = 0; v < V; ++v) {
            const Lanes value = widened(values + p * queries.width + d + v * LANES);
            for (int i = 0; i < Q; ++i) sums[i][v] = multiply_add(all(weights[(first + i) * stride + p]), value, sums[i][v]);
        }
    for (int i = 0; i < Q; ++i)
        for (int v = 0; v < V; ++v) store(queries.answer(first + i) + d + v * LANES, sums[i][v]);
}

template <int Q>
inline void weigh_columns(const Queries& queries, int64_t first, const uint16_t* values, const float* weights,
                          int64_t stride, int64_t from, int64_t count) {
    constexpr int V = 64 / LANES / (LANES == 16 ? 1 : 4);
    if (from >= count) return;
    int64_t d = 0;
    for (; d + V * LANES <= queries.width; d += V * LANES) weigh<Q, V>(queries, first, values, d, weights, stride, from, count);
    for (; d < queries.width; d += LANES) weigh<Q, 1>(queries, first, values, d, weights, stride, from, count);
}

// The same for Q queries, of which the later ones may see more positions of this page.
template <int Q>
inline void weigh_page(const Queries& queries, int64_t first, int64_t p, const Pages& pages, const float* scores, int64_t stride) {
    const auto seen = [&](int64_t i) { return std::clamp<int64_t>(queries.sees(i) - p * PAGE, 0, PAGE); };
    const int64_t common = seen(first);
    weigh_columns<Q>(queries, first, pages.value(p), scores + p * PAGE, stride, 0, common);
    for (int64_t i = first; i < first + Q; ++i)
        weigh_columns<1>(queries, i, pages.value(p), scores + p * PAGE, stride, common, seen(i));
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

// `scores` has room for each query's positions, filled up to whole pages.
inline void attend(const Queries& queries, const Pages& pages, float* scores) {
    constexpr int AT_ONCE = LANES == 16 ? 6 : 3;
    const int64_t count = queries.count(), size = queries.width * PAGE;
    const int64_t used = (queries.sees(count - 1) + PAGE - 1) / PAGE, stride = used * PAGE;
    for (int64_t p = 0; p < used; ++p) {
        fetch(p + 1 < used ? pages.key(p + 1) : pages.value(0), size);
        int64_t i = 0;
        for (; i + AT_ONCE <= count; i += AT_ONCE) score<AT_ONCE>(queries, i, pages.key(p), scores + p * PAGE, stride);
        for (; i + 3 <= count; i += 3) score<3>(queries, i, pages.key(p), scores + p * PAGE, stride);
        for (; i < count; ++i) score<1>(queries, i, pages.key(p), scores + p * PAGE, stride);
    }
    for (int64_t i = 0; i < count; ++i) {
        softmax(scores + i * stride, queries.sees(i));
        std::fill_n(queries.answer(i), queries.width, 0.0f);
    }
    for (int64_t p = 0; p < used; ++p) {
        if (p + 1 < used) fetch(pages.value(p + 1), size);
        int64_t i = 0;
        for (; i + AT_ONCE <= count; i += AT_ONCE) weigh_page<AT_ONCE>(queries, i, p, pages, scores, stride);
        for (; i + 3 <= count; i += 3) weigh_page<3>(queries, i, p, pages, scores, stride);
        for (; i < count; ++i) weigh_page<1>(queries, i, p, pages, scores, stride);
    }
}
