// What tests ask of the simulated driver, through java.lang.foreign.
#include "simulator.h"

using namespace simulator;

// Copies text into a buffer when it fits. Returns the bytes needed, with the final zero.
static int64_t give(const std::string& text, char* buffer, int64_t capacity) {
    if ((int64_t)text.size() < capacity) memcpy(buffer, text.c_str(), text.size() + 1);
    return (int64_t)text.size() + 1;
}

DRIVER_API int simulator_set(const char* key, const char* value) {
    Lock lock(state.mutex);
    bool known = state.settings.set(key, value);
    state.changed.notify_all();
    return known ? 0 : 1;
}

DRIVER_API int simulator_set_faults(const char* text) {
    Lock lock(state.mutex);
    return parse_faults(text) ? 0 : 1;
}

DRIVER_API void simulator_release_hangs(int release) {
    Lock lock(state.mutex);
    state.release_hangs = release != 0;
    state.changed.notify_all();
}

// "kind: text" lines.
DRIVER_API int64_t simulator_findings(char* buffer, int64_t capacity) {
    Lock lock(state.mutex);
    std::string text;
    for (auto& finding : state.findings) text += finding + '\n';
    return give(text, buffer, capacity);
}

// "function count" lines since the last reset or change of faults.
DRIVER_API int64_t simulator_calls(char* buffer, int64_t capacity) {
    Lock lock(state.mutex);
    std::string text;
    for (auto& call : state.calls) text += call.first + ' ' + std::to_string(call.second) + '\n';
    return give(text, buffer, capacity);
}

// "engine stream begin end bytes description" lines; times in nanoseconds.
DRIVER_API int64_t simulator_timeline(char* buffer, int64_t capacity) {
    Lock lock(state.mutex);
    std::string text;
    for (auto& span : state.timeline)
        text += std::to_string(span.engine) + ' ' + std::to_string(span.stream) + ' ' + std::to_string(span.begin) + ' '
            + std::to_string(span.end) + ' ' + std::to_string(span.bytes) + ' ' + span.description + '\n';
    return give(text, buffer, capacity);
}

DRIVER_API int64_t simulator_counter(const char* name) {
    Lock lock(state.mutex);
    const std::string key = name;
    if (key == "live_device_ranges") return state.device_ranges.size();
    if (key == "live_host_ranges") return state.host_ranges.size();
    if (key == "live_streams")
        return std::count_if(state.streams.begin(), state.streams.end(), [](Stream* s) { return !s->is_default; });
    if (key == "live_events") return state.events.size();
    if (key == "live_modules") return state.modules.size();
    if (key == "live_graphs") return state.graphs.size();
    if (key == "live_contexts") return state.contexts.size();
    if (key == "device_used_bytes") return state.device_used;
    if (key == "device_peak_bytes") return state.device_peak;
    if (key == "page_locked_bytes") return state.page_locked_used;
    auto counter = state.counters.find(key);
    return counter == state.counters.end() ? 0 : counter->second;
}

// Virtual time of the calling thread.
DRIVER_API int64_t simulator_now() {
    Lock lock(state.mutex);
    return host_now();
}

// Models work of the calling host thread.
DRIVER_API void simulator_advance(int64_t nanos) {
    Lock lock(state.mutex);
    if (state.settings.virtual_clock) host_now() += nanos;
}

// Declares that the host reads or writes page-locked memory now.
DRIVER_API void simulator_host_access(uint64_t address, uint64_t bytes, int write, const char* description) {
    Lock lock(state.mutex);
    state.host_clock.put(0, state.host_clock.at(0) + 1);
    auto actor = std::make_shared<Actor>(Actor{0, state.host_clock.at(0), std::string("host: ") + description});
    check_access(address, address + bytes, write != 0, actor, state.host_clock, false);
}

static void restart_clock() {
    state.epoch++;
    for (Nanos& free : state.engine_free) free = 0;
    for (Stream* stream : state.streams) {
        stream->now = 0;
        if (stream->tail) stream->tail->finished_at = 0;
    }
    for (Event* event : state.events)
        if (event->record) event->record->finished_at = 0;
}

// Forgets findings, counters, faults, calls and the timeline; live objects stay. The virtual clock starts again at 0.
DRIVER_API void simulator_reset() {
    Lock lock(state.mutex);
    state.findings.clear();
    state.finding_keys.clear();
    state.counters.clear();
    state.timeline.clear();
    state.faults.clear();
    state.calls.clear();
    state.release_hangs = false;
    state.device_peak = state.device_used;
    if (state.settings.virtual_clock) restart_clock();
}
