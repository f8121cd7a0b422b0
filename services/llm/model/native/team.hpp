// Threads that share loops: each takes the next few turns, then all meet.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

class Team {
public:
    explicit Team(int threads) : size_(threads) {
        for (int i = 1; i < threads; ++i) others_.emplace_back([this, i] { serve(i); });
    }

    ~Team() {
        task_ = nullptr;
        begin();
        for (auto& other : others_) other.join();
    }

    int size() const { return size_; }

    // Every thread runs `task`, each with its number; returns when all have. It must not throw.
    void run(const std::function<void(int)>& task) {
        task_ = &task;
        next_ = 0;
        begin();
        task(0);
        meet();
    }

    // Within `run`: `turn` for every number below `count`, each once; returns when all are done.
    template <class Turn>
    void share(int64_t count, int64_t chunk, const Turn& turn) {
        for (int64_t first; (first = next_.fetch_add(chunk)) < count;)
            for (int64_t i = first; i < std::min(count, first + chunk); ++i) turn(i);
        meet();
    }

private:
    void begin() {
        started_.fetch_add(1);
        started_.notify_all();
    }

    void serve(int number) {
        for (uint32_t seen = 0;;) {
            await(started_, seen++);
            if (!task_) return;
            (*task_)(number);
            meet();
        }
    }

    void meet() {
        const uint32_t met = met_.load();
        if (arrived_.fetch_add(1) + 1 == size_) {
            arrived_ = 0;
            next_ = 0;
            met_.fetch_add(1);
            met_.notify_all();
        } else {
            await(met_, met);
        }
    }

    // A short spin for a machine of our own, then sleep: on a shared one, the others' turn is what we wait for.
    static void await(std::atomic<uint32_t>& value, uint32_t old) {
        for (int spin = 0; spin < 4000; ++spin) {
            if (value.load() != old) return;
            _mm_pause();
        }
        value.wait(old);
    }

    const int size_;
    const std::function<void(int)>* task_ = nullptr;
    std::atomic<uint32_t> started_{0}, met_{0};
    std::atomic<int> arrived_{0};
    std::atomic<int64_t> next_{0};
    std::vector<std::thread> others_;
};
