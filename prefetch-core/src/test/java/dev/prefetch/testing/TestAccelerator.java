package dev.prefetch.testing;

import dev.prefetch.backend.BackendProvider;
import dev.prefetch.backend.ComputeStream;
import dev.prefetch.backend.CopyStream;
import dev.prefetch.backend.Device;
import dev.prefetch.backend.DeviceBuffer;
import dev.prefetch.backend.DeviceFailedException;
import dev.prefetch.backend.DeviceOptions;
import dev.prefetch.backend.Event;
import dev.prefetch.backend.HostMemory;
import dev.prefetch.backend.KvLayer;
import dev.prefetch.backend.Ops;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.backend.Tier;
import dev.prefetch.backend.Weight;
import dev.prefetch.gguf.GgmlType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A device with memory of its own, made from the CPU's: its streams are threads, so that whatever is not ordered by events
 * goes wrong, and the host cannot see its memory. Found by name only, never by preference.
 */
public final class TestAccelerator implements BackendProvider {

    /** Name for the engine's options. */
    public static final String ID = "test-accelerator";

    /** Free memory that the next device says it has. */
    public static volatile long capacityBytes = 4L << 30;

    /** Memory that a device says it has and does not give. */
    public static volatile long hiddenBytes;

    private static final AtomicLong ALLOCATED = new AtomicLong();

    /** What the last device that was opened has given. */
    public static long allocatedBytes() {
        return ALLOCATED.get();
    }
    /** Memory for intermediate results that the next device says it needs, and does not. */
    public static volatile long scratchBytes;

    /** Whether devices have the operations of linear attention. */
    public static volatile boolean deltaRule = true;

    /** Whether the next device locks host memory in place. */
    public static volatile boolean locksInPlace;

    /** How long each copy takes at least. */
    public static volatile long copyNanos;

    /** Which operation or copy, counted from the next on, fails and takes the device with it; 0 for none. */
    public static final AtomicInteger FAILS_AT = new AtomicInteger();

    /** Bytes that came back from any device. */
    public static final AtomicLong DOWNLOADED_BYTES = new AtomicLong();

    /** Devices that were opened and not closed. */
    public static final AtomicInteger OPEN = new AtomicInteger();

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
        return new Availability.Available("the CPU in disguise");
    }

    @Override
    public Device open(DeviceOptions options) {
        OPEN.incrementAndGet();
        ALLOCATED.set(0);
        return new Accelerator(MeteredBackend.cpu().open(options));
    }

    private static final class Accelerator implements Device {

        private final Device cpu;
        private final StreamThread compute = new StreamThread("compute");
        private final AtomicLong allocated = new AtomicLong();
        private final Ops ops;
        private volatile DeviceFailedException lost;
        private boolean closed;

        Accelerator(Device cpu) {
            this.cpu = cpu;
            Ops real = cpu.compute().ops();
            this.ops = (Ops) Proxy.newProxyInstance(
                    Ops.class.getClassLoader(), new Class<?>[] {Ops.class}, (proxy, method, args) -> {
                        if (args == null) {
                            // It has no operations for experts: the host chooses them.
                            return null;
                        }
                        Object[] inner = new Object[args.length];
                        for (int i = 0; i < args.length; i++) {
                            inner[i] = unwrap(args[i]);
                        }
                        compute.enqueue(() -> call(real, method, inner));
                        return null;
                    });
        }

        private void call(Ops real, Method method, Object[] args) {
            mayFail(method.getName());
            try {
                method.invoke(real, args);
            } catch (InvocationTargetException e) {
                throw new IllegalStateException(e.getCause());
            } catch (IllegalAccessException e) {
                throw new IllegalStateException(e);
            }
        }

        void mayFail(String what) {
            if (FAILS_AT.get() > 0 && FAILS_AT.decrementAndGet() == 0) {
                lost = new DeviceFailedException("injected fault at " + what);
            }
            requireAlive();
        }

        void requireAlive() {
            DeviceFailedException failure = lost;
            if (failure != null) {
                throw new DeviceFailedException(failure.getMessage(), failure);
            }
        }

        private static Object unwrap(Object arg) {
            return switch (arg) {
                case null -> null;
                case Buffer buffer -> buffer.inner;
                case Weight w ->
                    new Weight(w.type(), w.rows(), w.cols(), (DeviceBuffer) unwrap(w.buffer()), w.offset());
                case KvLayer layer -> new UnwrappedKv(layer);
                case List<?> list -> list.stream().map(Accelerator::unwrap).toList();
                case int[] ints -> ints.clone();
                case float[] floats -> floats.clone();
                default -> arg;
            };
        }

        @Override
        public String backend() {
            return ID;
        }

        @Override
        public String description() {
            return "the CPU in disguise";
        }

        @Override
        public Tier tier() {
            return Tier.DEVICE;
        }

        @Override
        public Set<GgmlType> weightTypes() {
            return cpu.weightTypes();
        }

        @Override
        public boolean supportsDeltaRule() {
            return deltaRule && cpu.supportsDeltaRule();
        }

        @Override
        public List<SlowPath> slowPaths() {
            return List.of();
        }

        @Override
        public DeviceBuffer allocate(long bytes, String purpose) {
            requireAlive();
            long given = allocated.addAndGet(bytes);
            ALLOCATED.set(given);
            if (given > capacityBytes - hiddenBytes) {
                allocated.addAndGet(-bytes);
                throw new OutOfDeviceMemoryException(
                        bytes + " bytes for " + purpose + " do not fit", new IllegalStateException("full"));
            }
            return new Buffer(cpu.allocate(bytes, purpose), bytes);
        }

        @Override
        public DeviceBuffer wrap(MemorySegment hostMemory) {
            throw new UnsupportedOperationException("the device does not see host memory");
        }

        @Override
        public OptionalLong availableBytes() {
            return OptionalLong.of(capacityBytes - allocated.get());
        }

        @Override
        public long scratchBytes(int rows, long widestInput) {
            return scratchBytes;
        }

        @Override
        public HostMemory allocateHost(long bytes, String purpose) {
            Arena arena = Arena.ofShared();
            return new Locked(arena.allocate(bytes, 4096), arena::close);
        }

        @Override
        public Optional<HostMemory> pageLock(MemorySegment memory) {
            return locksInPlace ? Optional.of(new Locked(memory, () -> {})) : Optional.empty();
        }

        @Override
        public ComputeStream compute() {
            return new ComputeStream() {
                @Override
                public Ops ops() {
                    return ops;
                }

                @Override
                public Event record() {
                    return compute.record();
                }

                @Override
                public Event recordTimed() {
                    return compute.record();
                }

                @Override
                public void await(Event event) {
                    compute.enqueue(event::await);
                }

                @Override
                public void synchronize() {
                    compute.record().await();
                }
            };
        }

        @Override
        public CopyStream openCopyStream() {
            StreamThread copies = new StreamThread("copies");
            return new CopyStream() {
                @Override
                public void copy(MemorySegment source, DeviceBuffer target, long targetOffset) {
                    Buffer buffer = (Buffer) target;
                    if (targetOffset < 0 || targetOffset > buffer.byteSize() - source.byteSize()) {
                        throw new IndexOutOfBoundsException("copy leaves its target");
                    }
                    copies.enqueue(() -> {
                        mayFail("copy");
                        buffer.inner.upload(source, targetOffset);
                        long until = System.nanoTime() + copyNanos;
                        while (System.nanoTime() < until) {
                            Thread.onSpinWait();
                        }
                    });
                }

                @Override
                public Event record() {
                    return copies.record();
                }

                @Override
                public Event recordTimed() {
                    return copies.record();
                }

                @Override
                public void await(Event event) {
                    copies.enqueue(event::await);
                }

                @Override
                public void close() {
                    copies.stop();
                }
            };
        }

        @Override
        public synchronized void close() {
            if (!closed) {
                closed = true;
                OPEN.decrementAndGet();
                compute.stop();
                cpu.close();
            }
        }

        private final class Buffer implements DeviceBuffer {

            private final DeviceBuffer inner;
            private final long bytes;
            private boolean released;

            Buffer(DeviceBuffer inner, long bytes) {
                this.inner = inner;
                this.bytes = bytes;
            }

            @Override
            public long byteSize() {
                return inner.byteSize();
            }

            @Override
            public void upload(MemorySegment source, long targetOffset) {
                requireAlive();
                inner.upload(source, targetOffset);
            }

            @Override
            public void download(long sourceOffset, MemorySegment target) {
                compute.record().await();
                requireAlive();
                inner.download(sourceOffset, target);
                DOWNLOADED_BYTES.addAndGet(target.byteSize());
            }

            @Override
            public synchronized void close() {
                if (!released) {
                    released = true;
                    ALLOCATED.set(allocated.addAndGet(-bytes));
                    inner.close();
                }
            }
        }
    }

    private record UnwrappedKv(KvLayer layer) implements KvLayer {

        @Override
        public GgmlType type() {
            return layer.type();
        }

        @Override
        public int pageTokens() {
            return layer.pageTokens();
        }

        @Override
        public DeviceBuffer page(int index) {
            return (DeviceBuffer) Accelerator.unwrap(layer.page(index));
        }

        @Override
        public long keyOffset() {
            return layer.keyOffset();
        }

        @Override
        public long valueOffset() {
            return layer.valueOffset();
        }
    }

    private record Locked(MemorySegment memory, Runnable release) implements HostMemory {

        @Override
        public void close() {
            release.run();
        }
    }

    /** Runs what is queued, in order, on a thread of its own; after a failure nothing more. */
    private static final class StreamThread {

        private final LinkedBlockingQueue<Runnable> queue = new LinkedBlockingQueue<>();
        private final Thread thread;
        private RuntimeException failure;
        private volatile boolean stopped;

        StreamThread(String name) {
            thread = Thread.ofPlatform()
                    .daemon()
                    .name("test-accelerator-" + name)
                    .start(this::run);
        }

        private void run() {
            while (!stopped) {
                try {
                    queue.take().run();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }
        }

        void enqueue(Runnable action) {
            queue.add(() -> {
                if (failure == null) {
                    try {
                        action.run();
                    } catch (RuntimeException e) {
                        failure = e;
                    }
                }
            });
        }

        Event record() {
            CompletableFuture<Long> reached = new CompletableFuture<>();
            queue.add(() -> {
                if (failure == null) {
                    reached.complete(System.nanoTime());
                } else {
                    reached.completeExceptionally(failure);
                }
            });
            return new Event() {
                @Override
                public boolean isComplete() {
                    return reached.isDone();
                }

                @Override
                public void await() {
                    try {
                        reached.join();
                    } catch (CompletionException e) {
                        throw e.getCause() instanceof DeviceFailedException lost
                                ? new DeviceFailedException(lost.getMessage(), lost)
                                : e;
                    }
                }

                @Override
                public long timeNanos() {
                    if (!reached.isDone()) {
                        throw new IllegalStateException("not complete");
                    }
                    await();
                    return reached.join();
                }
            };
        }

        void stop() {
            queue.add(() -> stopped = true);
            boolean interrupted = false;
            while (thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }
}
