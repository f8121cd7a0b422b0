// Attention of a prompt's rows on processors with AMX: keys, values and weights in bfloat16, sums in float32.
//
// A row's numbers depend on what it sees alone: weights of what it does not see are 0, and sums go from the first
// position on.
#pragma once

#include "attention.hpp"
#include "wide.hpp"

constexpr int64_t WIDE_ROWS = 32;  // of one sequence, for which keys and values are unpacked once

inline int64_t whole_pairs(int64_t positions) { return (positions + 31) / 32 * 32; }  // positions in pairs of pages

// Keys and values of one head of one sequence, and what 16 rows make of them.
struct WideScores {
    // No positions: only what was written is run.
    WideScores(int64_t positions, int64_t width)
        : padded((width + 31) / 32 * 32), keys(positions * padded), values(positions * width), weights(16 * positions),
          queries(16 * padded), scores(16 * positions), sums(16 * width) {}

    int64_t padded;  // the width in whole tiles; what is beyond it stays 0
    std::vector<uint16_t> keys;  // [positions / 16, padded / 2, 16, 2]
    std::vector<uint16_t> values;  // [positions / 32, width / 16, 16, 16, 2]
    std::vector<uint16_t> weights;  // [16, positions]
    std::vector<uint16_t> queries;  // [16, padded]
    std::vector<float> scores;  // [16, positions]
    std::vector<float> sums;  // [16, width]
};

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

inline void unpack_keys(const Pages& pages, int64_t positions, int64_t width, WideScores& w) {
    for (int64_t p = 0; p < (positions + PAGE - 1) / PAGE; ++p) {
        const uint16_t* from = pages.key(p);
        uint16_t* to = w.keys.data() + p * w.padded * PAGE;
        for (int64_t d = 0; d < width; d += 2, to += 32) put_pair(widened(from + d * PAGE), widened(from + (d + 1) * PAGE), to);
    }
}

inline void unpack_values(const Pages& pages, int64_t positions, int64_t width, WideScores& w) {
    uint16_t* to = w.values.data();
    const auto value = [&](int64_t position, int64_t d) {
        return position < positions ? widened(pages.value(position / PAGE) + position % PAGE * width + d) : zeros();
    };
    for (int64_t first = 0; first < positions; first += 32)
        for (int64_t d = 0; d < width; d += 16)
            for (int64_t pair = first; pair < first + 32; pair += 2, to += 32) put_pair(value(pair, d), value(pair + 1, d), to);
}

// Products of 16 queries with all positions.
inline void score_wide(WideScores& w, int64_t positions) {
    const int64_t stride = whole_pairs(positions);
    for (int64_t p = 0; p < (positions + PAGE - 1) / PAGE; ++p) {
        _tile_zero(0);
        for (int64_t d = 0; d < w.padded; d += 32) {
            _tile_loadd(4, w.queries.data() + d, w.padded * 2);
            _tile_loadd(6, w.keys.data() + (p * w.padded + d) * PAGE, 64);
            _tile_dpbf16ps(0, 4, 6);
        }
        _tile_stored(0, w.scores.data() + p * PAGE, stride * 4);
    }
}

// The softmax of the first `seen` scores as weights; those of other positions are 0.
inline void weigh_wide(const float* scores, int64_t seen, int64_t positions, uint16_t* weights, float* exponentials) {
    const __mmask16 rest = static_cast<__mmask16>((1u << (seen % 16)) - 1);
    const int64_t whole = seen / 16 * 16;
    const __m512 lowest = _mm512_set1_ps(-1e30f);
    const auto at = [&](int64_t i) { return i < whole ? _mm512_loadu_ps(scores + i) : _mm512_mask_loadu_ps(lowest, rest, scores + i); };
    __m512 most = lowest, sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < seen; i += 16) most = _mm512_max_ps(most, at(i));
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (int64_t i = 0; i < seen; i += 16) {
        const __m512 all_lanes = exponential(_mm512_sub_ps(at(i), most));
        const __m512 y = i < whole ? all_lanes : _mm512_maskz_mov_ps(rest, all_lanes);
        _mm512_storeu_ps(exponentials + i, y);
        sum = _mm512_add_ps(sum, y);
    }
    const __m512 factor = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
    for (int64_t i = 0; i < positions; i += 16) {
        const __m512 y = i < seen ? _mm512_mul_ps(_mm512_loadu_ps(exponentials + i), factor) : _mm512_setzero_ps();
        put_rounded(y, weights + i);
    }
}

// 16 rows of weights times the values: 64 or 16 columns at once.
template <int TILES>
inline void sum_wide(WideScores& w, int64_t d, int64_t positions, int64_t width) {
    const int64_t stride = whole_pairs(positions);
    const uint16_t* values = w.values.data() + d * 32;
    _tile_zero(0);
    if constexpr (TILES == 4) {
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t first = 0; first < positions; first += 32, values += 32 * width) {
        _tile_loadd(4, w.weights.data() + first, stride * 2);
        _tile_loadd(6, values, 64);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (TILES == 4) {
            _tile_loadd(7, values + 512, 64);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(6, values + 1024, 64);
            _tile_dpbf16ps(2, 4, 6);
            _tile_loadd(7, values + 1536, 64);
            _tile_dpbf16ps(3, 4, 7);
        }
    }
    float* to = w.sums.data() + d;
    _tile_stored(0, to, width * 4);
    if constexpr (TILES == 4) {
        _tile_stored(1, to + 16, width * 4);
        _tile_stored(2, to + 32, width * 4);
        _tile_stored(3, to + 48, width * 4);
    }
}

// At most 16 rows from `first` on, one of the heads that share keys and values.
inline void attend_rows(const Queries& q, int64_t first, int64_t head, WideScores& w) {
    const int64_t rows = std::min<int64_t>(16, q.rows - first), positions = q.length + first + rows - 1, stride = whole_pairs(positions);
    for (int64_t r = 0; r < rows; ++r) round(q.query((first + r) * q.shared + head), q.width, w.queries.data() + r * w.padded);
    asm volatile("" ::: "memory");
    score_wide(w, positions);
    asm volatile("" ::: "memory");
    for (int64_t r = 0; r < rows; ++r) {
        float* scores = w.scores.data() + r * stride;
        weigh_wide(scores, q.length + first + r, stride, w.weights.data() + r * stride, scores);
    }
    asm volatile("" ::: "memory");
    int64_t d = 0;
    for (; d + 64 <= q.width; d += 64) sum_wide<4>(w, d, positions, q.width);
    for (; d < q.width; d += 16) sum_wide<1>(w, d, positions, q.width);
    asm volatile("" ::: "memory");
    for (int64_t r = 0; r < rows; ++r) std::copy_n(w.sums.data() + r * q.width, q.width, q.answer((first + r) * q.shared + head));
}

inline void attend_wide(const Queries& q, const Pages& pages, WideScores& w, AmxTiles& amx) {
    const int64_t positions = q.length + q.rows - 1;
    configure_wide(amx);
    unpack_keys(pages, positions, q.width, w);
    unpack_values(pages, positions, q.width, w);
    for (int64_t first = 0; first < q.rows; first += 16)
        for (int64_t head = 0; head < q.shared; ++head) attend_rows(q, first, head, w);
}

#else

inline void attend_wide(const Queries&, const Pages&, WideScores&, AmxTiles&) {}

#endif
