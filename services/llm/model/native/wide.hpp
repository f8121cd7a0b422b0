// Products of a prompt's rows on processors with AMX: both sides rounded to bfloat16, summed in float32.
//
// A result is summed in one order, which only the matrix decides: it has the same bits however its prompt was cut.
#pragma once

#include "amx.hpp"

// Rows of activations in bfloat16, [rows, columns]; there is memory for a multiple of 16 rows.
struct Rounded {
    uint16_t* values;
    int64_t columns;

    uint16_t* row(int64_t n) const { return values + n * columns; }
};

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)

inline bool may_go_wide() { return may_use_amx(); }

// Tiles 0 to 3: sums of 16 rows times 16, [2, 2]. Tiles 4 and 5: rows of activations. Tiles 6 and 7: panels.
inline void configure_wide(AmxTiles& tiles) {
    tiles.use({{64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}});
}

inline void put_rounded(__m512 x, uint16_t* to) {
    const __m256bh rounded = _mm512_cvtneps_pbh(x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<const __m256i&>(rounded));
}

// A multiple of 16 numbers.
inline void round(const float* x, int64_t count, uint16_t* to) {
    for (int64_t i = 0; i < count; i += 16) put_rounded(_mm512_loadu_ps(x + i), to + i);
}

// Numbers of two rows side by side, as tiles want them: [16, 2].
inline void put_pair(__m512 first, __m512 second, uint16_t* to) {
    alignas(64) static constexpr uint16_t ORDER[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512bh both = _mm512_cvtne2ps_pbh(second, first);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(ORDER), reinterpret_cast<const __m512i&>(both)));
}

// A tile of the matrix in bfloat16, two columns of its 16 rows side by side: [columns / 2, 16, 2].
struct Panel {
    explicit Panel(int64_t columns) : values(columns * TILE) {}

    template <int BITS>
    void read(const uint8_t* tile, int64_t blocks) {
        constexpr int64_t DATA = TILE * BLOCK * BITS / 8, SIZE = DATA + TILE * 4;
        const __m512i low_half = _mm512_set1_epi8(15);
        uint16_t* to = values.data();
        for (int64_t b = 0; b < blocks; ++b, tile += SIZE) {
            for (int64_t line = 0; line < SIZE; line += 64) _mm_prefetch(reinterpret_cast<const char*>(tile + 4096 + line), _MM_HINT_T0);
            const __m512 scale = halves(tile + DATA), least = halves(tile + DATA + TILE * 2);
            for (int64_t line = 0; line < DATA; line += 64) {
                const __m512i bytes = _mm512_loadu_si512(tile + line);
                if constexpr (BITS == 4) {
                    to = put(_mm512_and_si512(bytes, low_half), scale, least, to);
                    to = put(_mm512_and_si512(_mm512_srli_epi16(bytes, 4), low_half), scale, least, to);
                } else {
                    to = put(bytes, scale, least, to);
                }
            }
        }
    }

    // 512 numbers: 32 columns.
    const uint16_t* columns_from(int64_t column) const { return values.data() + column * TILE; }

    std::vector<uint16_t> values;

private:
    // Four columns of each row.
    static uint16_t* put(__m512i bytes, __m512 scale, __m512 least, uint16_t* to) {
        const __m512i byte = _mm512_set1_epi32(255);
        const auto number = [&](__m512i q) { return _mm512_fmadd_ps(_mm512_cvtepi32_ps(q), scale, least); };
        put_pair(number(_mm512_and_si512(bytes, byte)), number(_mm512_and_si512(_mm512_srli_epi32(bytes, 8), byte)), to);
        put_pair(number(_mm512_and_si512(_mm512_srli_epi32(bytes, 16), byte)), number(_mm512_srli_epi32(bytes, 24)), to + 32);
        return to + 64;
    }
};

// 16 or 32 rows of activations times one or two panels: out [16 * A, 16 * B].
template <int A, int B>
inline void multiply_block(const uint16_t* x, int64_t columns, const Panel* panels, float* out) {
    const int64_t stride = columns * 2, line = B * TILE * 4;
    _tile_zero(0);
    if constexpr (B == 2) _tile_zero(1);
    if constexpr (A == 2) _tile_zero(2);
    if constexpr (A == 2 && B == 2) _tile_zero(3);
    for (int64_t c = 0; c < columns; c += 32) {
        _tile_loadd(4, x + c, stride);
        _tile_loadd(6, panels[0].columns_from(c), 64);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (B == 2) {
            _tile_loadd(7, panels[1].columns_from(c), 64);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (A == 2) {
            _tile_loadd(5, x + 16 * columns + c, stride);
            _tile_dpbf16ps(2, 5, 6);
        }
        if constexpr (A == 2 && B == 2) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, line);
    if constexpr (B == 2) _tile_stored(1, out + TILE, line);
    if constexpr (A == 2) _tile_stored(2, out + 16 * B * TILE, line);
    if constexpr (A == 2 && B == 2) _tile_stored(3, out + 16 * B * TILE + TILE, line);
}

// All rows times B panels, those of tiles `index` on; rows are told to `store` from `offset` on.
template <int B, class Store>
inline void multiply_panels(const Panel* panels, int64_t index, const Rounded& x, int64_t rows, int64_t offset, const Store& store) {
    alignas(64) float out[32 * B * TILE];
    asm volatile("" ::: "memory");  // What was unpacked has to be in memory before tiles are loaded.
    for (int64_t first = 0; first < rows; first += 32) {
        if (rows - first > 16)
            multiply_block<2, B>(x.row(first), x.columns, panels, out);
        else
            multiply_block<1, B>(x.row(first), x.columns, panels, out);
        asm volatile("" ::: "memory");
        for (int64_t n = first; n < std::min(rows, first + 32); ++n)
            for (int64_t b = 0; b < B; ++b) {
                const float* from = out + ((n - first) * B + b) * TILE;
                store(offset + n, index + b, _mm256_load_ps(from), _mm256_load_ps(from + 8));
            }
    }
}

#else

inline bool may_go_wide() { return false; }
inline void round(const float*, int64_t, uint16_t*) {}
struct Panel {
    explicit Panel(int64_t) {}
};

#endif
