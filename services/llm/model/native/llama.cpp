// One step of a Llama-family model over rows of many sequences: every row is one token of some sequence.
//
// The caller owns all memory. Every number is computed by one thread in an order that only its own sequence decides,
// and by a kernel that its place decides, in the prompt or in what was written: so a row has the same bits alone, in a
// batch, and however its prompt was cut.
#include <memory>
#include <new>

#include "products.hpp"
#include "wide_attention.hpp"

struct Layer {
    const float* before_attention;
    const float* before_mlp;
    const float* qkv_bias;  // null: none
    Matrix qkv, o, gate_up, down;  // the tiles of gate_up hold 8 rows of gate, then the same 8 of up
    uint16_t* keys;  // [pages, kv_heads, width, 16]
    uint16_t* values;  // [pages, kv_heads, 16, width]
};

struct Model {
    int64_t hidden, inner, layers, heads, kv_heads, width;
    double epsilon;
    const float* norm;
    const float* cosines;  // [positions, width / 2]
    const float* sines;
    const Layer* layer;
    Matrix head;

    int64_t queries() const { return heads * width; }
    int64_t keys() const { return kv_heads * width; }
};

// A low-rank update of columns `first` to `first + out` of one product: x a b (LoRA).
struct Update {
    const float* a;  // [in, rank]
    const float* b;  // [rank, out], times the adapter's scale
    int64_t in, rank, first, out;  // rank: a multiple of 8
};
constexpr int64_t UPDATES = 4;  // of a layer: queries, keys, values, output

struct Step {
    int64_t rows;
    int64_t written;  // rows before the first one of a prompt
    const int32_t* positions;
    const int32_t* sequences;  // of each row, in runs: its line in `tables`
    const int32_t* tables;  // [sequences, table_width], pages in order
    int64_t table_width;
    const Update* const* adapters;  // of each row: UPDATES a layer, or null
};

// Consecutive rows of one sequence.
struct Group {
    int64_t first, count;
    bool is_wide;
};

// What one thread works with.
struct Workspace {
    Unpacking unpacking;
    std::vector<float> scores;
    WideScores wide;
};

// All memory of one step, taken before its first number is computed.
struct Scratch {
    Scratch(const Model& m, const Step& s, int threads)
        : rows(s.rows), narrow(may_go_wide() ? s.written : s.rows), qkv(m.layer[0].qkv.rows),
          most_rows(std::max<int64_t>(1, 16 * m.kv_heads / m.heads)) {
        const int64_t widest = std::max({m.hidden, m.inner, m.queries()}), padded = (narrow + ROWS - 1) / ROWS * ROWS;
        for (auto* floats : {&normed, &attended}) floats->reset(new float[s.rows * widest]);
        products.reset(new float[s.rows * std::max(qkv, m.inner)]);
        q.reset(new int8_t[padded * widest]);
        rounded.reset(new uint16_t[(s.rows - narrow + ROWS - 1) / ROWS * ROWS * widest]());
        for (auto* floats : {&scales, &sums}) floats->reset(new float[padded * widest / BLOCK]);
        const int64_t scores = most_rows * (m.heads / m.kv_heads) * s.table_width * PAGE;
        const bool is_wide = s.rows > narrow;
        const WideScores wide(is_wide * whole_pairs(s.table_width * PAGE), m.width);
        for (int i = 0; i < threads; ++i) spaces.push_back({Unpacking(widest, is_wide), std::vector<float>(scores), wide});
        group(s);
    }
    Activations activations(int64_t columns) const {
        return {rows, narrow, {q.get(), scales.get(), sums.get(), columns}, {rounded.get(), columns}};
    }

    void group(const Step& s) {
        for (int64_t n = 0; s.sequences && n < s.rows; ++n) {
            const bool follows = n && s.sequences[n] == s.sequences[n - 1] && s.positions[n] == s.positions[n - 1] + 1;
            const bool is_wide = n >= narrow;
            if (follows && groups.back().is_wide == is_wide && groups.back().count < (is_wide ? WIDE_ROWS : most_rows))
                ++groups.back().count;
            else
                groups.push_back({n, 1, is_wide});
        }
    }

    int64_t rows, narrow, qkv, most_rows;
    std::unique_ptr<float[]> normed, attended, products, scales, sums;
    std::unique_ptr<int8_t[]> q;
    std::unique_ptr<uint16_t[]> rounded;
    std::vector<Workspace> spaces;
    std::vector<Group> groups;
};

static void normalise(const float* x, const float* weight, int64_t width, double epsilon, float* out) {
    __m256 sum = _mm256_setzero_ps();
    for (int64_t i = 0; i < width; i += 8) {
        const __m256 v = _mm256_loadu_ps(x + i);
        sum = _mm256_fmadd_ps(v, v, sum);
    }
    const __m256 factor = _mm256_set1_ps(1.0f / std::sqrt(total(sum) / width + static_cast<float>(epsilon)));
    for (int64_t i = 0; i < width; i += 8)
        _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), factor), _mm256_loadu_ps(weight + i)));
}

// M rows that are updated alike.
template <int M>
static void update(const Update& u, const float* x, int64_t x_stride, float* out, int64_t out_stride) {
    for (int64_t r = 0; r < u.rank; r += 8) {
        __m256 sums[M][4];
        for (auto& row : sums)
            for (auto& sum : row) sum = _mm256_setzero_ps();
        for (int64_t i = 0; i < u.in; i += 4)
            for (int64_t k = 0; k < 4; ++k) {
                const __m256 a = _mm256_loadu_ps(u.a + (i + k) * u.rank + r);
                for (int m = 0; m < M; ++m)
                    sums[m][k] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + m * x_stride + i + k), a, sums[m][k]);
            }
        float low[M][8];
        for (int m = 0; m < M; ++m)
            _mm256_storeu_ps(low[m], _mm256_add_ps(_mm256_add_ps(sums[m][0], sums[m][1]), _mm256_add_ps(sums[m][2], sums[m][3])));
        for (int64_t j = 0; j < u.out; j += 8) {
            __m256 outs[M];
            float* to = out + u.first + j;
            for (int m = 0; m < M; ++m) outs[m] = _mm256_loadu_ps(to + m * out_stride);
            for (int64_t k = 0; k < 8; ++k) {
                const __m256 b = _mm256_loadu_ps(u.b + (r + k) * u.out + j);
                for (int m = 0; m < M; ++m) outs[m] = _mm256_fmadd_ps(_mm256_set1_ps(low[m][k]), b, outs[m]);
            }
            for (int m = 0; m < M; ++m) _mm256_storeu_ps(to + m * out_stride, outs[m]);
        }
    }
}

// Updates `first` to `last` of a layer for rows [row, end): four at once where they have one adapter.
static void update_rows(const Step& s, int64_t layer, int64_t first, int64_t last, int64_t row, int64_t end,
                        const float* x, int64_t x_stride, float* out, int64_t out_stride) {
    for (int64_t n = row; n < end;) {
        const Update* adapter = s.adapters[n];
        const bool four = n + 4 <= end && std::all_of(s.adapters + n, s.adapters + n + 4, [&](const Update* other) { return other == adapter; });
        for (int64_t u = first; adapter && u < last; ++u) {
            const auto apply = four ? update<4> : update<1>;
            apply(adapter[layer * UPDATES + u], x + n * x_stride, x_stride, out + n * out_stride, out_stride);
        }
        n += four ? 4 : 1;
    }
}

static void rotate(float* x, const float* cosines, const float* sines, int64_t width, float scale) {
    const int64_t half = width / 2;
    for (int64_t i = 0; i < half; ++i) {
        const float a = x[i], b = x[i + half];
        x[i] = (a * cosines[i] - b * sines[i]) * scale;
        x[i + half] = (b * cosines[i] + a * sines[i]) * scale;
    }
}

static __m128i to_halves(const float* x) { return _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

// Rotate the queries where they lie, put key and value of row n into their page.
static void place(const Model& m, const Layer& layer, const Step& s, int64_t n, float* qkv) {
    const int64_t position = s.positions[n], half = m.width / 2, size = m.width * PAGE;
    const float *cosines = m.cosines + position * half, *sines = m.sines + position * half;
    const float scale = 1.0f / std::sqrt(static_cast<float>(m.width));
    for (int64_t h = 0; h < m.heads; ++h) rotate(qkv + h * m.width, cosines, sines, m.width, scale);
    const int64_t page = s.tables[s.sequences[n] * s.table_width + position / PAGE], at = position % PAGE;
    for (int64_t h = 0; h < m.kv_heads; ++h) {
        float *key = qkv + m.queries() + h * m.width, *value = key + m.keys();
        rotate(key, cosines, sines, m.width, 1.0f);
        uint16_t* keys = layer.keys + (page * m.kv_heads + h) * size + at;
        uint16_t* values = layer.values + (page * m.kv_heads + h) * size + at * m.width;
        for (int64_t d = 0; d < m.width; d += 8) {
            alignas(16) uint16_t halves[8];
            _mm_store_si128(reinterpret_cast<__m128i*>(halves), to_halves(key + d));
            for (int64_t i = 0; i < 8; ++i) keys[(d + i) * PAGE] = halves[i];
            _mm_storeu_si128(reinterpret_cast<__m128i*>(values + d), to_halves(value + d));
        }
    }
}

static void attend_group(const Model& m, const Layer& layer, const Step& s, const Group& group, int64_t head,
                         const Scratch& t, Workspace& work) {
    const int64_t shared = m.heads / m.kv_heads, size = m.width * PAGE, first = head * shared * m.width;
    const Queries queries{t.products.get() + group.first * t.qkv + first,
                          t.attended.get() + group.first * m.queries() + first,
                          t.qkv, m.queries(), group.count, shared, m.width, s.positions[group.first] + 1};
    const Pages pages{layer.keys + head * size, layer.values + head * size,
                      s.tables + s.sequences[group.first] * s.table_width, m.kv_heads * size};
    if (group.is_wide)
        attend_wide(queries, pages, work.wide, *work.unpacking.amx);
    else
        attend(queries, pages, work.scores.data());
}

// Turns of one row where there are few, so that all threads have some; of 8 where there are many.
template <class Turn>
static void share_rows(Team& team, const Step& s, const Turn& turn) {
    const int64_t size = s.rows >= 16 * team.size() ? 8 : 1;
    team.share((s.rows + size - 1) / size, 1, [&](int64_t i) { turn(i * size, std::min(s.rows, (i + 1) * size)); });
}

// All rows by a norm, then as the next product takes them.
static void normalise_rows(Team& team, const Model& m, const Step& s, const float* weight, const float* x, float* normed,
                           const Activations& out) {
    share_rows(team, s, [&](int64_t row, int64_t end) {
        for (int64_t n = row; n < end; ++n) {
            normalise(x + n * m.hidden, weight, m.hidden, m.epsilon, normed + n * m.hidden);
            out.set(normed + n * m.hidden, n);
        }
    });
}

static void attention(const Model& m, int64_t index, const Step& s, float* x, const Scratch& t, Workspace& work, Team& team) {
    const Layer& layer = m.layer[index];
    const Activations before = t.activations(m.hidden), seen = t.activations(m.queries());
    float *normed = t.normed.get(), *products = t.products.get(), *attended = t.attended.get();
    normalise_rows(team, m, s, layer.before_attention, x, normed, before);
    multiply_all(team, layer.qkv, before, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
        _mm256_storeu_ps(products + n * t.qkv + tile * TILE, low);
        _mm256_storeu_ps(products + n * t.qkv + tile * TILE + 8, high);
    }, work.unpacking);
    share_rows(team, s, [&](int64_t row, int64_t end) {
        for (int64_t n = row; layer.qkv_bias && n < end; ++n)
            for (int64_t i = 0; i < m.queries() + 2 * m.keys(); ++i) products[n * t.qkv + i] += layer.qkv_bias[i];
        update_rows(s, index, 0, UPDATES - 1, row, end, normed, m.hidden, products, t.qkv);
        for (int64_t n = row; n < end; ++n) place(m, layer, s, n, products + n * t.qkv);
    });
    team.share(static_cast<int64_t>(t.groups.size()) * m.kv_heads, 1, [&](int64_t i) {
        attend_group(m, layer, s, t.groups[i / m.kv_heads], i % m.kv_heads, t, work);
    });
    share_rows(team, s, [&](int64_t row, int64_t end) {
        for (int64_t n = row; n < end; ++n) seen.set(attended + n * m.queries(), n);
        update_rows(s, index, UPDATES - 1, UPDATES, row, end, attended, m.queries(), x, m.hidden);
    });
    multiply_all(team, layer.o, seen, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
        float* to = x + n * m.hidden + tile * TILE;
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), low));
        _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_loadu_ps(to + 8), high));
    }, work.unpacking);
}

static __m256 silu(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f), zero = _mm256_setzero_ps();
    const __m256 size = _mm256_max_ps(x, _mm256_sub_ps(zero, x));
    const __m256 e = exponential(_mm256_sub_ps(zero, size));
    const __m256 above = _mm256_cmp_ps(x, zero, _CMP_GE_OQ);
    return _mm256_div_ps(_mm256_mul_ps(x, _mm256_blendv_ps(e, one, above)), _mm256_add_ps(one, e));
}

static void mlp(const Model& m, int64_t index, const Step& s, float* x, const Scratch& t, Workspace& work, Team& team) {
    const Layer& layer = m.layer[index];
    const Activations before = t.activations(m.hidden), inner = t.activations(m.inner);
    float *normed = t.normed.get(), *products = t.products.get();
    normalise_rows(team, m, s, layer.before_mlp, x, normed, before);
    multiply_all(team, layer.gate_up, before, [&](int64_t n, int64_t tile, __m256 gate, __m256 up) {
        _mm256_storeu_ps(products + n * m.inner + tile * 8, _mm256_mul_ps(silu(gate), up));
    }, work.unpacking);
    share_rows(team, s, [&](int64_t row, int64_t end) {
        for (int64_t n = row; n < end; ++n) inner.set(products + n * m.inner, n);
    });
    multiply_all(team, layer.down, inner, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
        float* to = x + n * m.hidden + tile * TILE;
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), low));
        _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_loadu_ps(to + 8), high));
    }, work.unpacking);
}

// Run a step; false, and nothing done, where there is no memory for it.
template <class Task>
static bool with_scratch(const Model& m, const Step& s, Team& team, const Task& task) {
    std::unique_ptr<Scratch> t;
    try {
        t = std::make_unique<Scratch>(m, s, team.size());
    } catch (const std::bad_alloc&) {
        return false;
    }
    task(*t);
    return true;
}

// Embeddings x [rows, hidden] become final-norm hidden states; keys and values go into their pages.
extern "C" bool forward(Team* team, const Model* model, const Step* step, float* x) {
    const Model& m = *model;
    const Step& s = *step;
    return with_scratch(m, s, *team, [&](Scratch& t) {
        team->run([&](int thread) {
            AmxTiles amx;
            Workspace& work = t.spaces[thread];
            work.unpacking.amx = &amx;
            for (int64_t index = 0; index < m.layers; ++index) {
                attention(m, index, s, x, t, work, *team);
                mlp(m, index, s, x, t, work, *team);
            }
            team->share(s.rows, 1, [&](int64_t n) {
                normalise(x + n * m.hidden, m.norm, m.hidden, m.epsilon, x + n * m.hidden);
            });
        });
    });
}

// Logits [rows, head.rows] of hidden states, computed for the listed tiles of 16 vocabulary ids only.
extern "C" bool logits(Team* team, const Model* model, const float* hidden, int64_t rows, const int32_t* tiles,
                       int64_t count, float* out) {
    const Model& m = *model;
    Step s{};
    s.rows = s.written = rows;
    return with_scratch(m, s, *team, [&](Scratch& t) {
        const Quantised x = t.activations(m.hidden).whole;
        team->run([&](int thread) {
            AmxTiles amx;
            Unpacking& unpacking = t.spaces[thread].unpacking;
            unpacking.amx = &amx;
            team->share(rows, 1, [&](int64_t n) { quantise(hidden + n * m.hidden, x, n); });
            multiply_listed(*team, m.head, x, rows, tiles, count, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
                _mm256_storeu_ps(out + n * m.head.rows + tile * TILE, low);
                _mm256_storeu_ps(out + n * m.head.rows + tile * TILE + 8, high);
            }, unpacking);
        });
    });
}

extern "C" Team* team_open(int threads) { return new Team(threads); }

extern "C" void team_close(Team* team) { delete team; }
