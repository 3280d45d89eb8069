// Modules: the PTX that a GPU would get names the kernels; the same sources, compiled by g++, run them.
#include "simulator.h"
#include <dlfcn.h>

namespace simulator {

struct PtxParameter {
    int bytes, alignment;
};
struct PtxEntry {
    std::vector<PtxParameter> parameters;
    int max_threads = 1024;
};
struct Ptx {
    int version = 0, target = 0;
    std::map<std::string, PtxEntry> entries;
};

static std::string without_comments(const std::string& text) {
    std::string out;
    for (size_t i = 0; i < text.size(); i++) {
        if (text.compare(i, 2, "//") == 0) {
            i = text.find('\n', i);
            if (i == std::string::npos) break;
            out += '\n';
        } else if (text.compare(i, 2, "/*") == 0) {
            i = text.find("*/", i + 2);
            if (i == std::string::npos) break;
            i++;
        } else {
            out += text[i];
        }
    }
    return out;
}

static int type_bytes(const std::string& declaration) {
    size_t at = declaration.find_first_of("bsuf", declaration.find('.') + 1);
    for (size_t dot = declaration.find('.'); dot != std::string::npos; dot = declaration.find('.', dot + 1)) {
        at = dot + 1;
        if (!strchr("bsuf", declaration[at])) continue;
        int bits = atoi(declaration.c_str() + at + 1);
        if (bits >= 8 && bits <= 64) return bits / 8;
    }
    return 0;
}

static bool parse_parameters(const std::string& list, std::vector<PtxParameter>& parameters) {
    const std::string word = ".param";
    for (size_t at = list.find(word); at != std::string::npos;) {
        size_t next = list.find(word, at + word.size());
        std::string declaration = list.substr(at + word.size(), next == std::string::npos ? next : next - at - word.size());
        int bytes = type_bytes(declaration), alignment = bytes;
        if (!bytes) return false;
        size_t align = declaration.find(".align"), bracket = declaration.find('[');
        if (align != std::string::npos) alignment = atoi(declaration.c_str() + align + 6);
        if (bracket != std::string::npos) bytes *= atoi(declaration.c_str() + bracket + 1);
        parameters.push_back({bytes, alignment});
        at = next;
    }
    return true;
}

static bool parse_ptx(const std::string& source, Ptx& ptx) {
    const std::string text = without_comments(source);
    size_t version = text.find(".version"), target = text.find(".target");
    if (version == std::string::npos || target == std::string::npos) return false;
    ptx.version = (int)(atof(text.c_str() + version + 8) * 10 + 0.5);
    target = text.find("sm_", target);
    ptx.target = target == std::string::npos ? 0 : atoi(text.c_str() + target + 3);
    for (size_t at = text.find(".entry"); at != std::string::npos; at = text.find(".entry", at)) {
        at += 6;
        size_t name = text.find_first_not_of(" \t\n", at), end = text.find_first_of(" \t\n({", name);
        if (end == std::string::npos) return false;
        PtxEntry& entry = ptx.entries[text.substr(name, end - name)];
        size_t body = text.find('{', end), open = text.find_first_not_of(" \t\n", end), close = end;
        if (body == std::string::npos) return false;
        if (text[open] == '(') {
            close = text.find(')', open);
            if (close == std::string::npos || !parse_parameters(text.substr(open, close - open), entry.parameters)) return false;
        }
        size_t limit = text.find(".maxntid", close);
        if (limit < body) {
            int x = 1, y = 1, z = 1;
            sscanf(text.c_str() + limit + 8, " %d , %d , %d", &x, &y, &z);
            entry.max_threads = x * y * z;
        }
        at = close;
    }
    return true;
}

static void load_libraries() {
    const std::string& list = state.settings.kernel_libraries;
    for (size_t at = 0; at < list.size();) {
        size_t end = std::min(list.find(':', at), list.size());
        std::string file = list.substr(at, end - at);
        at = end + 1;
        if (!state.loaded_libraries.insert(file).second) continue;
        void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
        auto get = handle ? (const simulator_library* (*)())dlsym(handle, "simulator_kernel_library") : nullptr;
        if (!get) {
            const char* error = dlerror();
            find("module", file, "cannot load %s: %s", file.c_str(), error ? error : "it is no kernel library");
            continue;
        }
        const simulator_library* library = get();
        if (library->abi_version != SIMULATOR_ABI_VERSION) {
            find("module", file, "%s was built for another version of the simulator", file.c_str());
            continue;
        }
        for (int i = 0; i < library->kernel_count; i++) {
            const simulator_kernel* kernel = library->kernels[i];
            if (!state.kernels.insert({kernel->name, {library, kernel}}).second)
                find("module", kernel->name, "kernel %s is defined twice, in %s and %s", kernel->name,
                    state.kernels[kernel->name].first->source, library->source);
        }
    }
}

static bool same_parameters(const PtxEntry& entry, const simulator_kernel& kernel) {
    if ((int)entry.parameters.size() != kernel.parameter_count) return false;
    for (int i = 0; i < kernel.parameter_count; i++)
        if (entry.parameters[i].bytes != kernel.parameter_size[i]
            || entry.parameters[i].alignment != kernel.parameter_alignment[i])
            return false;
    return true;
}

static CUresult load_module(void** handle, const char* image) {
    if (!image || !handle) return INVALID_VALUE;
    if (image[0] == 0x7f || image[0] == 0x50) {
        find("unsupported", "image", "cubin and fatbin images cannot be simulated: load PTX");
        return NO_BINARY_FOR_GPU;
    }
    Ptx ptx;
    if (!parse_ptx(image, ptx)) return INVALID_PTX;
    if (ptx.version > state.settings.newest_ptx) return UNSUPPORTED_PTX_VERSION;
    if (ptx.target > state.settings.compute_capability) return NO_BINARY_FOR_GPU;
    load_libraries();
    auto module = std::make_unique<Module>();
    module->context = current_context();
    for (auto& entry : ptx.entries) {
        auto found = state.kernels.find(entry.first);
        if (found == state.kernels.end()) {
            find("module", entry.first, "no kernel library has the kernel %s that the PTX names", entry.first.c_str());
            return INVALID_IMAGE;
        }
        auto [library, kernel] = found->second;
        if (!same_parameters(entry.second, *kernel)) {
            find("stale", entry.first, "the parameters of %s differ between the PTX and %s", entry.first.c_str(),
                library->source);
            return INVALID_IMAGE;
        }
        auto function = std::make_unique<Function>();
        function->module = module.get();
        function->library = library;
        function->kernel = kernel;
        function->max_threads = entry.second.max_threads;
        module->functions[entry.first] = std::move(function);
    }
    for (auto& function : module->functions) state.functions.insert(function.second.get());
    state.modules.insert(module.get());
    *handle = module.release();
    return SUCCESS;
}

// The object stays: queued launches may still name its functions.
void destroy_module(Module* module) {
    for (auto& function : module->functions) state.functions.erase(function.second.get());
    state.modules.erase(module);
}

Function* function_of(void* handle) { return state.functions.count((Function*)handle) ? (Function*)handle : nullptr; }

static const int MAX_DYNAMIC_SHARED_BYTES = 8;
static const unsigned DEFAULT_SHARED_BYTES = 49152, LARGEST_SHARED_BYTES = 232448;

static unsigned shared_limit(const Function& function) {
    auto set = function.attributes.find(MAX_DYNAMIC_SHARED_BYTES);
    return set == function.attributes.end() ? DEFAULT_SHARED_BYTES : (unsigned)set->second;
}

// Takes the values of the parameters, from an array of pointers or from one packed buffer.
static CUresult take_parameters(Operation& operation, void** parameters, void** extra) {
    const simulator_kernel& kernel = *operation.function->kernel;
    uint32_t bytes = 0;
    for (int i = 0; i < kernel.parameter_count; i++) {
        bytes = (uint32_t)round_up(bytes, kernel.parameter_alignment[i]);
        operation.parameter_offsets.push_back(bytes);
        bytes += kernel.parameter_size[i];
    }
    operation.parameters = std::make_shared<std::vector<char>>(bytes + 16);
    char* values = operation.parameters->data();
    if (parameters) {
        for (int i = 0; i < kernel.parameter_count; i++) {
            if (!parameters[i]) return INVALID_VALUE;
            memcpy(values + operation.parameter_offsets[i], parameters[i], kernel.parameter_size[i]);
        }
        return SUCCESS;
    }
    if (!extra) return kernel.parameter_count ? INVALID_VALUE : SUCCESS;
    void* buffer = nullptr;
    size_t length = 0;
    for (int i = 0; extra[i]; i += 2) {
        if (extra[i] == (void*)1) buffer = extra[i + 1];
        if (extra[i] == (void*)2) length = *(size_t*)extra[i + 1];
    }
    if (!buffer || length < bytes) return INVALID_VALUE;
    memcpy(values, buffer, bytes);
    return SUCCESS;
}

}  // namespace simulator

using namespace simulator;

DRIVER_API CUresult cuModuleLoadData(void** module, const void* image) {
    ENTER_WITH_CONTEXT("cuModuleLoadData");
    return load_module(module, (const char*)image);
}

DRIVER_API CUresult cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    ENTER_WITH_CONTEXT("cuModuleLoadDataEx");
    return load_module(module, (const char*)image);
}

DRIVER_API CUresult cuModuleLoad(void** module, const char* name) {
    ENTER_WITH_CONTEXT("cuModuleLoad");
    std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(name, "rb"), fclose);
    if (!file) return FILE_NOT_FOUND;
    std::string text;
    char buffer[65536];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file.get())) > 0;) text.append(buffer, n);
    return load_module(module, text.c_str());
}

DRIVER_API CUresult cuModuleUnload(Module* module) {
    ENTER_WITH_CONTEXT("cuModuleUnload");
    if (!state.modules.count(module)) return INVALID_HANDLE;
    destroy_module(module);
    return SUCCESS;
}

DRIVER_API CUresult cuModuleGetFunction(void** handle, Module* module, const char* name) {
    ENTER_WITH_CONTEXT("cuModuleGetFunction");
    if (!state.modules.count(module)) return INVALID_HANDLE;
    auto function = module->functions.find(name);
    if (function == module->functions.end()) return NOT_FOUND;
    *handle = function->second.get();
    return SUCCESS;
}

DRIVER_API CUresult cuFuncSetAttribute(void* handle, int attribute, int value) {
    ENTER_WITH_CONTEXT("cuFuncSetAttribute");
    Function* function = function_of(handle);
    if (!function) return INVALID_HANDLE;
    if (attribute == MAX_DYNAMIC_SHARED_BYTES && (unsigned)value > LARGEST_SHARED_BYTES) return INVALID_VALUE;
    function->attributes[attribute] = value;
    return SUCCESS;
}

DRIVER_API CUresult cuFuncGetAttribute(int* value, int attribute, void* handle) {
    ENTER_WITH_CONTEXT("cuFuncGetAttribute");
    Function* function = function_of(handle);
    if (!function) return INVALID_HANDLE;
    auto set = function->attributes.find(attribute);
    if (attribute == 0) *value = function->max_threads;
    else if (attribute == MAX_DYNAMIC_SHARED_BYTES) *value = (int)shared_limit(*function);
    else *value = set == function->attributes.end() ? 0 : set->second;
    return SUCCESS;
}

DRIVER_API CUresult cuFuncSetCacheConfig(void* handle, int) {
    ENTER_WITH_CONTEXT("cuFuncSetCacheConfig");
    return function_of(handle) ? SUCCESS : INVALID_HANDLE;
}

// Counts threads only: registers and shared memory are not simulated.
DRIVER_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* handle, int threads, size_t) {
    ENTER_WITH_CONTEXT("cuOccupancyMaxActiveBlocksPerMultiprocessor");
    if (!function_of(handle) || threads < 1) return INVALID_VALUE;
    *blocks = 2048 / threads;
    return SUCCESS;
}

DRIVER_API CUresult cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
    unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream_handle, void** parameters, void** extra) {
    Lock lock(state.mutex);
    if (CUresult error = context_error()) return error;
    STREAM(stream, stream_handle);
    Function* function = function_of(handle);
    if (!function) return INVALID_HANDLE;
    auto operation = std::make_shared<Operation>();
    operation->kind = KERNEL;
    operation->function = function;
    if (CUresult error = enter("cuLaunchKernel", operation.get())) return error;
    std::string named = std::string("cuLaunchKernel.") + function->kernel->name;
    if (CUresult error = enter(named.c_str(), operation.get())) return error;

    const unsigned grid[] = {grid_x, grid_y, grid_z}, block[] = {block_x, block_y, block_z};
    uint64_t threads = (uint64_t)block_x * block_y * block_z;
    if (!grid_x || !grid_y || !grid_z || grid_x > 2147483647u || grid_y > 65535 || grid_z > 65535) return INVALID_VALUE;
    if (threads == 0 || threads > (uint64_t)function->max_threads || block_z > 64) return INVALID_VALUE;
    if (shared_bytes > shared_limit(*function)) return INVALID_VALUE;
    memcpy(operation->grid, grid, sizeof grid);
    memcpy(operation->block, block, sizeof block);
    operation->shared_bytes = shared_bytes;
    if (CUresult error = take_parameters(*operation, parameters, extra)) return error;
    submit(stream, operation);
    return SUCCESS;
}
