package dev.prefetch.prefetch;

import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.Tier;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;

/** A device in host memory that computes nothing, counts what it gave away and remembers what was copied to it. */
final class TestDevice implements Device {

    final AtomicLong allocatedBytes = new AtomicLong();
    final AtomicLong freedBytes = new AtomicLong();
    volatile Supplier<Event> events = () -> DONE;
    /** What entered the copy stream: offsets in buffers, "wait" and "event". */
    final List<Object> copies = new CopyOnWriteArrayList<>();

    static final Event DONE = new Event() {
        @Override
        public boolean isComplete() {
            return true;
        }

        @Override
        public void await() {}
    };

    @Override
    public String backend() {
        return "test";
    }

    @Override
    public String description() {
        return "test memory";
    }

    @Override
    public Tier tier() {
        return Tier.HOST;
    }

    @Override
    public Set<GgmlType> weightTypes() {
        return Set.of(GgmlType.F32);
    }

    @Override
    public List<SlowPath> slowPaths() {
        return List.of();
    }

    @Override
    public DeviceBuffer allocate(long bytes, String purpose) {
        allocatedBytes.addAndGet(bytes);
        Arena arena = Arena.ofShared();
        return new Buffer(arena.allocate(bytes, 64), () -> {
            arena.close();
            freedBytes.addAndGet(bytes);
        });
    }

    @Override
    public DeviceBuffer wrap(MemorySegment hostMemory) {
        return new Buffer(hostMemory, () -> {});
    }

    @Override
    public ComputeStream compute() {
        return new ComputeStream() {
            @Override
            public Ops ops() {
                throw new UnsupportedOperationException();
            }

            @Override
            public Event record() {
                return events.get();
            }

            @Override
            public void await(Event event) {
                event.await();
            }

            @Override
            public void synchronize() {}
        };
    }

    @Override
    public CopyStream openCopyStream() {
        return new CopyStream() {
            @Override
            public void copy(MemorySegment source, DeviceBuffer target, long targetOffset) {
                target.upload(source, targetOffset);
                copies.add(targetOffset);
            }

            @Override
            public Event record() {
                copies.add("event");
                return DONE;
            }

            @Override
            public Event recordTimed() {
                return DONE;
            }

            @Override
            public void await(Event event) {
                copies.add("wait");
            }

            @Override
            public void close() {}
        };
    }

    @Override
    public HostMemory allocateHost(long bytes, String purpose) {
        Arena arena = Arena.ofShared();
        MemorySegment memory = arena.allocate(bytes, 4096);
        return new HostMemory() {
            @Override
            public MemorySegment memory() {
                return memory;
            }

            @Override
            public void close() {
                arena.close();
            }
        };
    }

    @Override
    public void close() {}

    private static final class Buffer implements DeviceBuffer {

        private final MemorySegment memory;
        private final Runnable release;
        private boolean closed;

        Buffer(MemorySegment memory, Runnable release) {
            this.memory = memory;
            this.release = release;
        }

        @Override
        public long byteSize() {
            return memory.byteSize();
        }

        @Override
        public void upload(MemorySegment source, long targetOffset) {
            memory.asSlice(targetOffset).copyFrom(source);
        }

        @Override
        public void download(long sourceOffset, MemorySegment target) {
            target.copyFrom(memory.asSlice(sourceOffset, target.byteSize()));
        }

        @Override
        public Optional<MemorySegment> hostMemory() {
            return Optional.of(memory);
        }

        @Override
        public synchronized void close() {
            if (!closed) {
                closed = true;
                release.run();
            }
        }
    }
}
