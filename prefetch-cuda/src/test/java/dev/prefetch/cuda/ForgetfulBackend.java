package dev.prefetch.cuda;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Tier;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/** The CUDA backend, with one kind of wait left out. Found by name only. */
public final class ForgetfulBackend implements BackendProvider {

    /** Name for the engine's options. */
    static final String ID = "cuda-forgetful";

    /** What the next device leaves out. */
    static volatile Mutation mutation = Mutation.NONE;

    /** A wait that everything depends on. */
    enum Mutation {
        NONE,
        /** Kernels start before the weights they read have arrived. */
        ARRIVAL,
        /** A slot is filled again while kernels still read it. */
        SLOT_REUSE,
        /** A staging buffer is filled again while it is still copied from. */
        STAGING_REUSE
    }

    private final CudaBackendProvider cuda = new CudaBackendProvider();

    @Override
    public String id() {
        return ID;
    }

    @Override
    public Tier tier() {
        return Tier.DEVICE;
    }

    @Override
    public int priority() {
        return Integer.MIN_VALUE;
    }

    @Override
    public Availability availability() {
        return cuda.availability();
    }

    @Override
    public Device open(DeviceOptions options) {
        return new Forgetful(cuda.open(options), mutation);
    }

    private record Forgetful(Device device, Mutation mutation) implements Device {

        @Override
        public ComputeStream compute() {
            ComputeStream stream = device.compute();
            return new ComputeStream() {
                @Override
                public Ops ops() {
                    return stream.ops();
                }

                @Override
                public Event record() {
                    return stream.record();
                }

                @Override
                public Event recordTimed() {
                    return stream.recordTimed();
                }

                @Override
                public void await(Event event) {
                    if (mutation != Mutation.ARRIVAL) {
                        stream.await(event);
                    }
                }

                @Override
                public void synchronize() {
                    stream.synchronize();
                }
            };
        }

        @Override
        public CopyStream openCopyStream() {
            CopyStream stream = device.openCopyStream();
            return new CopyStream() {
                @Override
                public void copy(MemorySegment source, DeviceBuffer target, long targetOffset) {
                    stream.copy(source, target, targetOffset);
                }

                @Override
                public Event record() {
                    return stream.record();
                }

                @Override
                public Event recordTimed() {
                    Event event = stream.recordTimed();
                    return mutation == Mutation.STAGING_REUSE ? new Unawaited(event) : event;
                }

                @Override
                public void await(Event event) {
                    if (mutation != Mutation.SLOT_REUSE) {
                        stream.await(event);
                    }
                }

                @Override
                public void close() {
                    stream.close();
                }
            };
        }

        @Override
        public String backend() {
            return ID;
        }

        @Override
        public String description() {
            return device.description();
        }

        @Override
        public Tier tier() {
            return device.tier();
        }

        @Override
        public Set<GgmlType> weightTypes() {
            return device.weightTypes();
        }

        @Override
        public List<SlowPath> slowPaths() {
            return device.slowPaths();
        }

        @Override
        public DeviceBuffer allocate(long bytes, String purpose) {
            return device.allocate(bytes, purpose);
        }

        @Override
        public DeviceBuffer wrap(MemorySegment hostMemory) {
            return device.wrap(hostMemory);
        }

        @Override
        public OptionalLong availableBytes() {
            return device.availableBytes();
        }

        @Override
        public HostMemory allocateHost(long bytes, String purpose) {
            return device.allocateHost(bytes, purpose);
        }

        @Override
        public Optional<HostMemory> pageLock(MemorySegment memory) {
            return Optional.empty();
        }

        @Override
        public void close() {
            device.close();
        }
    }

    private record Unawaited(Event event) implements Event {

        @Override
        public boolean isComplete() {
            return event.isComplete();
        }

        @Override
        public void await() {
            // Left out.
        }

        @Override
        public long timeNanos() {
            event.await();
            return event.timeNanos();
        }
    }
}
