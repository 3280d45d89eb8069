package dev.prefetch.inference;

import dev.prefetch.backend.Device;
import dev.prefetch.backend.OutOfDeviceMemoryException;
import dev.prefetch.model.LoraAdapter;
import dev.prefetch.model.ModelConfig;
import dev.prefetch.model.ModelGraph;
import dev.prefetch.prefetch.WeightSource;
import dev.prefetch.tokenizer.Tokenizer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Runs all sequences of an engine on one compute thread.
 *
 * <p>How it works: requests wait in a queue. Between two sweeps the loop drops cancelled sequences and admits waiting ones
 * for which there is a place and KV cache. Each sweep carries one token of every generating sequence and, as far as the
 * ubatch has room, prompt tokens of those that are not generating yet, oldest first. So sequences join and leave at token
 * boundaries, and all share each sweep's weights. A failing sweep fails the sequences it carried, nothing else; a failing
 * listener, or KV cache that cannot be had, fails its own sequence.
 *
 * <p>Shared state is the queue, guarded by {@link #lock}, and what {@link #load()} shows, which only the compute thread
 * writes; everything else belongs to the compute thread.
 */
public final class BatchLoop implements AutoCloseable {

    private static final Logger LOG = LoggerFactory.getLogger(BatchLoop.class);

    private final ForwardPass forward;
    private final KvPool kvPool;
    private final WeightSource weights;
    private final Tokenizer tokenizer;
    private final Limits limits;
    private final Batch batch;
    private final int vocabularySize;
    private final Thread thread;

    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private final ArrayDeque<Sequence> waiting = new ArrayDeque<>();
    private final ArrayDeque<LogitsTask> logitsTasks = new ArrayDeque<>();
    private volatile boolean closed;
    private volatile boolean closeAsked;
    private volatile int running;
    private volatile int promisedKvPages;

    private final List<Sequence> active = new ArrayList<>();
    private final Map<Sequence, StopCause> ended = new LinkedHashMap<>();

    /**
     * @param contextLength most positions of a sequence
     * @param ubatch most prompt tokens per sweep
     * @param maxConcurrency most sequences at the same time
     * @param kvPages pages of KV cache for all sequences together, enough for one of full length: otherwise some would
     *     wait for ever
     */
    public record Limits(int contextLength, int ubatch, int maxConcurrency, int kvPages) {

        public Limits {
            if (contextLength < 1 || ubatch < 1 || maxConcurrency < 1 || kvPages < KvPool.pagesFor(contextLength)) {
                throw new IllegalArgumentException("limits out of range: contextLength " + contextLength + ", ubatch "
                        + ubatch + ", maxConcurrency " + maxConcurrency + ", kvPages " + kvPages);
            }
        }
    }

    /**
     * What the loop has to do at a moment.
     *
     * @param state whether it can do anything
     * @param running sequences that take part in sweeps
     * @param waiting sequences in the queue
     * @param kvPagesPromised pages of KV cache promised to the running ones
     */
    public record Load(State state, int running, int waiting, int kvPagesPromised) {

        /** Whether a loop can do anything. */
        public enum State {
            /** It takes sequences. */
            OPEN,
            /** It was closed. */
            CLOSED,
            /** Its thread ended with an error; it takes nothing any more. */
            FAILED
        }
    }

    /** Bytes of the activations for sweeps of at most {@code rows} tokens. */
    public static long activationBytes(ModelConfig config, int rows) {
        return ForwardPass.activationBytes(config, rows);
    }

    /** Bytes of LoRA adapters and of what they need for sweeps of at most {@code rows} tokens. */
    public static long adapterBytes(List<LoraAdapter> adapters, int rows) {
        return Adapters.byteSize(adapters, rows);
    }

    /** Bytes of a page of KV cache. */
    public static long kvPageBytes(ModelConfig config) {
        return KvPool.pageBytes(config.layers(), config.attention());
    }

    /** Pages of KV cache that a sequence of that many positions needs. */
    public static int kvPages(int tokens) {
        return KvPool.pagesFor(tokens);
    }

    public BatchLoop(
            Device device,
            ModelConfig config,
            ModelGraph graph,
            WeightSource weights,
            Tokenizer tokenizer,
            Limits limits) {
        this(device, config, graph, weights, List.of(), tokenizer, limits);
    }

    /** @param adapters LoRA adapters, which are uploaded here */
    public BatchLoop(
            Device device,
            ModelConfig config,
            ModelGraph graph,
            WeightSource weights,
            List<LoraAdapter> adapters,
            Tokenizer tokenizer,
            Limits limits) {
        this.weights = weights;
        this.tokenizer = tokenizer;
        this.limits = limits;
        this.vocabularySize = config.vocabularySize();
        int rows = limits.ubatch() + limits.maxConcurrency();
        this.batch = new Batch(rows);
        this.forward = new ForwardPass(device, config, graph, weights, adapters, rows);
        this.kvPool = new KvPool(device, config.layers(), config.attention(), limits.kvPages());
        this.thread = Thread.ofPlatform().name("prefetch-compute").daemon().unstarted(this::loop);
        thread.start();
    }

    /**
     * Queues a sequence and returns at once; the returned action cancels it.
     *
     * @throws IllegalArgumentException when the prompt leaves no room for a token
     * @throws IllegalStateException when the loop is closed
     */
    public Runnable submit(SequenceRequest request) {
        if (request.prompt().length >= limits.contextLength()) {
            throw new IllegalArgumentException("a prompt of " + request.prompt().length
                    + " tokens leaves no room in a context of " + limits.contextLength());
        }
        Sequence sequence = new Sequence(request, tokenizer, limits.contextLength(), weights::statistics);
        enqueue(() -> waiting.add(sequence));
        return sequence::cancel;
    }

    /**
     * Computes the logits after every token; {@code [tokens x vocabulary]}, row-major.
     *
     * @param stepByStep one token per sweep through the decode kernels, as generation does, instead of as a prompt
     * @throws IllegalArgumentException when there are none, more than the context holds, or more than an array holds the
     *     logits of
     * @throws IllegalStateException when the loop is closed, or the caller is the compute thread, which would wait for
     *     itself
     * @throws CancellationException when the loop is closed meanwhile
     */
    public float[] logits(int[] tokens, boolean stepByStep) throws InterruptedException {
        requireOtherThread("compute logits");
        int most = Math.min(limits.contextLength(), Integer.MAX_VALUE / vocabularySize);
        if (tokens.length < 1 || tokens.length > most) {
            throw new IllegalArgumentException("logits need 1 to " + most + " tokens (context length "
                    + limits.contextLength() + ", vocabulary " + vocabularySize + ") but got " + tokens.length);
        }
        LogitsTask task = new LogitsTask(tokens.clone(), stepByStep, new CompletableFuture<>());
        enqueue(() -> logitsTasks.add(task));
        try {
            return task.result.get();
        } catch (InterruptedException e) {
            // Nobody waits for the result any more, so the rest of it is not computed.
            task.result.cancel(false);
            throw e;
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new IllegalStateException("computing logits failed: " + e.getCause(), e.getCause());
        }
    }

    /** What there is to do now; for display, since it changes all the time. */
    public Load load() {
        lock.lock();
        try {
            Load.State state = !closed ? Load.State.OPEN : closeAsked ? Load.State.CLOSED : Load.State.FAILED;
            return new Load(state, running, waiting.size(), promisedKvPages);
        } finally {
            lock.unlock();
        }
    }

    /**
     * Refuses what the compute thread, on which listeners run, cannot do without waiting for itself for ever.
     *
     * @throws IllegalStateException when the caller is the compute thread
     */
    public void requireOtherThread(String what) {
        if (Thread.currentThread() == thread) {
            throw new IllegalStateException(
                    "a listener cannot " + what + ", it runs on the engine's own thread: hand this to another thread");
        }
    }

    private void enqueue(Runnable add) {
        lock.lock();
        try {
            if (closed) {
                throw new IllegalStateException("the engine is closed");
            }
            add.run();
            changed.signal();
        } finally {
            lock.unlock();
        }
    }

    private void loop() {
        try {
            while (awaitWork()) {
                LogitsTask task = nextLogitsTask();
                if (task != null) {
                    run(task);
                }
                endCancelled();
                admit();
                showLoad();
                if (!active.isEmpty()) {
                    sweep();
                }
                showLoad();
            }
        } catch (RuntimeException | Error e) {
            LOG.error("The compute thread failed; the engine is closed", e);
            throw e;
        } finally {
            cancelEverything();
        }
    }

    private void showLoad() {
        running = active.size();
        promisedKvPages = kvPool.promisedPages();
    }

    /** Waits until there is something to do; false when the loop was closed. */
    private boolean awaitWork() {
        lock.lock();
        try {
            while (!closed && active.isEmpty() && waiting.isEmpty() && logitsTasks.isEmpty()) {
                changed.awaitUninterruptibly();
            }
            return !closed;
        } finally {
            lock.unlock();
        }
    }

    /** The next task for which there is KV cache now; running sequences end and make room. */
    private @Nullable LogitsTask nextLogitsTask() {
        lock.lock();
        try {
            return logitsTasks.isEmpty() || logitsTaskWaitsForRoom() ? null : logitsTasks.poll();
        } finally {
            lock.unlock();
        }
    }

    private boolean logitsTaskWaitsForRoom() {
        LogitsTask task = logitsTasks.peek();
        return task != null && !kvPool.hasRoomFor(task.tokens.length);
    }

    private void endCancelled() {
        List<Sequence> cancelled = new ArrayList<>();
        lock.lock();
        try {
            moveCancelled(waiting.iterator(), cancelled);
        } finally {
            lock.unlock();
        }
        moveCancelled(active.iterator(), cancelled);
        cancelled.forEach(sequence -> finish(sequence, StopCause.CANCELLED));
    }

    private static void moveCancelled(Iterator<Sequence> from, List<Sequence> to) {
        while (from.hasNext()) {
            Sequence sequence = from.next();
            if (sequence.cancelled()) {
                from.remove();
                to.add(sequence);
            }
        }
    }

    private void admit() {
        lock.lock();
        try {
            // Were others let past it, a logits task that waits for room might wait for ever.
            while (active.size() < limits.maxConcurrency()
                    && !waiting.isEmpty()
                    && !logitsTaskWaitsForRoom()
                    && kvPool.hasRoomFor(waiting.peek().capacity())) {
                Sequence sequence = waiting.peek();
                sequence.start(kvPool.open(sequence.capacity()));
                active.add(sequence);
                waiting.remove();
            }
        } finally {
            lock.unlock();
        }
    }

    private void sweep() {
        List<Sequence> carried = new ArrayList<>();
        List<Sequence> outputs = new ArrayList<>();
        int[] rows = new int[active.size()];
        try {
            batch.clear();
            List<Sequence> wanting = List.copyOf(active);
            for (Sequence sequence : wanting) {
                if (sequence.generating()) {
                    carry(sequence, 1, carried, outputs, rows);
                }
            }
            int room = limits.ubatch();
            for (Sequence sequence : wanting) {
                if (!sequence.generating() && room > 0) {
                    room -= carry(sequence, room, carried, outputs, rows);
                }
            }
            if (carried.isEmpty()) {
                return;
            }
            boolean completed = forward.run(
                    batch,
                    () -> closed || carried.stream().allMatch(Sequence::cancelled),
                    (output, logits) -> take(outputs.get(output), logits));
            if (completed) {
                for (int i = 0; i < carried.size(); i++) {
                    carried.get(i).computed(rows[i]);
                }
            }
        } catch (RuntimeException e) {
            failAll(carried, e);
        } catch (Error e) {
            failAll(carried, new IllegalStateException("computing failed: " + e, e));
        } finally {
            ended.forEach(BatchLoop::finish);
            ended.clear();
        }
    }

    private int carry(Sequence sequence, int room, List<Sequence> carried, List<Sequence> outputs, int[] rows) {
        try {
            sequence.reserve(room);
        } catch (OutOfDeviceMemoryException e) {
            active.remove(sequence);
            fail(sequence, e);
            return 0;
        }
        int before = batch.outputs();
        int count = sequence.addTo(batch, room);
        rows[carried.size()] = count;
        carried.add(sequence);
        if (batch.outputs() > before) {
            outputs.add(sequence);
        }
        return count;
    }

    private void take(Sequence sequence, float[] logits) {
        if (sequence.cancelled()) {
            return;
        }
        try {
            StopCause cause = sequence.take(logits);
            if (cause != null) {
                active.remove(sequence);
                // Told once the sweep is over, so that its transfers are counted.
                ended.put(sequence, cause);
            }
        } catch (RuntimeException e) {
            active.remove(sequence);
            fail(sequence, e);
        } catch (Error e) {
            active.remove(sequence);
            fail(sequence, new IllegalStateException("a token could not be taken: " + e, e));
        }
    }

    private void failAll(List<Sequence> carried, RuntimeException failure) {
        LOG.warn("A sweep of {} sequences failed", carried.size(), failure);
        for (Sequence sequence : carried) {
            if (active.remove(sequence)) {
                fail(sequence, failure);
            }
        }
    }

    private static void finish(Sequence sequence, StopCause cause) {
        RuntimeException failure;
        try {
            sequence.end(cause);
            return;
        } catch (RuntimeException e) {
            failure = e;
        } catch (Error e) {
            failure = new IllegalStateException("a listener failed: " + e, e);
        }
        if (sequence.told()) {
            LOG.warn("A listener failed when told of the end of its sequence", failure);
        } else {
            // It did not take the last piece of text; whoever waits for the end has to hear of one.
            fail(sequence, failure);
        }
    }

    private static void fail(Sequence sequence, RuntimeException failure) {
        try {
            sequence.fail(failure);
        } catch (RuntimeException | Error e) {
            LOG.warn("A listener failed when told of a failure", e);
        }
    }

    private void run(LogitsTask task) {
        int[] tokens = task.tokens;
        try (KvCache cache = kvPool.open(tokens.length)) {
            cache.ensure(tokens.length);
            float[] result = new float[tokens.length * vocabularySize];
            int step = task.stepByStep ? 1 : limits.ubatch();
            for (int from = 0; from < tokens.length; from += step) {
                int first = from;
                batch.clear();
                if (task.stepByStep) {
                    batch.addDecode(cache, tokens[first], first);
                } else {
                    int count = Math.min(step, tokens.length - first);
                    batch.addPrefill(cache, tokens, first, count, Batch.Outputs.ALL);
                }
                boolean completed = forward.run(
                        batch,
                        () -> closed || task.result.isDone(),
                        (output, logits) ->
                                System.arraycopy(logits, 0, result, (first + output) * vocabularySize, vocabularySize));
                if (!completed) {
                    throw new CancellationException(
                            "the engine was closed, or the caller interrupted, while the logits" + " were computed");
                }
            }
            task.result.complete(result);
        } catch (RuntimeException | Error e) {
            task.result.completeExceptionally(e);
        }
    }

    private void cancelEverything() {
        List<Sequence> left = new ArrayList<>(active);
        lock.lock();
        try {
            closed = true;
            left.addAll(waiting);
            waiting.clear();
            logitsTasks.forEach(task -> task.result.completeExceptionally(
                    new CancellationException("the engine was closed before the logits were computed")));
            logitsTasks.clear();
        } finally {
            lock.unlock();
        }
        active.clear();
        left.forEach(sequence -> finish(sequence, StopCause.CANCELLED));
        showLoad();
    }

    /**
     * Cancels every sequence, waits for the compute thread, and releases the memory. Idempotent.
     *
     * @throws IllegalStateException when the caller is the compute thread
     */
    @Override
    public void close() {
        requireOtherThread("close the engine");
        lock.lock();
        try {
            if (closed && !thread.isAlive()) {
                return;
            }
            closeAsked |= !closed;
            closed = true;
            changed.signal();
        } finally {
            lock.unlock();
        }
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        forward.close();
        kvPool.close();
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Tokens whose logits are wanted, and where they go. */
    private record LogitsTask(int[] tokens, boolean stepByStep, CompletableFuture<float[]> result) {}
}
