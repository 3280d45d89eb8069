package dev.prefetch.cuda;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Tier;

/** Entry point of the CUDA backend: available where an NVIDIA driver and a card of Turing or newer are. */
public final class CudaBackendProvider implements BackendProvider {

    /** Called by {@link java.util.ServiceLoader}. */
    public CudaBackendProvider() {}

    @Override
    public String id() {
        return "cuda";
    }

    @Override
    public Tier tier() {
        return Tier.DEVICE;
    }

    @Override
    public int priority() {
        return 100;
    }

    @Override
    public Availability availability() {
        return CudaProbe.probe(0);
    }

    /**
     * {@inheritDoc}
     *
     * @throws dev.prefetch.backend.DeviceFailedException when the driver refuses the context or the kernels
     */
    @Override
    public Device open(DeviceOptions options) {
        if (CudaProbe.probe(options.ordinal()) instanceof Availability.Unavailable(String reason, String remedy)) {
            throw new IllegalStateException("the CUDA backend is unavailable, " + reason + ": " + remedy);
        }
        try {
            JCudaNatives.load();
            return CudaDevice.open(options.ordinal());
        } catch (LinkageError e) {
            throw new IllegalStateException(
                    "the CUDA backend is unavailable, JCuda's native library cannot be loaded (" + e
                            + "): use backend 'cpu', or see docs/cuda.md",
                    e);
        }
    }
}
