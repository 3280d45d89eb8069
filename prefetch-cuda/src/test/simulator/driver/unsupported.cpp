// Every other driver function that JCuda 12.6 binds: a call is refused and reported, for a function that libcuda lacks
// would end the process.
#include "simulator.h"

#define UNSUPPORTED(name)                                                          \
    DRIVER_API CUresult name() {                                                    \
        simulator::Lock lock(simulator::state.mutex);                               \
        simulator::find("unsupported", #name, "%s is not simulated", #name);        \
        return simulator::NOT_SUPPORTED;                                            \
    }

#include "unsupported.inc"
