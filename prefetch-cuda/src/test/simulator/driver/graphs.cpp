// CUDA graphs made by stream capture.
#include "simulator.h"

namespace simulator {

// capture_after of a capturing stream names the nodes that its next operation comes after: its own last one, and those
// of the events it waited for.
void capture(Stream* stream, const OperationPtr& operation) {
    Graph* graph = stream->capture;
    operation->stream = stream;
    graph->nodes.push_back({operation, stream->capture_lane, stream->capture_after});
    stream->capture_after = {graph->nodes.size() - 1};
}

static bool joined(const Graph& graph) {
    std::vector<bool> reached(graph.nodes.size());
    std::vector<size_t> open = graph.origin->capture_after;
    while (!open.empty()) {
        size_t node = open.back();
        open.pop_back();
        if (reached[node]) continue;
        reached[node] = true;
        open.insert(open.end(), graph.nodes[node].after.begin(), graph.nodes[node].after.end());
    }
    return std::all_of(reached.begin(), reached.end(), [](bool r) { return r; });
}

static void launch(Graph* graph, Stream* stream) {
    state.host_clock.put(0, state.host_clock.at(0) + 1);
    VectorClock start = stream->clock;
    start.join(state.host_clock);
    std::vector<VectorClock> node_clocks;
    for (const Graph::Node& node : graph->nodes) {
        auto operation = std::make_shared<Operation>(*node.operation);
        describe(*operation, stream);
        VectorClock clock = start;
        for (size_t before : node.after) clock.join(node_clocks[before]);
        size_t thread = graph->lane_threads[node.lane];
        operation->actor->thread = thread;
        operation->actor->clock = ++graph->lane_clocks[node.lane];
        clock.put(thread, operation->actor->clock);
        node_clocks.push_back(clock);
        submit(stream, operation, clock, operation->actor);
    }
    for (const VectorClock& clock : node_clocks) stream->clock.join(clock);
    // What follows in the stream comes after the whole graph, and is recognised by the stream's own clock.
    auto end = std::make_shared<Operation>();
    end->kind = EVENT_RECORD;
    submit(stream, end);
}

}  // namespace simulator

using namespace simulator;

DRIVER_API CUresult cuStreamBeginCapture_v2(void* handle, int) {
    ENTER_WITH_CONTEXT("cuStreamBeginCapture");
    if (!state.streams.count((Stream*)handle)) return STREAM_CAPTURE_UNSUPPORTED;
    auto stream = (Stream*)handle;
    if (stream->capture) return INVALID_VALUE;
    stream->capture = new Graph();
    stream->capture->origin = stream;
    stream->capture->streams.insert(stream);
    stream->capture_lane = stream->capture->lanes++;
    stream->capture_after.clear();
    return SUCCESS;
}

DRIVER_API CUresult cuStreamEndCapture(void* handle, void** result) {
    ENTER_WITH_CONTEXT("cuStreamEndCapture");
    if (!state.streams.count((Stream*)handle)) return INVALID_HANDLE;
    Graph* graph = ((Stream*)handle)->capture;
    if (!graph || graph->origin != handle) return INVALID_VALUE;
    bool complete = joined(*graph);
    for (Stream* stream : graph->streams) {
        stream->capture = nullptr;
        stream->capture_after.clear();
    }
    for (Event* event : state.events)
        if (event->capture == graph) event->capture = nullptr;
    *result = nullptr;
    if (!complete) return STREAM_CAPTURE_UNJOINED;
    state.graphs.insert(graph);
    *result = graph;
    return SUCCESS;
}

DRIVER_API CUresult cuStreamIsCapturing(void* handle, int* status) {
    ENTER_WITH_CONTEXT("cuStreamIsCapturing");
    STREAM(stream, handle);
    *status = stream->capture ? 1 : 0;
    return SUCCESS;
}

DRIVER_API CUresult cuGraphInstantiateWithFlags(void** handle, Graph* graph, unsigned long long) {
    ENTER_WITH_CONTEXT("cuGraphInstantiate");
    if (!state.graphs.count(graph)) return INVALID_HANDLE;
    auto executable = new Graph(*graph);
    for (size_t lane = 0; lane < graph->lanes; lane++) executable->lane_threads.push_back(state.next_thread++);
    executable->lane_clocks.resize(graph->lanes, 0);
    state.graphs.insert(executable);
    *handle = executable;
    return SUCCESS;
}

DRIVER_API CUresult cuGraphLaunch(Graph* graph, void* handle) {
    ENTER_WITH_CONTEXT("cuGraphLaunch");
    STREAM(stream, handle);
    if (!state.graphs.count(graph) || graph->lane_threads.empty()) return INVALID_HANDLE;
    launch(graph, stream);
    return SUCCESS;
}

DRIVER_API CUresult cuGraphDestroy(Graph* graph) {
    ENTER("cuGraphDestroy");
    return state.graphs.erase(graph) ? SUCCESS : INVALID_HANDLE;
}

DRIVER_API CUresult cuGraphExecDestroy(Graph* graph) {
    ENTER("cuGraphExecDestroy");
    return state.graphs.erase(graph) ? SUCCESS : INVALID_HANDLE;
}
