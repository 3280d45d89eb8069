// Initialisation, the device, contexts.
#include "simulator.h"
#include <sys/mman.h>

namespace simulator {

Context* current_context() { return current_contexts.empty() ? nullptr : current_contexts.back(); }

CUresult context_error() {
    if (!state.initialised) return NOT_INITIALIZED;
    Context* context = current_context();
    if (!context) return INVALID_CONTEXT;
    if (context->destroyed) return CONTEXT_IS_DESTROYED;
    return context->sticky_error;
}

void destroy_stream(Lock& lock, Stream* stream) {
    wait_for_stream(lock, stream);
    stream->stopping = true;
    state.streams.erase(stream);
    state.default_streams.erase(stream->context);
    state.changed.notify_all();
    std::thread worker = std::move(stream->worker);
    lock.unlock();
    worker.join();
    lock.lock();
    state.free_threads.push_back({stream->index, stream->clock_base + stream->submitted});
    // The object stays: queued records and the race checker's clocks may still name it.
}

static void reserve_addresses() {
    uint64_t bytes = std::max<uint64_t>(state.settings.device_bytes * 16, 64ull << 30);
    void* start = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) abort();
    state.device_begin = state.device_next = round_up((uint64_t)start, 65536);
    state.device_end = (uint64_t)start + bytes;
}

// Everything that belongs to a context goes with it; what the program had not released counts as leaked.
static void destroy_context(Lock& lock, Context* context) {
    state.release_hangs = true;
    state.changed.notify_all();
    std::vector<Stream*> streams(state.streams.begin(), state.streams.end());
    for (Stream* stream : streams) {
        if (stream->context != context || !state.streams.count(stream)) continue;
        if (!stream->is_default) state.counters["leaked_streams"]++;
        destroy_stream(lock, stream);
    }
    state.release_hangs = false;
    state.default_streams.erase(context);
    for (auto event = state.events.begin(); event != state.events.end();) {
        if ((*event)->context != context) {
            ++event;
            continue;
        }
        state.counters["leaked_events"]++;
        event = state.events.erase(event);
    }
    std::vector<Module*> modules(state.modules.begin(), state.modules.end());
    for (Module* module : modules)
        if (module->context == context) destroy_module(module);
    std::vector<uint64_t> ranges;
    for (auto& range : state.device_ranges)
        if (range.second.context == context) ranges.push_back(range.first);
    for (uint64_t address : ranges) release_device_range(address);
    state.counters["leaked_device_ranges"] += ranges.size();
    ranges.clear();
    for (auto& range : state.host_ranges)
        if (range.second.context == context) ranges.push_back(range.first);
    // Kept mapped: Java may still hold a segment over it, and a fault there would end the virtual machine.
    for (uint64_t address : ranges) release_host_range(address, false);
    state.counters["leaked_host_ranges"] += ranges.size();
    state.contexts.erase(context);
    context->destroyed = true;
}

}  // namespace simulator

using namespace simulator;

DRIVER_API CUresult cuInit(unsigned) {
    ENTER("cuInit");
    if (state.settings.device_count == 0) return 100;
    if (!state.initialised) reserve_addresses();
    state.initialised = true;
    return SUCCESS;
}

DRIVER_API CUresult cuDriverGetVersion(int* version) {
    ENTER("cuDriverGetVersion");
    *version = state.settings.driver_version;
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceGetCount(int* count) {
    ENTER("cuDeviceGetCount");
    if (!state.initialised) return NOT_INITIALIZED;
    *count = state.settings.device_count;
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    ENTER("cuDeviceGet");
    if (!state.initialised) return NOT_INITIALIZED;
    if (ordinal != 0) return INVALID_DEVICE;
    *device = 0;
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceGetName(char* name, int length, CUdevice) {
    ENTER("cuDeviceGetName");
    snprintf(name, length, "%s", state.settings.device_name.c_str());
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceGetUuid(void* uuid, CUdevice) {
    ENTER("cuDeviceGetUuid");
    memcpy(uuid, "simulated-gpu-00", 16);
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceGetUuid_v2(void* uuid, CUdevice device) { return cuDeviceGetUuid(uuid, device); }

DRIVER_API CUresult cuDeviceGetPCIBusId(char* id, int length, CUdevice) {
    ENTER("cuDeviceGetPCIBusId");
    snprintf(id, length, "0000:00:00.0");
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) {
    ENTER("cuDeviceTotalMem");
    *bytes = state.settings.device_bytes;
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice) {
    ENTER("cuDeviceComputeCapability");
    *major = state.settings.compute_capability / 10;
    *minor = state.settings.compute_capability % 10;
    return SUCCESS;
}

DRIVER_API CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
    ENTER("cuDeviceGetAttribute");
    static const std::map<int, int> values = {
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},             // threads per block, block dimensions
        {5, 2147483647}, {6, 65535}, {7, 65535},              // grid dimensions
        {8, 49152}, {97, 232448}, {81, 233472},               // shared memory: per block, opt-in, per multiprocessor
        {9, 65536}, {10, 32}, {12, 65536}, {82, 65536},       // constant memory, warp size, registers
        {13, 1980000}, {36, 2619000}, {37, 6144},             // clocks in kHz, width of the memory bus
        {15, 1}, {19, 1}, {31, 1}, {40, 3}, {41, 1},          // overlap, mapped host memory, concurrency, engines, UVA
        {38, 62914560}, {39, 2048}, {78, 1}, {90, 1},         // L2 bytes, threads per multiprocessor, priorities
        {99, 1}, {113, 0}, {115, 1}};                         // host registration, read-only registration, pools
    if (attribute == 16) *value = state.settings.multiprocessors;
    else if (attribute == 75) *value = state.settings.compute_capability / 10;
    else if (attribute == 76) *value = state.settings.compute_capability % 10;
    else {
        auto known = values.find(attribute);
        *value = known == values.end() ? 0 : known->second;
    }
    return SUCCESS;
}

DRIVER_API CUresult cuGetErrorName(int error, const char** name) {
    static const std::map<int, const char*> names = {{0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"},
        {2, "CUDA_ERROR_OUT_OF_MEMORY"}, {3, "CUDA_ERROR_NOT_INITIALIZED"}, {100, "CUDA_ERROR_NO_DEVICE"},
        {201, "CUDA_ERROR_INVALID_CONTEXT"}, {218, "CUDA_ERROR_INVALID_PTX"},
        {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"}, {400, "CUDA_ERROR_INVALID_HANDLE"}, {500, "CUDA_ERROR_NOT_FOUND"},
        {600, "CUDA_ERROR_NOT_READY"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {709, "CUDA_ERROR_CONTEXT_IS_DESTROYED"},
        {719, "CUDA_ERROR_LAUNCH_FAILED"}, {801, "CUDA_ERROR_NOT_SUPPORTED"}};
    auto known = names.find(error);
    *name = known == names.end() ? nullptr : known->second;
    return known == names.end() ? INVALID_VALUE : SUCCESS;
}

DRIVER_API CUresult cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

DRIVER_API CUresult cuCtxCreate_v2(void** handle, unsigned flags, CUdevice) {
    ENTER("cuCtxCreate");
    if (!state.initialised) return NOT_INITIALIZED;
    auto context = new Context();
    context->flags = flags;
    state.contexts.insert(context);
    current_contexts.push_back(context);
    *handle = context;
    return SUCCESS;
}

DRIVER_API CUresult cuCtxDestroy_v2(Context* context) {
    ENTER("cuCtxDestroy");
    if (!state.contexts.count(context)) return INVALID_CONTEXT;
    if (current_context() == context) current_contexts.pop_back();
    destroy_context(lock, context);
    return SUCCESS;
}

DRIVER_API CUresult cuCtxSetCurrent(Context* context) {
    ENTER("cuCtxSetCurrent");
    if (!state.initialised) return NOT_INITIALIZED;
    if (context && !state.contexts.count(context)) return INVALID_CONTEXT;
    if (!current_contexts.empty()) current_contexts.pop_back();
    if (context) current_contexts.push_back(context);
    return SUCCESS;
}

DRIVER_API CUresult cuCtxGetCurrent(void** context) {
    ENTER("cuCtxGetCurrent");
    *context = current_context();
    return SUCCESS;
}

DRIVER_API CUresult cuCtxPushCurrent_v2(Context* context) {
    ENTER("cuCtxPushCurrent");
    if (!state.contexts.count(context)) return INVALID_CONTEXT;
    current_contexts.push_back(context);
    return SUCCESS;
}

DRIVER_API CUresult cuCtxPopCurrent_v2(void** context) {
    ENTER("cuCtxPopCurrent");
    if (current_contexts.empty()) return INVALID_CONTEXT;
    if (context) *context = current_contexts.back();
    current_contexts.pop_back();
    return SUCCESS;
}

DRIVER_API CUresult cuCtxGetDevice(int* device) {
    ENTER_WITH_CONTEXT("cuCtxGetDevice");
    *device = 0;
    return SUCCESS;
}

DRIVER_API CUresult cuCtxGetApiVersion(void*, unsigned* version) {
    ENTER("cuCtxGetApiVersion");
    *version = 3020;
    return SUCCESS;
}

DRIVER_API CUresult cuCtxGetFlags(unsigned* flags) {
    ENTER_WITH_CONTEXT("cuCtxGetFlags");
    *flags = current_context()->flags;
    return SUCCESS;
}

DRIVER_API CUresult cuCtxSynchronize() {
    ENTER_WITH_CONTEXT("cuCtxSynchronize");
    wait_for_everything(lock);
    return sticky_error();
}

DRIVER_API CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    ENTER_WITH_CONTEXT("cuCtxGetStreamPriorityRange");
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return SUCCESS;
}

DRIVER_API CUresult cuDevicePrimaryCtxRetain(void** context, CUdevice) {
    ENTER("cuDevicePrimaryCtxRetain");
    if (!state.initialised) return NOT_INITIALIZED;
    if (!state.primary) {
        state.primary = new Context();
        state.contexts.insert(state.primary);
    }
    state.primary_references++;
    *context = state.primary;
    return SUCCESS;
}

static void destroy_primary(Lock& lock) {
    Context* context = state.primary;
    state.primary = nullptr;
    state.primary_references = 0;
    if (context) destroy_context(lock, context);
}

DRIVER_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) {
    ENTER("cuDevicePrimaryCtxRelease");
    if (!state.primary) return INVALID_CONTEXT;
    if (--state.primary_references == 0) destroy_primary(lock);
    return SUCCESS;
}

DRIVER_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice) {
    ENTER("cuDevicePrimaryCtxReset");
    destroy_primary(lock);
    return SUCCESS;
}

DRIVER_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice, unsigned) {
    ENTER("cuDevicePrimaryCtxSetFlags");
    return SUCCESS;
}

DRIVER_API CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) {
    ENTER("cuDevicePrimaryCtxGetState");
    *flags = 0;
    *active = state.primary != nullptr;
    return SUCCESS;
}
