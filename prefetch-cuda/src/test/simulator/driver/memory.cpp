// Device memory, page-locked memory, copies.
#include "simulator.h"
#include <sys/mman.h>

namespace simulator {

static const uint64_t PAGE = 4096;

// A block ends, rounded to 256 bytes, at an inaccessible page, and addresses are not used again: what reads past it or
// after it was freed is found out.
static CUresult allocate_on_device(uint64_t* address, uint64_t bytes) {
    uint64_t cost = round_up(bytes, 512);
    if (state.device_used + cost > state.settings.device_bytes) return OUT_OF_MEMORY;
    uint64_t span = round_up(bytes, PAGE), block = state.device_next;
    if (block + span + 65536 > state.device_end) {
        find("unsupported", "addresses", "the simulated address space is used up");
        return OUT_OF_MEMORY;
    }
    state.device_next = round_up(block + span + 65536, 65536);
    if (mprotect((void*)block, span, PROT_READ | PROT_WRITE)) return OUT_OF_MEMORY;
    *address = block + span - round_up(bytes, 256);
    // NaN in every float format, so that a read of what nothing has written shows in the results.
    memset((void*)*address, 0xFF, bytes);
    state.device_ranges[*address] = {*address + bytes, current_context()};
    state.device_used += cost;
    state.device_peak = std::max(state.device_peak, state.device_used);
    return SUCCESS;
}

void release_device_range(uint64_t address) {
    auto range = state.device_ranges.find(address);
    uint64_t end = range->second.end, page = address & ~(PAGE - 1), span = round_up(end - page, PAGE);
    state.device_used -= round_up(end - address, 512);
    forget_accesses(address, end);
    madvise((void*)page, span, MADV_DONTNEED);
    mprotect((void*)page, span, PROT_NONE);
    state.device_ranges.erase(range);
}

static CUresult lock_pages(uint64_t begin, uint64_t bytes, bool registered, unsigned flags) {
    auto next = state.host_ranges.upper_bound(begin);
    bool overlaps = (next != state.host_ranges.begin() && std::prev(next)->second.end > begin)
        || (next != state.host_ranges.end() && next->first < begin + bytes);
    if (overlaps) return HOST_MEMORY_ALREADY_REGISTERED;
    if (bytes > state.settings.page_locked_bytes - state.page_locked_used) return OUT_OF_MEMORY;
    state.page_locked_used += bytes;
    state.host_ranges[begin] = {begin + bytes, registered, flags, current_context()};
    return SUCCESS;
}

void release_host_range(uint64_t address, bool unmap) {
    auto range = state.host_ranges.find(address);
    uint64_t bytes = range->second.end - address;
    check_unobserved_sources(address, range->second.end);
    for (OperationPtr& operation : state.unobserved_sources)
        if (operation->source >= address && operation->source < range->second.end) operation->hashed = false;
    forget_accesses(address, range->second.end);
    state.page_locked_used -= bytes;
    if (unmap) munmap((void*)address, round_up(bytes, PAGE));
    state.host_ranges.erase(range);
}

static bool busy() {
    for (Stream* stream : state.streams)
        if (stream->done < stream->submitted) return true;
    return false;
}

// A pageable source is read while the call lasts, as the driver does for its own staging.
static void prepare_host_to_device(Stream* stream, Operation& operation) {
    if (stream->capture) return;
    if (!operation.page_locked) {
        auto source = (const char*)operation.source;
        operation.staged = std::make_shared<std::vector<char>>(source, source + operation.bytes);
    } else if (state.settings.track) {
        check_unobserved_sources(operation.source, operation.source + operation.bytes);
        operation.source_hash = content_hash((void*)operation.source, operation.bytes);
        operation.hashed = true;
    }
}

// Nobody may look at the destination before the copy is complete: what does sees 0xCD.
static void prepare_device_to_host(Stream* capturing, const Operation& operation) {
    if (capturing->capture || !operation.page_locked || !state.settings.track) return;
    uint64_t begin = operation.destination, end = begin + operation.bytes;
    for (Stream* stream : state.streams)
        for (OperationPtr& queued : stream->queue) {
            bool reads = queued->source < end && begin < queued->source + queued->bytes;
            bool writes = queued->destination < end && begin < queued->destination + queued->bytes;
            if (queued->kind == KERNEL || reads || writes) return;
        }
    memset((void*)begin, 0xCD, operation.bytes);
}

static CUresult copy(const char* function, OperationKind kind, uint64_t destination, uint64_t source, uint64_t bytes,
    void* handle, bool asynchronous) {
    Lock lock(state.mutex);
    if (CUresult error = context_error()) return error;
    STREAM(stream, handle);
    auto operation = std::make_shared<Operation>();
    operation->kind = kind;
    operation->destination = destination;
    operation->source = source;
    operation->bytes = bytes;
    if (CUresult error = enter(function, operation.get())) return error;
    if (bytes == 0) return SUCCESS;

    auto known = [&](uint64_t address) {
        return covered(state.device_ranges, address, bytes) || covered(state.host_ranges, address, bytes);
    };
    if (kind != HOST_TO_DEVICE && !known(source)) return INVALID_VALUE;
    if (kind != DEVICE_TO_HOST && !known(destination)) return INVALID_VALUE;
    if (kind != DEVICE_TO_DEVICE) {
        uint64_t host = kind == HOST_TO_DEVICE ? source : destination;
        if (on_device(host)) return INVALID_VALUE;
        operation->page_locked = covered(state.host_ranges, host, bytes);
        bool crosses = !operation->page_locked
            && (range_at(state.host_ranges, host) != state.host_ranges.end()
                || range_at(state.host_ranges, host + bytes - 1) != state.host_ranges.end());
        if (crosses)
            find("boundary", function, "%s of %llu bytes at 0x%llx crosses the boundary of a page-locked range: it is as slow as pageable memory",
                function, (unsigned long long)bytes, (unsigned long long)host);
        if (!operation->page_locked && asynchronous) {
            state.counters["pageable_asynchronous_copies"]++;
            if (state.settings.refuse_pageable) {
                find("pageable", function, "%s of %llu bytes uses pageable host memory 0x%llx", function,
                    (unsigned long long)bytes, (unsigned long long)host);
                return INVALID_VALUE;
            }
        }
        if (stream->capture && !asynchronous) return STREAM_CAPTURE_UNSUPPORTED;
        if (kind == HOST_TO_DEVICE) prepare_host_to_device(stream, *operation);
        else prepare_device_to_host(stream, *operation);
    }
    submit(stream, operation);
    if (stream->capture) return SUCCESS;
    if (operation->hashed) state.unobserved_sources.push_back(operation);
    if (!asynchronous) {
        wait_for_stream(lock, stream);
        return sticky_error();
    }
    if (kind == DEVICE_TO_DEVICE || operation->page_locked) return SUCCESS;
    // The calling thread waits for an asynchronous copy from or to pageable memory, yet it learns nothing that it
    // could rely on: the race checker is not told.
    wait_for_stream(lock, stream, false);
    return sticky_error();
}

static CUresult copy_anywhere(
    const char* function, CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream, bool asynchronous) {
    if (!on_device(to) && !on_device(from)) {
        memmove((void*)to, (void*)from, bytes);
        return SUCCESS;
    }
    OperationKind kind = !on_device(from) ? HOST_TO_DEVICE : on_device(to) ? DEVICE_TO_DEVICE : DEVICE_TO_HOST;
    return copy(function, kind, to, from, bytes, stream, asynchronous);
}

static CUresult set_memory(
    const char* function, CUdeviceptr address, uint32_t value, size_t count, int value_bytes, void* handle) {
    Lock lock(state.mutex);
    if (CUresult error = context_error()) return error;
    STREAM(stream, handle);
    auto operation = std::make_shared<Operation>();
    operation->kind = MEMSET;
    operation->destination = address;
    operation->value = value;
    operation->bytes = count * value_bytes;
    operation->value_bytes = value_bytes;
    if (CUresult error = enter(function, operation.get())) return error;
    if (!count) return SUCCESS;
    if (!covered(state.device_ranges, address, operation->bytes)) return INVALID_VALUE;
    submit(stream, operation);
    return SUCCESS;
}

}  // namespace simulator

using namespace simulator;

DRIVER_API CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER_WITH_CONTEXT("cuMemGetInfo");
    *free = state.settings.device_bytes - state.device_used;
    *total = state.settings.device_bytes;
    return SUCCESS;
}

DRIVER_API CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t bytes) {
    ENTER_WITH_CONTEXT("cuMemAlloc");
    return bytes ? allocate_on_device(address, bytes) : INVALID_VALUE;
}

static CUresult free_on_device(Lock& lock, CUdeviceptr address) {
    if (!address) return SUCCESS;
    if (!state.device_ranges.count(address)) return INVALID_VALUE;
    if (busy()) {
        state.counters["frees_while_busy"]++;
        wait_for_everything(lock);
    }
    release_device_range(address);
    return sticky_error();
}

DRIVER_API CUresult cuMemFree_v2(CUdeviceptr address) {
    ENTER_WITH_CONTEXT("cuMemFree");
    return free_on_device(lock, address);
}

// The stream-ordered pair works at once instead of in its stream.
DRIVER_API CUresult cuMemAllocAsync(CUdeviceptr* address, size_t bytes, void*) {
    ENTER_WITH_CONTEXT("cuMemAllocAsync");
    return bytes ? allocate_on_device(address, bytes) : INVALID_VALUE;
}

DRIVER_API CUresult cuMemFreeAsync(CUdeviceptr address, void*) {
    ENTER_WITH_CONTEXT("cuMemFreeAsync");
    return free_on_device(lock, address);
}

DRIVER_API CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
    ENTER_WITH_CONTEXT("cuMemGetAddressRange");
    auto range = range_at(state.device_ranges, address);
    if (range == state.device_ranges.end()) return NOT_FOUND;
    if (base) *base = range->first;
    if (bytes) *bytes = range->second.end - range->first;
    return SUCCESS;
}

static CUresult allocate_on_host(void** address, size_t bytes, unsigned flags) {
    if (!bytes) return INVALID_VALUE;
    void* start = mmap(nullptr, round_up(bytes, PAGE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return OUT_OF_MEMORY;
    if (CUresult error = lock_pages((uint64_t)start, bytes, false, flags)) {
        munmap(start, round_up(bytes, PAGE));
        return error;
    }
    *address = start;
    return SUCCESS;
}

DRIVER_API CUresult cuMemHostAlloc(void** address, size_t bytes, unsigned flags) {
    ENTER_WITH_CONTEXT("cuMemHostAlloc");
    return allocate_on_host(address, bytes, flags);
}

DRIVER_API CUresult cuMemAllocHost_v2(void** address, size_t bytes) {
    ENTER_WITH_CONTEXT("cuMemAllocHost");
    return allocate_on_host(address, bytes, 0);
}

DRIVER_API CUresult cuMemFreeHost(void* address) {
    ENTER_WITH_CONTEXT("cuMemFreeHost");
    auto range = state.host_ranges.find((uint64_t)address);
    if (range == state.host_ranges.end() || range->second.registered) return INVALID_VALUE;
    wait_for_everything(lock);
    release_host_range((uint64_t)address, true);
    return SUCCESS;
}

DRIVER_API CUresult cuMemHostRegister_v2(void* address, size_t bytes, unsigned flags) {
    ENTER_WITH_CONTEXT("cuMemHostRegister");
    if (!bytes) return INVALID_VALUE;
    if (state.settings.register_result) return state.settings.register_result;
    return lock_pages((uint64_t)address, bytes, true, flags);
}

DRIVER_API CUresult cuMemHostUnregister(void* address) {
    ENTER_WITH_CONTEXT("cuMemHostUnregister");
    auto range = state.host_ranges.find((uint64_t)address);
    if (range == state.host_ranges.end() || !range->second.registered) return HOST_MEMORY_NOT_REGISTERED;
    wait_for_everything(lock);
    release_host_range((uint64_t)address, false);
    return SUCCESS;
}

DRIVER_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* device, void* host, unsigned) {
    ENTER_WITH_CONTEXT("cuMemHostGetDevicePointer");
    if (!covered(state.host_ranges, (uint64_t)host, 1)) return INVALID_VALUE;
    *device = (uint64_t)host;
    return SUCCESS;
}

DRIVER_API CUresult cuMemHostGetFlags(unsigned* flags, void* host) {
    ENTER_WITH_CONTEXT("cuMemHostGetFlags");
    auto range = range_at(state.host_ranges, (uint64_t)host);
    if (range == state.host_ranges.end()) return INVALID_VALUE;
    *flags = range->second.flags;
    return SUCCESS;
}

DRIVER_API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    return copy("cuMemcpyHtoD", HOST_TO_DEVICE, to, (uint64_t)from, bytes, nullptr, false);
}
DRIVER_API CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    return copy("cuMemcpyDtoH", DEVICE_TO_HOST, (uint64_t)to, from, bytes, nullptr, false);
}
DRIVER_API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return copy("cuMemcpyDtoD", DEVICE_TO_DEVICE, to, from, bytes, nullptr, true);
}
DRIVER_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, void* stream) {
    return copy("cuMemcpyHtoDAsync", HOST_TO_DEVICE, to, (uint64_t)from, bytes, stream, true);
}
DRIVER_API CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, void* stream) {
    return copy("cuMemcpyDtoHAsync", DEVICE_TO_HOST, (uint64_t)to, from, bytes, stream, true);
}
DRIVER_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream) {
    return copy("cuMemcpyDtoDAsync", DEVICE_TO_DEVICE, to, from, bytes, stream, true);
}
DRIVER_API CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    return copy_anywhere("cuMemcpy", to, from, bytes, nullptr, false);
}
DRIVER_API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* stream) {
    return copy_anywhere("cuMemcpyAsync", to, from, bytes, stream, true);
}
DRIVER_API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
    return set_memory("cuMemsetD8", to, value, count, 1, nullptr);
}
DRIVER_API CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
    return set_memory("cuMemsetD16", to, value, count, 2, nullptr);
}
DRIVER_API CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count) {
    return set_memory("cuMemsetD32", to, value, count, 4, nullptr);
}
DRIVER_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, void* stream) {
    return set_memory("cuMemsetD8Async", to, value, count, 1, stream);
}
DRIVER_API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, void* stream) {
    return set_memory("cuMemsetD16Async", to, value, count, 2, stream);
}
DRIVER_API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, void* stream) {
    return set_memory("cuMemsetD32Async", to, value, count, 4, stream);
}
