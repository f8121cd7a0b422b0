// One step of a Llama-family model over rows of many sequences: every row is one token of some sequence.
//
// The caller owns all memory. Every number is computed by one thread in an order that only its own sequence decides:
// so a row has the same bits alone, in a batch, and however its prompt was cut.
#include <memory>
#include <new>

#include "attention.hpp"
#include "products.hpp"

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
    const int32_t* positions;
    const int32_t* sequences;  // of each row, ascending runs: its line in `tables`
    const int32_t* tables;  // [sequences, table_width], pages in order
    int64_t table_width;
    const Update* const* adapters;  // of each row: UPDATES a layer, or null
};

// Consecutive rows of one sequence.
struct Group {
    int64_t first, count;
};

// What one thread works with.
struct Workspace {
    Unpacked unpacked;
    std::vector<float> scores;
};

// All memory of one step, taken before its first number is computed.
struct Scratch {
    Scratch(const Model& m, const Step& s, int threads)
        : wide(m.layer[0].qkv.rows), most_rows(std::max<int64_t>(1, 16 * m.kv_heads / m.heads)) {
        const int64_t widest = std::max({m.hidden, m.inner, m.queries()}), padded = (s.rows + ROWS - 1) / ROWS * ROWS;
        for (auto* floats : {&normed, &attended}) floats->reset(new float[s.rows * widest]);
        products.reset(new float[s.rows * std::max(wide, m.inner)]);
        q.reset(new int8_t[padded * widest]);
        for (auto* floats : {&scales, &sums}) floats->reset(new float[padded * widest / BLOCK]);
        const int64_t scores = most_rows * (m.heads / m.kv_heads) * s.table_width * PAGE;
        for (int i = 0; i < threads; ++i) spaces.push_back({Unpacked(widest), std::vector<float>(scores)});
        group(s);
    }
    Quantised quantised(int64_t columns) const { return {q.get(), scales.get(), sums.get(), columns}; }

    void group(const Step& s) {
        for (int64_t n = 0; s.sequences && n < s.rows; ++n) {
            if (n && s.sequences[n] == s.sequences[n - 1] && groups.back().count < most_rows)
                ++groups.back().count;
            else
                groups.push_back({n, 1});
        }
    }

    int64_t wide, most_rows;
    std::unique_ptr<float[]> normed, attended, products, scales, sums;
    std::unique_ptr<int8_t[]> q;
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

static void update(const Update& u, const float* x, float* out) {
    for (int64_t r = 0; r < u.rank; r += 8) {
        __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
        for (int64_t i = 0; i < u.in; ++i)
            sums[i % 4] = _mm256_fmadd_ps(_mm256_broadcast_ss(x + i), _mm256_loadu_ps(u.a + i * u.rank + r), sums[i % 4]);
        float low[8];
        _mm256_storeu_ps(low, _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
        for (int64_t k = 0; k < 8; ++k)
            for (int64_t j = 0; j < u.out; ++j) out[u.first + j] += low[k] * u.b[(r + k) * u.out + j];
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

static uint16_t to_half(float x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

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
        for (int64_t d = 0; d < m.width; ++d) keys[d * PAGE] = to_half(key[d]), values[d] = to_half(value[d]);
    }
}

static void attend_group(const Model& m, const Layer& layer, const Step& s, const Group& group, int64_t head,
                         const Scratch& t, float* scores) {
    const int64_t shared = m.heads / m.kv_heads, size = m.width * PAGE, first = head * shared * m.width;
    const Queries queries{t.products.get() + group.first * t.wide + first,
                          t.attended.get() + group.first * m.queries() + first,
                          t.wide, m.queries(), group.count, shared, m.width, s.positions[group.first] + 1};
    const Pages pages{layer.keys + head * size, layer.values + head * size,
                      s.tables + s.sequences[group.first] * s.table_width, m.kv_heads * size};
    attend(queries, pages, scores);
}

static void attention(const Model& m, int64_t index, const Step& s, float* x, const Scratch& t, Workspace& work, Team& team) {
    const Layer& layer = m.layer[index];
    const Quantised narrow = t.quantised(m.hidden), seen = t.quantised(m.queries());
    float *normed = t.normed.get(), *products = t.products.get(), *attended = t.attended.get();
    team.share(s.rows, 1, [&](int64_t n) {
        normalise(x + n * m.hidden, layer.before_attention, m.hidden, m.epsilon, normed + n * m.hidden);
        quantise(normed + n * m.hidden, narrow, n);
    });
    multiply_all(team, layer.qkv, narrow, s.rows, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
        _mm256_storeu_ps(products + n * t.wide + tile * TILE, low);
        _mm256_storeu_ps(products + n * t.wide + tile * TILE + 8, high);
    }, work.unpacked);
    team.share(s.rows, 1, [&](int64_t n) {
        float* qkv = products + n * t.wide;
        if (layer.qkv_bias)
            for (int64_t i = 0; i < m.queries() + 2 * m.keys(); ++i) qkv[i] += layer.qkv_bias[i];
        if (s.adapters[n])
            for (int64_t u = 0; u < UPDATES - 1; ++u) update(s.adapters[n][index * UPDATES + u], normed + n * m.hidden, qkv);
        place(m, layer, s, n, qkv);
    });
    team.share(static_cast<int64_t>(t.groups.size()) * m.kv_heads, 1, [&](int64_t i) {
        attend_group(m, layer, s, t.groups[i / m.kv_heads], i % m.kv_heads, t, work.scores.data());
    });
    team.share(s.rows, 1, [&](int64_t n) {
        quantise(attended + n * m.queries(), seen, n);
        if (s.adapters[n]) update(s.adapters[n][index * UPDATES + UPDATES - 1], attended + n * m.queries(), x + n * m.hidden);
    });
    multiply_all(team, layer.o, seen, s.rows, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
        float* to = x + n * m.hidden + tile * TILE;
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), low));
        _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_loadu_ps(to + 8), high));
    }, work.unpacked);
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
    const Quantised narrow = t.quantised(m.hidden), inner = t.quantised(m.inner);
    float *normed = t.normed.get(), *products = t.products.get();
    team.share(s.rows, 1, [&](int64_t n) {
        normalise(x + n * m.hidden, layer.before_mlp, m.hidden, m.epsilon, normed + n * m.hidden);
        quantise(normed + n * m.hidden, narrow, n);
    });
    multiply_all(team, layer.gate_up, narrow, s.rows, [&](int64_t n, int64_t tile, __m256 gate, __m256 up) {
        _mm256_storeu_ps(products + n * m.inner + tile * 8, _mm256_mul_ps(silu(gate), up));
    }, work.unpacked);
    team.share(s.rows, 1, [&](int64_t n) { quantise(products + n * m.inner, inner, n); });
    multiply_all(team, layer.down, inner, s.rows, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
        float* to = x + n * m.hidden + tile * TILE;
        _mm256_storeu_ps(to, _mm256_add_ps(_mm256_loadu_ps(to), low));
        _mm256_storeu_ps(to + 8, _mm256_add_ps(_mm256_loadu_ps(to + 8), high));
    }, work.unpacked);
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
            const AmxTiles tiles;
            Workspace& work = t.spaces[thread];
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
    s.rows = rows;
    return with_scratch(m, s, *team, [&](Scratch& t) {
        const Quantised x = t.quantised(m.hidden);
        team->run([&](int thread) {
            const AmxTiles config;
            team->share(rows, 1, [&](int64_t n) { quantise(hidden + n * m.hidden, x, n); });
            multiply_all(*team, m.head, x, rows, [&](int64_t n, int64_t tile, __m256 low, __m256 high) {
                _mm256_storeu_ps(out + n * m.head.rows + tile * TILE, low);
                _mm256_storeu_ps(out + n * m.head.rows + tile * TILE + 8, high);
            }, t.spaces[thread].unpacked, {tiles, count});
        });
    });
}

extern "C" Team* team_open(int threads) { return new Team(threads); }

extern "C" void team_close(Team* team) { delete team; }
