package dev.prefetch.api;

import dev.prefetch.backend.AttentionShape;
import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Devices;
import dev.prefetch.backend.Tier;
import dev.prefetch.gguf.GgmlType;
import dev.prefetch.model.BlockTensor;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.UnsupportedModelException;
import dev.prefetch.model.WeightBlock;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;

/** Opened devices, closed together, once. */
final class DeviceSet implements AutoCloseable {

    private final Devices devices;
    private final AtomicBoolean closed = new AtomicBoolean();

    private DeviceSet(Devices devices) {
        this.devices = devices;
    }

    Devices devices() {
        return devices;
    }

    /**
     * Opens the backend asked for, and the host's own beside it where that has memory of its own.
     *
     * @throws BackendUnavailableException when there is none
     * @throws UnsupportedModelException when it does not compute models of this kind
     */
    static DeviceSet open(Model model, EngineOptions options, int threads) {
        return open(Backends.choose(options.backend(), model), options, threads);
    }

    /** Opens a backend that was chosen already. */
    static DeviceSet open(BackendProvider provider, EngineOptions options, int threads) {
        Device primary =
                provider.open(new DeviceOptions(threads, options.accelerator().ordinal()));
        if (primary.tier() == Tier.HOST) {
            return new DeviceSet(Devices.of(primary));
        }
        try {
            return new DeviceSet(new Devices(primary, Backends.host().open(new DeviceOptions(threads))));
        } catch (RuntimeException | Error e) {
            primary.close();
            throw e;
        }
    }

    /** Opens the host's own alone. */
    static DeviceSet openHost(int threads) {
        return new DeviceSet(Devices.of(Backends.host().open(new DeviceOptions(threads))));
    }

    /**
     * @throws UnsupportedModelException when the primary device has no kernels for a tensor's type, a layer's attention or
     *     keys and values of that type
     */
    void requireSupport(Model model, KvCacheType kvCacheType) {
        Device device = devices.primary();
        Set<GgmlType> supported = device.weightTypes();
        for (WeightBlock block : model.graph().blocks()) {
            for (BlockTensor tensor : block.tensors()) {
                if (!supported.contains(tensor.type())) {
                    throw new UnsupportedModelException(model.file().path() + ": tensor " + tensor.name() + " has type "
                            + tensor.type() + ", which backend " + device.backend()
                            + " does not support; supported are "
                            + supported.stream().sorted().toList());
                }
            }
        }
        for (LoraAdapter adapter : model.adapters()) {
            adapter.types()
                    .filter(type -> !supported.contains(type))
                    .findFirst()
                    .ifPresent(type -> {
                        throw new UnsupportedModelException(adapter.file().path() + ": backend " + device.backend()
                                + " does not support its type " + type);
                    });
        }
        AttentionShape shape = model.config().attention();
        if (!device.supportsAttention(shape)) {
            throw new UnsupportedModelException(
                    model.file().path() + ": heads of " + shape.keyDim() + " and " + shape.valueDim()
                            + " dimensions, as the model's attention has them, are not supported by backend "
                            + device.backend() + "; use backend 'cpu'");
        }
        if (model.config().delta() != null && !device.supportsDeltaRule()) {
            throw new UnsupportedModelException(model.file().path() + ": layers of linear attention, as architecture '"
                    + model.config().architecture().id() + "' has them, are not supported by backend "
                    + device.backend() + "; use spring.ai.prefetch.backend=cpu");
        }
        requireSupport(model, shape, kvCacheType);
    }

    private void requireSupport(Model model, AttentionShape shape, KvCacheType kvCacheType) {
        Device device = devices.primary();
        Set<GgmlType> supported = device.kvTypes();
        if (!supported.contains(kvCacheType.format())) {
            throw new UnsupportedModelException(
                    model.file().path() + ": spring.ai.prefetch.kv-cache-type=" + kvCacheType.id()
                            + " is not supported by backend " + device.backend() + ", which keeps keys and values as "
                            + names(supported) + "; choose one of those, or spring.ai.prefetch.backend=cpu");
        }
        requireWholeBlocks(model.file().path(), shape, kvCacheType);
    }

    /** @throws UnsupportedModelException when a head is not a whole number of the type's blocks */
    static void requireWholeBlocks(Path file, AttentionShape shape, KvCacheType kvCacheType) {
        int block = kvCacheType.format().blockElements();
        if (shape.keyDim() % block != 0 || shape.valueDim() % block != 0) {
            throw new UnsupportedModelException(file + ": spring.ai.prefetch.kv-cache-type=" + kvCacheType.id()
                    + " needs heads of a multiple of " + block + " dimensions, but those of the model have "
                    + shape.keyDim() + " and " + shape.valueDim()
                    + "; choose f16 or f32");
        }
    }

    private static String names(Set<GgmlType> types) {
        return types.stream()
                .sorted()
                .map(type -> type.name().toLowerCase(Locale.ROOT))
                .collect(Collectors.joining(", "));
    }

    @Override
    public void close() {
        if (closed.compareAndSet(false, true)) {
            devices.primary().close();
            if (devices.accelerated()) {
                devices.host().close();
            }
        }
    }
}
