// Rows times a whole matrix, shared by a team. What was written: few rows by `blocks.hpp`, many by `amx.hpp`, to the
// same bits. A prompt's rows, where the processor can: by `wide.hpp`.
#pragma once

#include "team.hpp"
#include "wide.hpp"

// All rows of a step: those before `narrow` in whole numbers, the others in bfloat16.
struct Activations {
    int64_t rows, narrow;
    Quantised whole;
    Rounded wide;

    void set(const float* x, int64_t n) const {
        if (n < narrow)
            quantise(x, whole, n);
        else
            round(x, wide.columns, wide.row(n - narrow));
    }
};

// What one thread multiplies with; panels only where a prompt is read.
struct Unpacking {
    Unpacking(int64_t columns, bool is_wide) : tile(columns), panels{Panel(is_wide * columns), Panel(is_wide * columns)} {}

    AmxTiles* amx = nullptr;  // of the thread
    Unpacked tile;
    Panel panels[2];
};

template <int BITS, int M, class Store>
inline void multiply_rows(const uint8_t* tile, int64_t index, const Quantised& x, int64_t first, const Store& store) {
    __m256 out[M][2];
    multiply<BITS, M>(tile, x, first, out);
    for (int m = 0; m < M; ++m) store(first + m, index, out[m][0], out[m][1]);
}

// All rows from n on, M at once as long as there are so many, then half as many.
template <int BITS, int M, class Store>
inline void multiply_rest(const uint8_t* tile, int64_t index, const Quantised& x, int64_t n, int64_t rows, const Store& store) {
    for (; n + M <= rows; n += M) multiply_rows<BITS, M>(tile, index, x, n, store);
    if constexpr (M > 1) multiply_rest<BITS, M / 2>(tile, index, x, n, rows, store);
}

template <int BITS, class Store>
inline void multiply_tile(const uint8_t* tile, int64_t index, const Quantised& x, int64_t rows, const Store& store,
                          [[maybe_unused]] Unpacking& unpacking) {
    int64_t n = 0;
#ifdef __AMX_INT8__
    if (rows >= AMX_LEAST && may_use_amx()) {
        configure_narrow(*unpacking.amx);
        unpacking.tile.read<BITS>(tile, x.columns / BLOCK);
        for (; rows - n >= ROWS / 2; n += ROWS) multiply_amx(unpacking.tile, index, x, n, rows, store, std::make_index_sequence<ROWS>());
    }
#endif
    multiply_rest<BITS, AT_ONCE>(tile, index, x, n, rows, store);
}

template <int BITS, int TILES, class Store>
inline void multiply_tiles(const Matrix& w, int64_t index, const Activations& x, const Store& store, Unpacking& unpacking) {
    for (int t = 0; t < TILES; ++t) multiply_tile<BITS>(w.tile(index + t), index + t, x.whole, x.narrow, store, unpacking);
#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
    if (x.narrow == x.rows) return;
    configure_wide(*unpacking.amx);
    for (int t = 0; t < TILES; ++t) unpacking.panels[t].template read<BITS>(w.tile(index + t), w.blocks());
    multiply_panels<TILES>(unpacking.panels, index, x.wide, x.rows - x.narrow, x.narrow, store);
#endif
}

// All rows times all tiles, two at a time; `store` takes (row, tile, its first 8 results, the others).
template <class Store>
inline void multiply_all(Team& team, const Matrix& w, const Activations& x, const Store& store, Unpacking& unpacking) {
    const int64_t count = w.rows / TILE, pairs = (count + 1) / 2;
    team.share(pairs, std::max<int64_t>(1, pairs / 32), [&](int64_t i) {
        const bool both = 2 * i + 1 < count;
        if (w.bits == 4)
            both ? multiply_tiles<4, 2>(w, 2 * i, x, store, unpacking) : multiply_tiles<4, 1>(w, 2 * i, x, store, unpacking);
        else
            both ? multiply_tiles<8, 2>(w, 2 * i, x, store, unpacking) : multiply_tiles<8, 1>(w, 2 * i, x, store, unpacking);
    });
}

// Whole numbers times the listed tiles.
template <class Store>
inline void multiply_listed(Team& team, const Matrix& w, const Quantised& x, int64_t rows, const int32_t* tiles, int64_t count,
                            const Store& store, Unpacking& unpacking) {
    team.share(count, std::max<int64_t>(1, count / 32), [&](int64_t i) {
        if (w.bits == 4)
            multiply_tile<4>(w.tile(tiles[i]), tiles[i], x, rows, store, unpacking);
        else
            multiply_tile<8>(w.tile(tiles[i]), tiles[i], x, rows, store, unpacking);
    });
}
