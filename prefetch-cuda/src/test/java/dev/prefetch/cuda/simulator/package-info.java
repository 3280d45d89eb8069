/**
 * Control of the simulated CUDA driver, whose sources are in {@code src/test/simulator}: a {@code libcuda.so.1} that
 * unmodified JCuda loads, with real streams and events, a limited device memory, a link with a bandwidth, injected
 * faults, and a checker that reports every access to memory that streams and events do not put in order.
 */
@NullMarked
package dev.prefetch.cuda.simulator;

import org.jspecify.annotations.NullMarked;
