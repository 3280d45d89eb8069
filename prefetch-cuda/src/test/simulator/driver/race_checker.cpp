// Finds accesses that no stream, event or host wait puts in order, whatever order they happened to run in.
#include "simulator.h"

namespace simulator {

void VectorClock::put(size_t thread, uint64_t clock) {
    if (thread >= entries.size()) entries.resize(thread + 1, 0);
    entries[thread] = clock;
}

void VectorClock::join(const VectorClock& other) {
    if (other.entries.size() > entries.size()) entries.resize(other.entries.size(), 0);
    for (size_t i = 0; i < other.entries.size(); i++) entries[i] = std::max(entries[i], other.entries[i]);
}

static void split_at(uint64_t address) {
    auto next = state.accesses.upper_bound(address);
    if (next == state.accesses.begin()) return;
    auto run = std::prev(next);
    if (run->first >= address || run->second.end <= address) return;
    Access right = run->second;
    run->second.end = address;
    state.accesses.emplace_hint(next, address, right);
}

static uint64_t start_of_range(uint64_t address) {
    if (on_device(address)) {
        auto range = range_at(state.device_ranges, address);
        return range == state.device_ranges.end() ? address : range->first;
    }
    auto range = range_at(state.host_ranges, address);
    return range == state.host_ranges.end() ? address : range->first;
}

static void report_race(const ActorPtr& first, const char* first_access, const ActorPtr& second,
    const char* second_access, uint64_t begin, uint64_t end) {
    std::string kinds[] = {first->kind(), second->kind()};
    if (kinds[0] > kinds[1]) std::swap(kinds[0], kinds[1]);
    uint64_t base = start_of_range(begin);
    find("race", kinds[0] + '|' + kinds[1],
        "%s (%s) and %s (%s) are not ordered by any stream, event or host wait; both touch %s memory 0x%llx+[%llu,%llu)",
        first->description.c_str(), first_access, second->description.c_str(), second_access,
        on_device(begin) ? "device" : "host", (unsigned long long)base, (unsigned long long)(begin - base),
        (unsigned long long)(end - base));
}

static void check_write(uint64_t begin, uint64_t end, const ActorPtr& actor, const VectorClock& clock) {
    auto& accesses = state.accesses;
    auto run = accesses.lower_bound(begin);
    while (run != accesses.end() && run->first < end) {
        Access& access = run->second;
        if (access.writer && access.writer != actor && !happened_before(access.writer, clock))
            report_race(access.writer, "write", actor, "write", run->first, access.end);
        for (const ActorPtr& reader : access.readers)
            if (reader != actor && !happened_before(reader, clock))
                report_race(reader, "read", actor, "write", run->first, access.end);
        run = accesses.erase(run);
    }
    accesses[begin] = Access{end, actor, {}, true};
}

static void add_reader(Access& access, const ActorPtr& actor) {
    for (ActorPtr& reader : access.readers) {
        if (reader->thread != actor->thread) continue;
        if (reader->clock < actor->clock) reader = actor;
        return;
    }
    access.readers.push_back(actor);
}

// Without this a matrix read row by row would stay a run per row for ever.
static void merge_equal_neighbours(uint64_t begin, uint64_t end) {
    auto& accesses = state.accesses;
    auto run = accesses.lower_bound(begin);
    if (run != accesses.begin()) --run;
    if (run == accesses.end()) return;
    for (auto next = std::next(run); next != accesses.end() && run->first < end;) {
        Access &a = run->second, &b = next->second;
        if (a.end == next->first && a.writer == b.writer && a.initialised == b.initialised && a.readers == b.readers) {
            a.end = b.end;
            next = accesses.erase(next);
        } else {
            run = next++;
        }
    }
}

static void check_read(
    uint64_t begin, uint64_t end, const ActorPtr& actor, const VectorClock& clock, bool must_be_initialised) {
    auto& accesses = state.accesses;
    bool check_initialised = must_be_initialised && on_device(begin);
    uint64_t uninitialised_begin = 0, uninitialised_end = 0;
    auto uninitialised = [&](uint64_t from, uint64_t to) {
        if (!uninitialised_end) uninitialised_begin = from;
        uninitialised_end = to;
    };
    auto run = accesses.lower_bound(begin);
    for (uint64_t at = begin; at < end;) {
        if (run == accesses.end() || run->first > at) {
            uint64_t gap_end = run == accesses.end() ? end : std::min(end, run->first);
            if (check_initialised) uninitialised(at, gap_end);
            run = std::next(accesses.emplace_hint(run, at, Access{gap_end, nullptr, {actor}, false}));
            at = gap_end;
            continue;
        }
        Access& access = run->second;
        if (access.writer && access.writer != actor && !happened_before(access.writer, clock))
            report_race(access.writer, "write", actor, "read", run->first, access.end);
        if (!access.initialised && check_initialised) uninitialised(run->first, access.end);
        add_reader(access, actor);
        at = access.end;
        ++run;
    }
    merge_equal_neighbours(begin, end);
    if (uninitialised_end) {
        uint64_t base = start_of_range(uninitialised_begin);
        find("uninitialised", actor->kind(), "%s reads device memory that nothing has written: 0x%llx+[%llu,%llu)",
            actor->description.c_str(), (unsigned long long)base, (unsigned long long)(uninitialised_begin - base),
            (unsigned long long)(uninitialised_end - base));
    }
}

// Accesses are kept to 4 bytes, the granularity in which kernel libraries report them.
void check_access(uint64_t begin, uint64_t end, bool write, const ActorPtr& actor, const VectorClock& clock,
    bool must_be_initialised) {
    if (!state.settings.track || begin >= end) return;
    begin &= ~3ull;
    end = round_up(end, 4);
    split_at(begin);
    split_at(end);
    if (write) check_write(begin, end, actor, clock);
    else check_read(begin, end, actor, clock, must_be_initialised);
}

void forget_accesses(uint64_t begin, uint64_t end) {
    split_at(begin);
    split_at(end);
    auto run = state.accesses.lower_bound(begin);
    while (run != state.accesses.end() && run->first < end) run = state.accesses.erase(run);
}

uint64_t content_hash(const void* data, size_t bytes) {
    const char* at = (const char*)data;
    uint64_t hash = bytes * 0x9E3779B97F4A7C15ull, word;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdull;
        hash ^= hash >> 32;
    }
    while (bytes--) hash = (hash ^ (unsigned char)*at++) * 0x100000001b3ull;
    return hash;
}

void check_source_unchanged(Operation& operation) {
    if (!operation.hashed || content_hash((void*)operation.source, operation.bytes) == operation.source_hash) return;
    operation.hashed = false;
    find("staging", operation.actor->kind(),
        "%s: the host wrote its page-locked source 0x%llx before any wait told it that the copy was complete",
        operation.actor->description.c_str(), (unsigned long long)operation.source);
}

// A refilled buffer is found out when the next copy leaves from it, though the first copy was long done: what counts is
// whether the host had waited.
void check_unobserved_sources(uint64_t begin, uint64_t end) {
    for (OperationPtr& operation : state.unobserved_sources)
        if (operation->source < end && begin < operation->source + operation->bytes) check_source_unchanged(*operation);
}

// The host learned that everything in the clock is complete.
void host_observed(const VectorClock& clock) {
    state.host_clock.join(clock);
    auto& sources = state.unobserved_sources;
    sources.erase(std::remove_if(sources.begin(), sources.end(),
                      [](OperationPtr& operation) {
                          if (!happened_before(operation->actor, state.host_clock)) return false;
                          if (operation->hashed) check_source_unchanged(*operation);
                          return true;
                      }),
        sources.end());
}

}  // namespace simulator
