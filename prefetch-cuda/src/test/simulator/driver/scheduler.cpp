// Streams run here: worker threads on the real clock, the waiting host thread on the virtual one.
#include "simulator.h"

namespace simulator {

static Nanos real_now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

static void sleep_until(Nanos when) {
    Nanos left = when - real_now();
    if (left > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left));
}

static Nanos transfer_time(uint64_t bytes, double gbps) { return gbps > 0 ? (Nanos)(bytes / gbps + 0.5) : 0; }

// The context of the operation is lost: nothing runs in it any more.
static void fail(const Operation& operation, int code, const std::string& why) {
    Context* context = operation.stream->context;
    if (!context->sticky_error) context->sticky_error = code;
    find("device-error", why, "%d: %s", code, why.c_str());
}

int sticky_error() {
    Context* context = current_context();
    return context ? context->sticky_error : SUCCESS;
}

static void add_span(Engine engine, const Operation& operation, Nanos begin, Nanos end) {
    const size_t limit = 1000000;
    if (state.timeline.size() < limit)
        state.timeline.push_back(
            {engine, operation.stream->index, begin, end, operation.bytes, operation.actor->description});
}

// ---- copies ----

static void copy_at_link_speed(char* to, const char* from, uint64_t bytes, double gbps) {
    Nanos start = real_now() + nanos(state.settings.copy_latency_us);
    const uint64_t chunk = 256 << 10;
    for (uint64_t at = 0; at < bytes; at += chunk) {
        uint64_t length = std::min(chunk, bytes - at);
        memcpy(to + at, from + at, length);
        if (gbps > 0) sleep_until(start + transfer_time(at + length, gbps));
    }
    sleep_until(start);
}

static void fill(const Operation& operation) {
    if (operation.value_bytes == 1) {
        memset((void*)operation.destination, (int)operation.value, operation.bytes);
    } else if (operation.value_bytes == 2) {
        auto at = (uint16_t*)operation.destination;
        std::fill(at, at + operation.bytes / 2, (uint16_t)operation.value);
    } else {
        auto at = (uint32_t*)operation.destination;
        std::fill(at, at + operation.bytes / 4, operation.value);
    }
}

static bool reachable(uint64_t address, uint64_t bytes) {
    return covered(state.device_ranges, address, bytes) || covered(state.host_ranges, address, bytes);
}

// Returns the virtual time that the operation takes from start, which it moves to when its engine is free.
static Nanos run_copy(Operation& operation, Lock& lock, Nanos& start) {
    const Settings& settings = state.settings;
    bool from_host = operation.kind == HOST_TO_DEVICE, to_host = operation.kind == DEVICE_TO_HOST;
    bool has_source = operation.kind != MEMSET;
    if ((!to_host && !reachable(operation.destination, operation.bytes))
        || (!from_host && has_source && !reachable(operation.source, operation.bytes))) {
        fail(operation, ILLEGAL_ADDRESS, operation.actor->description + ": its device memory is not (or no longer) allocated");
        return 0;
    }
    double gbps = from_host ? settings.host_to_device_gbps
        : to_host           ? settings.device_to_host_gbps
                            : settings.device_memory_gbps;
    if (!operation.page_locked && settings.pageable_gbps > 0) gbps = settings.pageable_gbps;
    bool over_link = from_host || to_host;
    const char* source = operation.staged ? operation.staged->data() : (const char*)operation.source;
    Nanos begin = 0, end = 0;

    lock.unlock();
    if (!has_source) {
        fill(operation);
    } else if (over_link && !settings.virtual_clock) {
        std::lock_guard<std::mutex> one_at_a_time(state.link[to_host]);
        begin = real_now();
        copy_at_link_speed((char*)operation.destination, source, operation.bytes, gbps);
        end = real_now();
    } else {
        memmove((void*)operation.destination, source, operation.bytes);
    }
    lock.lock();

    check_source_unchanged(operation);
    if (has_source && !operation.staged)
        check_access(operation.source, operation.source + operation.bytes, false, operation.actor, operation.clock, !from_host);
    check_access(operation.destination, operation.destination + operation.bytes, true, operation.actor, operation.clock);
    state.counters[from_host ? "h2d_bytes" : to_host ? "d2h_bytes" : "d2d_bytes"] += operation.bytes;

    Nanos duration = nanos(over_link ? settings.copy_latency_us : 0) + transfer_time(operation.bytes, gbps);
    if (over_link) {
        Engine engine = from_host ? H2D_ENGINE : D2H_ENGINE;
        if (settings.virtual_clock) {
            begin = start = std::max(start, state.engine_free[engine]);
            end = state.engine_free[engine] = start + duration;
        }
        add_span(engine, operation, begin, end);
    }
    return duration;
}

// ---- kernels ----

struct Accesses {
    std::vector<simulator_range> reads, writes;
    static void add(void* receiver, uint64_t begin, uint64_t end, int write) {
        auto accesses = (Accesses*)receiver;
        (write ? accesses->writes : accesses->reads).push_back({begin, end});
    }
    uint64_t bytes() const {
        uint64_t sum = 0;
        for (auto& range : reads) sum += range.end - range.begin;
        for (auto& range : writes) sum += range.end - range.begin;
        return sum;
    }
};

static Nanos run_kernel(Operation& operation, Lock& lock, Nanos& start) {
    const Settings& settings = state.settings;
    std::vector<simulator_range> live;
    for (auto& range : state.device_ranges) live.push_back({range.first, range.second.end});
    for (auto& range : state.host_ranges) live.push_back({range.first, range.second.end});
    std::sort(live.begin(), live.end(),
        [](const simulator_range& a, const simulator_range& b) { return a.begin < b.begin; });
    std::vector<void*> parameters;
    for (uint32_t offset : operation.parameter_offsets) parameters.push_back(operation.parameters->data() + offset);

    Accesses accesses;
    simulator_launch launch{};
    memcpy(launch.grid, operation.grid, sizeof launch.grid);
    memcpy(launch.block, operation.block, sizeof launch.block);
    launch.dynamic_shared_bytes = operation.shared_bytes;
    launch.track = settings.track;
    launch.parameters = parameters.data();
    launch.live = live.data();
    launch.live_count = live.size();
    launch.device_begin = state.device_begin;
    launch.device_end = state.device_end;
    launch.report_access = Accesses::add;
    launch.receiver = &accesses;
    const Function& function = *operation.function;
    auto named = settings.kernel_us_by_name.find(function.kernel->name);
    Nanos duration = nanos(named == settings.kernel_us_by_name.end() ? settings.kernel_us : named->second);

    lock.unlock();
    Nanos begin = real_now();
    function.library->run(function.kernel, &launch);
    duration = nanos(settings.launch_us) + std::max(duration, transfer_time(accesses.bytes(), settings.device_memory_gbps));
    if (!settings.virtual_clock) sleep_until(begin + duration);
    Nanos end = real_now();
    lock.lock();

    for (auto& range : accesses.reads) check_access(range.begin, range.end, false, operation.actor, operation.clock);
    for (auto& range : accesses.writes) check_access(range.begin, range.end, true, operation.actor, operation.clock);
    if (launch.error) fail(operation, launch.error, operation.actor->description + ": " + launch.message);
    if (settings.virtual_clock) {
        // One kernel at a time: overlap of kernels with each other would flatter the figures.
        begin = start = std::max(start, state.engine_free[COMPUTE_ENGINE]);
        end = state.engine_free[COMPUTE_ENGINE] = start + duration;
    }
    add_span(COMPUTE_ENGINE, operation, begin, end);
    return duration;
}

// ---- running ----

static Nanos ready_time(const Operation& operation) {
    Nanos ready = std::max(operation.stream->now, operation.submitted);
    for (auto& dependency : operation.dependencies) ready = std::max(ready, dependency->finished_at);
    return ready;
}

static void execute(const OperationPtr& op, Lock& lock) {
    Operation& operation = *op;
    Stream* stream = operation.stream;
    bool virtual_clock = state.settings.virtual_clock;
    Nanos start = ready_time(operation), duration = 0;
    if (operation.delay && !virtual_clock) {
        lock.unlock();
        std::this_thread::sleep_for(std::chrono::nanoseconds(operation.delay));
        lock.lock();
    }
    if (operation.fault) fail(operation, operation.fault, "injected at " + operation.actor->description);
    bool failed = stream->context->sticky_error != SUCCESS;
    switch (operation.kind) {
        case HOST_TO_DEVICE:
        case DEVICE_TO_HOST:
        case DEVICE_TO_DEVICE:
        case MEMSET:
            if (!failed) duration = run_copy(operation, lock, start);
            break;
        case KERNEL:
            if (!failed) duration = run_kernel(operation, lock, start);
            break;
        case HOST_FUNCTION: {
            host_observed(operation.clock);
            auto function = operation.host_function;
            auto data = operation.host_data;
            lock.unlock();
            function(data);
            lock.lock();
            break;
        }
        case EVENT_RECORD:
        case EVENT_WAIT:
            break;
    }
    stream->now = start + duration + (virtual_clock ? operation.delay : 0);
    operation.finished_at = virtual_clock ? stream->now : real_now();
    stream->queue.pop_front();
    stream->done = operation.sequence;
    operation.finished = true;
    operation.dependencies.clear();
    state.changed.notify_all();
}

static void run_worker(Stream* stream) {
    Lock lock(state.mutex);
    for (;;) {
        state.changed.wait(lock, [&] {
            if (stream->stopping && stream->queue.empty()) return true;
            if (stream->queue.empty() || state.settings.virtual_clock) return false;
            return !state.settings.lazy || stream->queue.front()->sequence <= stream->demanded;
        });
        if (stream->queue.empty()) return;
        OperationPtr operation = stream->queue.front();
        for (auto& dependency : operation->dependencies) {
            demand(dependency->stream, dependency->sequence);
            state.changed.wait(lock, [&] { return dependency->finished; });
        }
        if (operation->hangs) state.changed.wait(lock, [&] { return state.release_hangs; });
        execute(operation, lock);
    }
}

// Runs what can start first until the condition holds. False: nothing can run, or only after the limit.
template <class Condition>
static bool advance(Lock& lock, Condition condition, Nanos limit) {
    while (!condition()) {
        OperationPtr first;
        Nanos first_start = 0;
        for (Stream* stream : state.streams) {
            if (stream->queue.empty()) continue;
            const OperationPtr& next = stream->queue.front();
            bool ready = !next->hangs || state.release_hangs;
            for (auto& dependency : next->dependencies) ready &= dependency->finished;
            if (!ready) continue;
            Nanos start = ready_time(*next);
            if (!first || start < first_start
                || (start == first_start && next->global_sequence < first->global_sequence)) {
                first = next;
                first_start = start;
            }
        }
        if (!first || first_start > limit) return false;
        // Another host thread may be executing with the lock open.
        if (state.executing) {
            state.changed.wait(lock, [] { return !state.executing; });
            continue;
        }
        state.executing = true;
        execute(first, lock);
        state.executing = false;
        state.changed.notify_all();
    }
    return true;
}

template <class Condition>
static void wait_until(Lock& lock, Condition condition) {
    if (!state.settings.virtual_clock) {
        state.changed.wait(lock, condition);
        return;
    }
    while (!advance(lock, condition, FOREVER)) {
        // Another host thread may still submit what this one waits for.
        uint64_t submitted = state.next_global_sequence;
        bool progress = state.changed.wait_for(lock, std::chrono::seconds(10), [&] {
            return condition() || state.next_global_sequence != submitted || state.release_hangs;
        });
        if (!progress) find("deadlock", "", "a host thread has waited 10 s for work that cannot run");
    }
}

// ---- submitting and waiting ----

Stream* new_stream(Context* context, bool non_blocking, int priority) {
    auto stream = new Stream();
    stream->context = context;
    if (state.free_threads.empty()) {
        stream->index = state.next_thread++;
    } else {
        std::tie(stream->index, stream->clock_base) = state.free_threads.back();
        state.free_threads.pop_back();
    }
    stream->non_blocking = non_blocking;
    stream->priority = priority;
    stream->clock = state.host_clock;
    state.streams.insert(stream);
    stream->worker = std::thread(run_worker, stream);
    return stream;
}

// Null and 1 name the legacy default stream; the per-thread default stream (2) is not simulated.
Stream* stream_of(void* handle) {
    if (handle && handle != (void*)1) return state.streams.count((Stream*)handle) ? (Stream*)handle : nullptr;
    Context* context = current_context();
    Stream*& stream = state.default_streams[context];
    if (!stream) {
        stream = new_stream(context, false, 0);
        stream->is_default = true;
    }
    return stream;
}

void describe(Operation& operation, Stream* stream) {
    static const char* const names[] = {"host-to-device copy", "device-to-host copy", "device-to-device copy", "memset",
        "kernel", "event record", "event wait", "host function"};
    std::string name = names[operation.kind];
    if (operation.kind == KERNEL) name += std::string(" ") + operation.function->kernel->name;
    char text[300];
    long long number = ++state.counters["operations." + name];
    if (operation.bytes)
        snprintf(text, sizeof text, "%s #%lld (%llu bytes) on stream %zu", name.c_str(), number,
            (unsigned long long)operation.bytes, stream->index);
    else snprintf(text, sizeof text, "%s #%lld on stream %zu", name.c_str(), number, stream->index);
    operation.actor = std::make_shared<Actor>(Actor{0, 0, text});
}

// The legacy default stream waits for every blocking stream of its context, and they for it.
static void order_against_default_stream(Stream* stream, Operation& operation) {
    auto order_after = [&](Stream* other) {
        if (other->tail) operation.dependencies.push_back(other->tail);
        stream->clock.join(other->clock);
    };
    if (stream->is_default) {
        for (Stream* other : state.streams)
            if (other != stream && other->context == stream->context && !other->non_blocking && !other->capture) order_after(other);
    } else if (!stream->non_blocking) {
        auto found = state.default_streams.find(stream->context);
        if (found != state.default_streams.end()) order_after(found->second);
    }
}

static void append(Stream* stream, const OperationPtr& operation) {
    operation->stream = stream;
    operation->sequence = ++stream->submitted;
    operation->global_sequence = ++state.next_global_sequence;
    if (state.settings.virtual_clock) host_now() += nanos(state.settings.call_us);
    operation->submitted = host_now();
    stream->tail = operation;
    stream->queue.push_back(operation);
    state.changed.notify_all();
}

void submit(Stream* stream, const OperationPtr& operation) {
    if (stream->capture) {
        capture(stream, operation);
        return;
    }
    order_against_default_stream(stream, *operation);
    describe(*operation, stream);
    state.host_clock.put(0, state.host_clock.at(0) + 1);
    stream->clock.join(state.host_clock);
    operation->actor->thread = stream->index;
    operation->actor->clock = stream->clock_base + stream->submitted + 1;
    stream->clock.put(stream->index, operation->actor->clock);
    operation->clock = stream->clock;
    append(stream, operation);
}

void submit(Stream* stream, const OperationPtr& operation, const VectorClock& clock, const ActorPtr& actor) {
    operation->clock = clock;
    operation->actor = actor;
    append(stream, operation);
}

void demand(Stream* stream, uint64_t sequence) {
    if (sequence <= stream->demanded) return;
    stream->demanded = sequence;
    state.changed.notify_all();
}

// False: another thread destroyed the stream meanwhile.
bool wait_for_stream(Lock& lock, Stream* stream, bool observe) {
    uint64_t sequence = stream->submitted;
    VectorClock clock = stream->clock;
    demand(stream, sequence);
    wait_until(lock, [&] { return !state.streams.count(stream) || stream->done >= sequence; });
    if (!state.streams.count(stream)) return false;
    if (observe) host_observed(clock);
    if (state.settings.virtual_clock) host_now() = std::max(host_now(), stream->now);
    return true;
}

void wait_for_operation(Lock& lock, const OperationPtr& operation) {
    demand(operation->stream, operation->sequence);
    wait_until(lock, [&] { return operation->finished; });
    host_observed(operation->clock);
    if (state.settings.virtual_clock) host_now() = std::max(host_now(), operation->finished_at);
}

void wait_for_everything(Lock& lock) {
    std::vector<Stream*> streams(state.streams.begin(), state.streams.end());
    for (Stream* stream : streams)
        if (state.streams.count(stream)) wait_for_stream(lock, stream);
}

CUresult poll(Lock& lock, const OperationPtr& operation) {
    demand(operation->stream, operation->sequence);
    if (state.settings.virtual_clock) advance(lock, [&] { return operation->finished; }, host_now());
    bool complete = operation->finished && (!state.settings.virtual_clock || operation->finished_at <= host_now());
    if (complete) {
        host_observed(operation->clock);
        return sticky_error();
    }
    // A polling loop must make virtual time pass, or it would never end.
    if (state.settings.virtual_clock) host_now() += std::max<Nanos>(500, nanos(state.settings.call_us));
    return NOT_READY;
}

}  // namespace simulator
