// Rows times a whole matrix, shared by a team: few rows by `blocks.hpp`, many by `amx.hpp`, to the same bits.
#pragma once

#include "amx.hpp"
#include "team.hpp"

template <int BITS, int M, class Store>
inline void multiply_rows(const uint8_t* tile, int64_t index, const Quantised& x, int64_t first, const Store& store) {
    __m256 out[M][2];
    multiply<BITS, M>(tile, x, first, out);
    for (int m = 0; m < M; ++m) store(first + m, index, out[m][0], out[m][1]);
}

template <int BITS, class Store>
inline void multiply_tile(const uint8_t* tile, int64_t index, const Quantised& x, int64_t rows, const Store& store,
                          [[maybe_unused]] Unpacked& unpacked) {
    int64_t n = 0;
#ifdef __AMX_INT8__
    if (rows >= AMX_LEAST && may_use_amx()) {
        unpacked.read<BITS>(tile, x.columns / BLOCK);
        for (; rows - n >= ROWS / 2; n += ROWS) multiply_amx(unpacked, index, x, n, rows, store, std::make_index_sequence<ROWS>());
    }
#endif
    for (; n + 4 <= rows; n += 4) multiply_rows<BITS, 4>(tile, index, x, n, store);
    if (rows - n == 3) multiply_rows<BITS, 3>(tile, index, x, n, store);
    if (rows - n == 2) multiply_rows<BITS, 2>(tile, index, x, n, store);
    if (rows - n == 1) multiply_rows<BITS, 1>(tile, index, x, n, store);
}

// The tiles of a product: all of the matrix, or those listed.
struct Tiles {
    const int32_t* listed = nullptr;
    int64_t count = 0;
};

// All rows times the tiles; `store` takes (row, tile, its first 8 results, the others).
template <class Store>
inline void multiply_all(Team& team, const Matrix& w, const Quantised& x, int64_t rows, const Store& store,
                         Unpacked& unpacked, Tiles tiles = {}) {
    const int64_t count = tiles.listed ? tiles.count : w.rows / TILE;
    team.share(count, std::max<int64_t>(1, count / 32), [&](int64_t i) {
        const int64_t index = tiles.listed ? tiles.listed[i] : i;
        if (w.bits == 4)
            multiply_tile<4>(w.tile(index), index, x, rows, store, unpacked);
        else
            multiply_tile<8>(w.tile(index), index, x, rows, store, unpacked);
    });
}
