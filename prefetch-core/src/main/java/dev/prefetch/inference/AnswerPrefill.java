package dev.prefetch.inference;

import dev.prefetch.backend.DeviceFailedException;
import java.util.ArrayDeque;
import java.util.function.BooleanSupplier;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Computes answers as part of the prompts they will be when their conversations go on: what decode kernels made of them
 * differs in the last bits from what a prompt's kernels make, and only the latter is kept. Gives way to whatever comes. Used
 * by the compute thread only.
 */
final class AnswerPrefill {

    private static final Logger LOG = LoggerFactory.getLogger(AnswerPrefill.class);

    private final ForwardPass forward;
    private final KvPool kvPool;
    private final Batch batch;
    private final int ubatch;
    private final int most;
    private final ArrayDeque<int[]> conversations = new ArrayDeque<>();
    /** Where the last sweep of the oldest began; -1 before its first. */
    private int begun = -1;

    /** @param most answers that may wait; of more the oldest are forgotten */
    AnswerPrefill(ForwardPass forward, KvPool kvPool, Batch batch, int ubatch, int most) {
        this.forward = forward;
        this.kvPool = kvPool;
        this.batch = batch;
        this.ubatch = ubatch;
        this.most = most;
    }

    /** Adds a prompt with its answer. */
    void add(int[] tokens) {
        conversations.add(tokens);
        if (conversations.size() > most) {
            conversations.remove();
            begun = -1;
        }
    }

    boolean isEmpty() {
        return conversations.isEmpty();
    }

    /**
     * Computes a sweep's worth of the oldest; returns how many tokens were computed.
     *
     * @throws DeviceFailedException when the device is at fault
     */
    int sweep(BooleanSupplier abandoned) {
        int[] tokens = conversations.element();
        int computed = 0;
        boolean done = true;
        KvCache cache = null;
        try {
            cache = kvPool.open(tokens, tokens.length, tokens.length);
            if (cache != null) {
                int from = cache.cachedTokens();
                int count = Math.min(ubatch, tokens.length - from);
                computed = count > 0 && compute(cache, tokens, from, count, abandoned) ? count : 0;
                // Where what a sweep computed could not be kept the next would begin where it did.
                done = from + computed == tokens.length || from <= begun;
                begun = done ? -1 : from;
                cache.close(tokens, from + computed);
            }
        } catch (DeviceFailedException e) {
            throw e;
        } catch (RuntimeException | Error e) {
            LOG.warn("An answer could not be kept for the next prompt", e);
            done = true;
        } finally {
            if (cache != null) {
                cache.close();
            }
            if (done) {
                conversations.remove();
                begun = -1;
            }
        }
        return computed;
    }

    private boolean compute(KvCache cache, int[] tokens, int from, int count, BooleanSupplier abandoned) {
        cache.ensure(from, from + count);
        cache.passes(from, from + count, from + count);
        batch.clear();
        batch.addPrefill(cache, tokens, from, count, Batch.Outputs.NONE);
        return forward.run(batch, abandoned, (output, logits) -> {});
    }
}
