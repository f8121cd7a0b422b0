// Products of many rows on processors with AMX: 16 rows times 16 rows of the matrix at once, with the same bits as
// `blocks.hpp`, for the sums within a block are whole numbers and what follows is done in the same order.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "blocks.hpp"

#ifdef __AMX_INT8__

// Fewer rows are faster without it: what 4 bits hold is unpacked for it first.
constexpr int64_t AMX_LEAST = 17;

// Linux gives the tile registers to a process that asks for them.
inline bool may_use_amx() {
    constexpr long ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
    static const bool allowed = syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
    return allowed;
}

// The tile registers of one thread: their sizes are set when another kernel begins to use them.
class AmxTiles {
public:
    struct Sizes {
        uint8_t bytes[8], rows[8];

        bool operator==(const Sizes&) const = default;
    };

    ~AmxTiles() {
        if (in_use_.rows[0]) _tile_release();
    }

    void use(const Sizes& sizes) {
        if (sizes == in_use_) return;
        struct alignas(64) {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {};
            uint8_t rows[16] = {};
        } config;
        std::copy_n(sizes.bytes, 8, config.bytes);
        std::copy_n(sizes.rows, 8, config.rows);
        // Older compilers' `_tile_loadconfig` reads but the first 8 bytes, as far as they know.
        asm volatile("" ::"r"(&config) : "memory");
        _tile_loadconfig(&config);
        in_use_ = sizes;
    }

private:
    Sizes in_use_{};
};

// Tile 0: sums [16, 16]. Tile 1: a block of 16 rows of activations. Tile 2: a block of a tile of the matrix.
inline void configure_narrow(AmxTiles& tiles) { tiles.use({{64, BLOCK, 64}, {16, 16, BLOCK / 4}}); }

// A tile of the matrix with a byte for each q and floats for scales and leasts.
struct Unpacked {
    explicit Unpacked(int64_t columns) : bytes(columns * TILE), affine(columns / BLOCK * TILE * 2) {}

    template <int BITS>
    void read(const uint8_t* tile, int64_t blocks) {
        constexpr int64_t DATA = TILE * BLOCK * BITS / 8, SIZE = DATA + TILE * 4;
        const __m512i low_half = _mm512_set1_epi8(15);
        q = BITS == 8 ? tile : bytes.data();
        stride = BITS == 8 ? SIZE : TILE * BLOCK;
        for (int64_t b = 0; b < blocks; ++b, tile += SIZE) {
            for (int64_t line = 0; line < SIZE; line += 64) _mm_prefetch(reinterpret_cast<const char*>(tile + 4096 + line), _MM_HINT_T0);
            if constexpr (BITS == 4)
                for (int g = 0; g < 4; ++g) {
                    const __m512i both = _mm512_loadu_si512(tile + g * 64);
                    uint8_t* to = bytes.data() + b * TILE * BLOCK + g * 128;
                    _mm512_storeu_si512(to, _mm512_and_si512(both, low_half));
                    _mm512_storeu_si512(to + 64, _mm512_and_si512(_mm512_srli_epi16(both, 4), low_half));
                }
            for (int part = 0; part < 2; ++part)
                _mm512_storeu_ps(affine.data() + (b * 2 + part) * TILE, halves(tile + DATA + part * TILE * 2));
        }
    }

    std::vector<uint8_t> bytes;
    std::vector<float> affine;
    const uint8_t* q = nullptr;
    int64_t stride = 0;
};

// 16 rows of activations from `first` on, a multiple of 16, times an unpacked tile; those before `last` are stored.
// The rows are told apart at compile time (M), so that their results stay in registers.
template <class Store, size_t... M>
inline void multiply_amx(const Unpacked& w, int64_t index, const Quantised& x, int64_t first, int64_t last,
                         const Store& store, std::index_sequence<M...>) {
    alignas(64) int32_t sums[2][sizeof...(M)][TILE];
    __m512 out[] = {(static_cast<void>(M), _mm512_setzero_ps())...};
    const float *scales = x.scales_of(first), *totals = x.sums_of(first), *affine = w.affine.data();
    asm volatile("" ::: "memory");  // What was unpacked has to be in memory before tiles are loaded.
    for (int64_t b = 0; b < x.columns / BLOCK; ++b, scales += ROWS, totals += ROWS, affine += 2 * TILE) {
        auto& sum = sums[b % 2];
        _tile_zero(0);
        _tile_loadd(1, x.row(first) + b * BLOCK, x.columns);
        _tile_loadd(2, w.q + b * w.stride, 64);
        _tile_dpbsud(0, 1, 2);
        _tile_stored(0, sum, 64);
        const __m512 scale = _mm512_loadu_ps(affine), least = _mm512_loadu_ps(affine + TILE);
        ((out[M] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sum[M])),
                                   _mm512_mul_ps(scale, _mm512_set1_ps(scales[M])), out[M]),
          out[M] = _mm512_fmadd_ps(least, _mm512_set1_ps(totals[M]), out[M])),
         ...);
    }
    const auto put = [&](int64_t n, __m512 row) {
        if (n < last) store(n, index, _mm512_castps512_ps256(row), _mm512_extractf32x8_ps(row, 1));
    };
    (put(first + M, out[M]), ...);
}

#else

constexpr int64_t AMX_LEAST = INT64_MAX;
inline bool may_use_amx() { return false; }
struct AmxTiles {};
struct Unpacked {
    explicit Unpacked(int64_t) {}
};

#endif
