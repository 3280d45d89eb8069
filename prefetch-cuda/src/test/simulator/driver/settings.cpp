#include "simulator.h"

namespace simulator {

bool Settings::set(const std::string& key, const std::string& value) {
    const std::map<std::string, double*> numbers = {
        {"host_to_device_gbps", &host_to_device_gbps}, {"device_to_host_gbps", &device_to_host_gbps},
        {"pageable_gbps", &pageable_gbps}, {"device_memory_gbps", &device_memory_gbps},
        {"copy_latency_us", &copy_latency_us}, {"launch_us", &launch_us}, {"kernel_us", &kernel_us},
        {"call_us", &call_us}};
    const std::map<std::string, bool*> flags = {{"virtual_clock", &virtual_clock}, {"lazy", &lazy}, {"track", &track},
        {"refuse_pageable", &refuse_pageable}};
    const std::map<std::string, int*> integers = {{"register_result", &register_result},
        {"driver_version", &driver_version}, {"device_count", &device_count},
        {"compute_capability", &compute_capability}, {"newest_ptx", &newest_ptx},
        {"multiprocessors", &multiprocessors}};
    const std::map<std::string, uint64_t*> sizes = {
        {"device_bytes", &device_bytes}, {"page_locked_bytes", &page_locked_bytes}};
    const std::map<std::string, std::string*> texts = {
        {"kernel_libraries", &kernel_libraries}, {"device_name", &device_name}};

    if (key == "defaults") *this = Settings();
    else if (auto n = numbers.find(key); n != numbers.end()) *n->second = std::stod(value);
    else if (auto f = flags.find(key); f != flags.end()) *f->second = value == "true";
    else if (auto i = integers.find(key); i != integers.end()) *i->second = std::stoi(value);
    else if (auto s = sizes.find(key); s != sizes.end()) *s->second = std::stoull(value);
    else if (auto t = texts.find(key); t != texts.end()) *t->second = value;
    else if (key.compare(0, 10, "kernel_us.") == 0) kernel_us_by_name[key.substr(10)] = std::stod(value);
    else return false;
    // Modules loaded from now on take their kernels from the libraries named now.
    if (key == "kernel_libraries") {
        state.kernels.clear();
        state.loaded_libraries.clear();
    }
    return true;
}

}  // namespace simulator
