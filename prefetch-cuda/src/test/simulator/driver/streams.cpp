// Streams, events, host functions.
#include "simulator.h"

using namespace simulator;

static const unsigned DISABLE_TIMING = 2;

static CUresult create_stream(void** handle, unsigned flags, int priority) {
    Stream* stream = new_stream(current_context(), flags & 1, priority);
    stream->flags = flags;
    if (state.settings.virtual_clock) stream->now = host_now();
    *handle = stream;
    return SUCCESS;
}

DRIVER_API CUresult cuStreamCreate(void** handle, unsigned flags) {
    ENTER_WITH_CONTEXT("cuStreamCreate");
    return create_stream(handle, flags, 0);
}

DRIVER_API CUresult cuStreamCreateWithPriority(void** handle, unsigned flags, int priority) {
    ENTER_WITH_CONTEXT("cuStreamCreateWithPriority");
    return create_stream(handle, flags, std::min(0, std::max(-5, priority)));
}

DRIVER_API CUresult cuStreamGetPriority(void* handle, int* priority) {
    ENTER_WITH_CONTEXT("cuStreamGetPriority");
    STREAM(stream, handle);
    *priority = stream->priority;
    return SUCCESS;
}

DRIVER_API CUresult cuStreamGetFlags(void* handle, unsigned* flags) {
    ENTER_WITH_CONTEXT("cuStreamGetFlags");
    STREAM(stream, handle);
    *flags = stream->flags;
    return SUCCESS;
}

DRIVER_API CUresult cuStreamDestroy_v2(void* handle) {
    ENTER("cuStreamDestroy");
    if (!state.streams.count((Stream*)handle)) return INVALID_HANDLE;
    destroy_stream(lock, (Stream*)handle);
    return SUCCESS;
}

DRIVER_API CUresult cuStreamSynchronize(void* handle) {
    ENTER_WITH_CONTEXT("cuStreamSynchronize");
    STREAM(stream, handle);
    if (stream->capture) return STREAM_CAPTURE_UNSUPPORTED;
    if (!wait_for_stream(lock, stream)) return INVALID_HANDLE;
    return sticky_error();
}

DRIVER_API CUresult cuStreamQuery(void* handle) {
    ENTER_WITH_CONTEXT("cuStreamQuery");
    STREAM(stream, handle);
    if (stream->capture) return STREAM_CAPTURE_UNSUPPORTED;
    return stream->tail ? poll(lock, stream->tail) : SUCCESS;
}

DRIVER_API CUresult cuStreamWaitEvent(void* handle, Event* event, unsigned) {
    ENTER_WITH_CONTEXT("cuStreamWaitEvent");
    STREAM(stream, handle);
    if (!state.events.count(event)) return INVALID_HANDLE;
    if (event->capture) {
        if (stream->capture && stream->capture != event->capture) return STREAM_CAPTURE_INVALIDATED;
        if (!stream->capture) {
            stream->capture = event->capture;
            stream->capture_lane = event->capture->lanes++;
            event->capture->streams.insert(stream);
        }
        stream->capture_after.insert(
            stream->capture_after.end(), event->captured_after.begin(), event->captured_after.end());
        return SUCCESS;
    }
    if (stream->capture) return STREAM_CAPTURE_INVALIDATED;
    if (!event->record) return SUCCESS;
    auto operation = std::make_shared<Operation>();
    operation->kind = EVENT_WAIT;
    operation->dependencies.push_back(event->record);
    stream->clock.join(event->record->clock);
    submit(stream, operation);
    return SUCCESS;
}

DRIVER_API CUresult cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
    auto operation = std::make_shared<Operation>();
    Lock lock(state.mutex);
    if (CUresult error = context_error()) return error;
    STREAM(stream, handle);
    if (CUresult error = enter("cuLaunchHostFunc", operation.get())) return error;
    operation->kind = HOST_FUNCTION;
    operation->host_function = function;
    operation->host_data = data;
    submit(stream, operation);
    return SUCCESS;
}

namespace {
struct StreamCallback {
    void (*function)(void* stream, CUresult status, void* data);
    void* data;
    void* stream;
};
}  // namespace

DRIVER_API CUresult cuStreamAddCallback(
    void* handle, void (*function)(void*, CUresult, void*), void* data, unsigned) {
    ENTER_WITH_CONTEXT("cuStreamAddCallback");
    STREAM(stream, handle);
    if (stream->capture) return STREAM_CAPTURE_UNSUPPORTED;
    auto operation = std::make_shared<Operation>();
    operation->kind = HOST_FUNCTION;
    operation->host_data = new StreamCallback{function, data, handle};
    operation->host_function = [](void* argument) {
        std::unique_ptr<StreamCallback> callback((StreamCallback*)argument);
        callback->function(callback->stream, SUCCESS, callback->data);
    };
    submit(stream, operation);
    return SUCCESS;
}

DRIVER_API CUresult cuEventCreate(Event** handle, unsigned flags) {
    ENTER_WITH_CONTEXT("cuEventCreate");
    auto event = new Event();
    event->context = current_context();
    event->flags = flags;
    state.events.insert(event);
    *handle = event;
    return SUCCESS;
}

// The object stays: a captured stream may still name it.
DRIVER_API CUresult cuEventDestroy_v2(Event* event) {
    ENTER("cuEventDestroy");
    return state.events.erase(event) ? SUCCESS : INVALID_HANDLE;
}

static CUresult record_event(const char* function, Event* event, void* handle) {
    ENTER_WITH_CONTEXT(function);
    STREAM(stream, handle);
    if (!state.events.count(event)) return INVALID_HANDLE;
    if (stream->capture) {
        event->capture = stream->capture;
        event->captured_after = stream->capture_after;
        return SUCCESS;
    }
    auto operation = std::make_shared<Operation>();
    operation->kind = EVENT_RECORD;
    event->record = operation;
    event->capture = nullptr;
    submit(stream, operation);
    return SUCCESS;
}

DRIVER_API CUresult cuEventRecord(Event* event, void* stream) { return record_event("cuEventRecord", event, stream); }

DRIVER_API CUresult cuEventRecordWithFlags(Event* event, void* stream, unsigned) {
    return record_event("cuEventRecordWithFlags", event, stream);
}

DRIVER_API CUresult cuEventQuery(Event* event) {
    ENTER_WITH_CONTEXT("cuEventQuery");
    if (!state.events.count(event)) return INVALID_HANDLE;
    OperationPtr record = event->record;
    return record ? poll(lock, record) : SUCCESS;
}

DRIVER_API CUresult cuEventSynchronize(Event* event) {
    ENTER_WITH_CONTEXT("cuEventSynchronize");
    if (!state.events.count(event)) return INVALID_HANDLE;
    OperationPtr record = event->record;
    if (!record) return SUCCESS;
    wait_for_operation(lock, record);
    return sticky_error();
}

static CUresult elapsed_time(float* millis, Event* from, Event* to) {
    ENTER_WITH_CONTEXT("cuEventElapsedTime");
    for (Event* event : {from, to})
        if (!state.events.count(event) || !event->record || (event->flags & DISABLE_TIMING)) return INVALID_HANDLE;
    for (Event* event : {from, to})
        if (!event->record->finished || (state.settings.virtual_clock && event->record->finished_at > host_now())) return NOT_READY;
    *millis = (float)((to->record->finished_at - from->record->finished_at) / 1e6);
    return SUCCESS;
}

DRIVER_API CUresult cuEventElapsedTime(float* millis, Event* from, Event* to) { return elapsed_time(millis, from, to); }

DRIVER_API CUresult cuEventElapsedTime_v2(float* millis, Event* from, Event* to) {
    return elapsed_time(millis, from, to);
}
