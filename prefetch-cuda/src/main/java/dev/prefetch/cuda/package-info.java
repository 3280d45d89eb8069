/**
 * The CUDA backend: a second implementation of {@code dev.prefetch.backend} for NVIDIA cards.
 *
 * <p>It needs the driver alone ({@code libcuda.so.1}), no toolkit. {@link dev.prefetch.cuda.CudaProbe} finds out whether
 * there is one without touching JCuda; behind it, {@code CudaContext} owns the context and turns every result code of the
 * driver into an exception, {@code CudaOps} checks arguments and launches the kernels of {@code src/main/cuda}, which travel
 * as PTX among the resources. May use {@code backend} and {@code gguf} of the core, and JCuda.
 */
@NullMarked
package dev.prefetch.cuda;

import org.jspecify.annotations.NullMarked;
