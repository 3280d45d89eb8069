// Kernels that are wrong on purpose: the simulated device must say so.
extern "C" __global__ void shuffles_with_absent_lanes(float* y, int n) {
    float value = threadIdx.x;
    if (threadIdx.x < 16) value = __shfl_down_sync(0xffffffffu, value, 8);
    y[threadIdx.x] = value;
}
extern "C" __global__ void shuffles_after_half_left(float* y, int n) {
    if (threadIdx.x >= 16) return;
    y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
extern "C" __global__ void shuffles_outside_its_mask(float* y, int n) {
    y[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 0);
}
extern "C" __global__ void writes_to_null(float* y, int n) {
    if (threadIdx.x == 3 && blockIdx.x == 1) ((volatile float*)0)[n] = 1.0f;
}
extern "C" __global__ void writes_past_the_end(float* y, int n) { y[n + threadIdx.x] = 1.0f; }
extern "C" __global__ void reads_before_the_start(float* y, int n) { y[0] = y[-1 - (int)threadIdx.x]; }
extern "C" __global__ void traps(float* y, int n) {
    if (threadIdx.x == 5) __trap();
}
#ifdef SIMCUDA
extern "C" __global__ void exceeds_shared_memory(float* y, int n) { ((float*)simcuda_dyn_shared())[threadIdx.x] = y[0]; }
#endif
