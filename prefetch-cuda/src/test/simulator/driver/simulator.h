// The state of the simulated driver. One mutex guards all of it; kernels, copies and host functions run without it.
//
// How it works: every call that orders work makes an Operation and appends it to its stream. On the real clock each
// stream has a worker thread. On the virtual clock there is none: whoever waits executes the operations in the order of
// their virtual start times, so that the timeline depends on the calls made and not on the machine.
// An operation's vector clock is fixed when it is submitted: it says what the operation is ordered after by streams,
// events and host waits. The race checker compares these clocks, never the times at which things happened to run.
#pragma once
#include "kernel_abi.h"
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#define DRIVER_API extern "C" __attribute__((visibility("default")))

typedef int CUresult;
typedef int CUdevice;
typedef uint64_t CUdeviceptr;

namespace simulator {

enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    UNSUPPORTED_PTX_VERSION = 222,
    FILE_NOT_FOUND = 301,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    CONTEXT_IS_DESTROYED = 709,
    HOST_MEMORY_ALREADY_REGISTERED = 712,
    HOST_MEMORY_NOT_REGISTERED = 713,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    STREAM_CAPTURE_UNSUPPORTED = 900,
    STREAM_CAPTURE_INVALIDATED = 901,
    STREAM_CAPTURE_UNJOINED = 904,
};

typedef int64_t Nanos;
const Nanos FOREVER = INT64_MAX;

// ---- settings ----

struct Settings {
    uint64_t device_bytes = 1ull << 30;
    uint64_t page_locked_bytes = UINT64_MAX;
    double host_to_device_gbps = 0;  // 0: as fast as this machine on the real clock, no time on the virtual clock
    double device_to_host_gbps = 0;
    double pageable_gbps = 0;        // 0: like page-locked memory
    double device_memory_gbps = 0;   // bounds kernels by the bytes they touch (tracked libraries only)
    double copy_latency_us = 0, launch_us = 0, kernel_us = 0;
    double call_us = 0;              // virtual clock: host time that each enqueueing call takes
    bool virtual_clock = false, lazy = false, track = true, refuse_pageable = false;
    int register_result = SUCCESS;   // what cuMemHostRegister answers
    int driver_version = 13000, device_count = 1;
    int compute_capability = 90, newest_ptx = 90, multiprocessors = 132;
    // Files, separated by ':'. The environment names them for a program that is not a test of this module.
    std::string kernel_libraries = getenv("SIMULATED_CUDA_KERNELS") ? getenv("SIMULATED_CUDA_KERNELS") : "";
    std::string device_name = "Simulated GPU";
    std::map<std::string, double> kernel_us_by_name;

    bool set(const std::string& key, const std::string& value);
};

// ---- order ----

struct VectorClock {
    std::vector<uint64_t> entries;
    uint64_t at(size_t thread) const { return thread < entries.size() ? entries[thread] : 0; }
    void put(size_t thread, uint64_t clock);
    void join(const VectorClock& other);
};

// Who touched memory: an operation (thread = its stream) or the host (thread 0; all host threads share one clock).
struct Actor {
    size_t thread;
    uint64_t clock;
    std::string description;
    std::string kind() const { return description.substr(0, description.find('#')); }
};
typedef std::shared_ptr<Actor> ActorPtr;

inline bool happened_before(const ActorPtr& actor, const VectorClock& clock) {
    return actor->clock <= clock.at(actor->thread);
}

// ---- driver objects ----

struct Context {
    int sticky_error = SUCCESS;
    unsigned flags = 0;
    bool destroyed = false;
};

struct Stream;
struct Module;

struct Function {
    Module* module = nullptr;
    const simulator_library* library = nullptr;
    const simulator_kernel* kernel = nullptr;
    int max_threads = 1024;
    std::map<int, int> attributes;
};

struct Module {
    Context* context;
    std::map<std::string, std::unique_ptr<Function>> functions;
};

enum OperationKind { HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, MEMSET, KERNEL, EVENT_RECORD, EVENT_WAIT, HOST_FUNCTION };

struct Operation {
    OperationKind kind;
    Stream* stream = nullptr;
    uint64_t sequence = 0, global_sequence = 0;
    VectorClock clock;
    ActorPtr actor;
    std::vector<std::shared_ptr<Operation>> dependencies;
    Nanos submitted = 0, finished_at = 0;
    bool finished = false;

    // copies and memset
    uint64_t destination = 0, source = 0, bytes = 0;
    uint32_t value = 0;
    int value_bytes = 1;
    bool page_locked = true;
    std::shared_ptr<std::vector<char>> staged;  // a pageable source, taken when the copy was submitted
    bool hashed = false;
    uint64_t source_hash = 0;

    // kernels
    Function* function = nullptr;
    unsigned grid[3] = {}, block[3] = {}, shared_bytes = 0;
    std::shared_ptr<std::vector<char>> parameters;
    std::vector<uint32_t> parameter_offsets;

    // host functions
    void (*host_function)(void*) = nullptr;
    void* host_data = nullptr;

    // injected faults
    int fault = SUCCESS;
    bool hangs = false;
    Nanos delay = 0;
};
typedef std::shared_ptr<Operation> OperationPtr;

// A captured graph. Nodes run in the order of capture on the launching stream; for the race checker each captured
// stream stays a thread of its own, ordered only by the events that were captured.
struct Graph {
    struct Node {
        OperationPtr operation;
        size_t lane;
        std::vector<size_t> after;
    };
    std::vector<Node> nodes;
    std::set<Stream*> streams;
    Stream* origin = nullptr;
    size_t lanes = 0;
    std::vector<size_t> lane_threads;  // executable graphs: the race checker's thread of each lane
    std::vector<uint64_t> lane_clocks;
};

struct Stream {
    Context* context = nullptr;
    size_t index = 0;  // the race checker's thread; used again, with higher clocks, when the stream is gone
    uint64_t clock_base = 0;
    bool non_blocking = false, is_default = false;
    int priority = 0;
    unsigned flags = 0;
    uint64_t submitted = 0, done = 0;
    uint64_t demanded = 0;  // lazy scheduling: the newest operation that anything waits for
    VectorClock clock;
    std::deque<OperationPtr> queue;
    OperationPtr tail;
    std::thread worker;
    bool stopping = false;
    Nanos now = 0;

    Graph* capture = nullptr;
    size_t capture_lane = 0;
    std::vector<size_t> capture_after;  // nodes that the next captured operation comes after
};

struct Event {
    Context* context = nullptr;
    unsigned flags = 0;
    OperationPtr record;  // the most recent one
    Graph* capture = nullptr;
    std::vector<size_t> captured_after;
};

// ---- findings, faults, timeline ----

struct Fault {
    std::string function;
    long call;
    bool and_later;
    int code;
    bool asynchronous, hang;
    double delay_us;
};

enum Engine { H2D_ENGINE, D2H_ENGINE, COMPUTE_ENGINE, ENGINES };

struct Span {
    Engine engine;
    size_t stream;
    Nanos begin, end;
    uint64_t bytes;
    std::string description;
};

// The last accesses to a run of bytes; the key of the map is where it begins.
struct Access {
    uint64_t end;
    ActorPtr writer;
    std::vector<ActorPtr> readers;
    bool initialised;
};

struct HostRange {
    uint64_t end;
    bool registered;  // cuMemHostRegister, else cuMemHostAlloc
    unsigned flags;
    Context* context;
};

struct DeviceRange {
    uint64_t end;
    Context* context;
};

struct State {
    std::mutex mutex;
    std::condition_variable changed;
    Settings settings;
    bool initialised = false;

    Context* primary = nullptr;
    int primary_references = 0;
    std::set<Context*> contexts;
    std::set<Stream*> streams;
    std::set<Event*> events;
    std::set<Module*> modules;
    std::set<Function*> functions;
    std::set<Graph*> graphs;
    std::map<Context*, Stream*> default_streams;

    VectorClock host_clock;
    size_t next_thread = 1;
    std::vector<std::pair<size_t, uint64_t>> free_threads;  // with the clock that each has reached
    uint64_t next_global_sequence = 0;
    bool executing = false;  // virtual clock: a host thread is running an operation

    uint64_t device_begin = 0, device_end = 0, device_next = 0, device_used = 0, device_peak = 0;
    uint64_t page_locked_used = 0;
    std::map<uint64_t, DeviceRange> device_ranges;
    std::map<uint64_t, HostRange> host_ranges;

    std::map<uint64_t, Access> accesses;
    std::vector<OperationPtr> unobserved_sources;  // copies from page-locked memory that no host wait has covered yet

    std::vector<Span> timeline;
    Nanos engine_free[ENGINES] = {};
    uint64_t epoch = 1;  // changes when the virtual clock starts again
    std::mutex link[2];  // real clock: one copy per direction at a time
    std::map<std::string, long long> counters;
    std::map<std::string, long> calls;
    std::vector<Fault> faults;
    bool release_hangs = false;
    std::vector<std::string> findings;
    std::set<std::string> finding_keys;

    std::map<std::string, std::pair<const simulator_library*, const simulator_kernel*>> kernels;
    std::set<std::string> loaded_libraries;
};

// On the heap and never freed: worker threads still use it while the process exits.
inline State& state = *new State();

typedef std::unique_lock<std::mutex> Lock;

inline thread_local std::vector<Context*> current_contexts;

// Virtual time of this host thread. Each has its own: a thread that fills buffers does not wait for one that
// waits for results.
inline Nanos& host_now() {
    thread_local Nanos now = 0;
    thread_local uint64_t epoch = 0;
    if (epoch != state.epoch) now = 0;
    epoch = state.epoch;
    return now;
}

inline Nanos nanos(double micros) { return (Nanos)(micros * 1e3 + 0.5); }
inline uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }
inline bool on_device(uint64_t address) { return address >= state.device_begin && address < state.device_end; }

template <class Ranges>
typename Ranges::iterator range_at(Ranges& ranges, uint64_t address) {
    auto next = ranges.upper_bound(address);
    if (next == ranges.begin() || std::prev(next)->second.end <= address) return ranges.end();
    return std::prev(next);
}
template <class Ranges>
bool covered(Ranges& ranges, uint64_t begin, uint64_t bytes) {
    auto range = range_at(ranges, begin);
    return range != ranges.end() && range->second.end >= begin + bytes;
}

// findings.cpp
void find(const char* kind, const std::string& key, const char* format, ...) __attribute__((format(printf, 3, 4)));
CUresult enter(const char* function, Operation* operation = nullptr);
bool parse_faults(const std::string& text);

// race_checker.cpp
void check_access(uint64_t begin, uint64_t end, bool write, const ActorPtr& actor, const VectorClock& clock,
    bool must_be_initialised = true);
void forget_accesses(uint64_t begin, uint64_t end);
uint64_t content_hash(const void* data, size_t bytes);
void check_source_unchanged(Operation& operation);
void check_unobserved_sources(uint64_t begin, uint64_t end);
void host_observed(const VectorClock& clock);

// scheduler.cpp
Stream* new_stream(Context* context, bool non_blocking, int priority);
Stream* stream_of(void* handle);
void submit(Stream* stream, const OperationPtr& operation);
void submit(Stream* stream, const OperationPtr& operation, const VectorClock& clock, const ActorPtr& actor);
void describe(Operation& operation, Stream* stream);
void demand(Stream* stream, uint64_t sequence);
bool wait_for_stream(Lock& lock, Stream* stream, bool observe = true);
void wait_for_operation(Lock& lock, const OperationPtr& operation);
void wait_for_everything(Lock& lock);
CUresult poll(Lock& lock, const OperationPtr& operation);
int sticky_error();

// graphs.cpp
void capture(Stream* stream, const OperationPtr& operation);

// device.cpp
Context* current_context();
CUresult context_error();
void destroy_stream(Lock& lock, Stream* stream);

// memory.cpp
void release_device_range(uint64_t address);
void release_host_range(uint64_t address, bool unmap);

// modules.cpp
Function* function_of(void* handle);
void destroy_module(Module* module);

}  // namespace simulator

#define ENTER(name)                   \
    Lock lock(simulator::state.mutex); \
    if (CUresult entered = simulator::enter(name)) return entered

#define ENTER_WITH_CONTEXT(name)      \
    Lock lock(simulator::state.mutex); \
    if (CUresult context_ = simulator::context_error()) return context_; \
    if (CUresult entered = simulator::enter(name)) return entered

#define STREAM(variable, handle)                         \
    Stream* variable = simulator::stream_of(handle);     \
    if (!variable) return simulator::INVALID_HANDLE
