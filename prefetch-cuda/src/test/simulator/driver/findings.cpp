// Findings, and faults: which call of which function fails, and how.
#include "simulator.h"

namespace simulator {

// Reports each kind and key once, so that a loop with one mistake gives one line.
void find(const char* kind, const std::string& key, const char* format, ...) {
    state.counters[std::string("findings.") + kind]++;
    if (!state.finding_keys.insert(std::string(kind) + '|' + key).second) return;
    char text[900];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    state.findings.push_back(std::string(kind) + ": " + text);
}

// "function:call=code" with the variants "call+" (and every later call), "=code!" (set when the operation runs, sticky),
// "=hang" and "=delay<microseconds>"; several are separated by ';'.
bool parse_faults(const std::string& text) {
    std::vector<Fault> parsed;
    for (size_t at = 0; at < text.size();) {
        size_t end = std::min(text.find(';', at), text.size());
        std::string part = text.substr(at, end - at);
        at = end + 1;
        if (part.empty()) continue;
        size_t colon = part.rfind(':'), equals = part.find('=');
        if (colon == std::string::npos || equals == std::string::npos || equals < colon) return false;
        std::string effect = part.substr(equals + 1);
        Fault fault{part.substr(0, colon), atol(part.c_str() + colon + 1), part[equals - 1] == '+', SUCCESS, false, false, 0};
        if (effect == "hang") fault.hang = true;
        else if (effect.compare(0, 5, "delay") == 0) fault.delay_us = atof(effect.c_str() + 5);
        else {
            fault.code = atoi(effect.c_str());
            fault.asynchronous = effect.back() == '!';
            if (fault.code <= 0) return false;
        }
        parsed.push_back(fault);
    }
    state.faults = parsed;
    state.calls.clear();
    return true;
}

// Counts a call and applies the faults set for it. Returns the error that the call must return.
CUresult enter(const char* function, Operation* operation) {
    long call = ++state.calls[function];
    for (const Fault& fault : state.faults) {
        if (fault.function != function || (call != fault.call && !(fault.and_later && call > fault.call))) continue;
        state.counters["faults"]++;
        if (!fault.hang && !fault.asynchronous && fault.delay_us == 0) return fault.code;
        if (!operation) {
            find("unsupported", function, "a fault on %s can only be an error code: it starts no operation", function);
            continue;
        }
        operation->hangs |= fault.hang;
        operation->delay += nanos(fault.delay_us);
        if (fault.asynchronous) operation->fault = fault.code;
    }
    return SUCCESS;
}

}  // namespace simulator
