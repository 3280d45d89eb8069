package dev.prefetch.cuda;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;

/** Entry point of the CUDA backend. It has no kernels yet, so it reports itself unavailable on every machine. */
public final class CudaBackendProvider implements BackendProvider {

    private static final Availability.Unavailable UNAVAILABLE = new Availability.Unavailable(
            "this version of prefetch-cuda contains no kernels",
            "Use backend 'cpu' or 'auto', or a later version of prefetch-cuda.");

    @Override
    public String id() {
        return "cuda";
    }

    @Override
    public int priority() {
        return 100;
    }

    @Override
    public Availability availability() {
        return UNAVAILABLE;
    }

    @Override
    public Device open(DeviceOptions options) {
        throw new IllegalStateException(
                "backend 'cuda' cannot be used: " + UNAVAILABLE.reason() + ". " + UNAVAILABLE.remedy());
    }
}
