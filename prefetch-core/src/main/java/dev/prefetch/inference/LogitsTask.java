package dev.prefetch.inference;

import dev.prefetch.backend.DeviceFailedException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.function.BooleanSupplier;

/** Tokens whose logits somebody waits for. */
final class LogitsTask {

    private final int[] tokens;
    private final boolean stepByStep;
    private final CompletableFuture<float[]> result = new CompletableFuture<>();

    /** @param stepByStep one token per sweep through the decode kernels instead of as a prompt */
    LogitsTask(int[] tokens, boolean stepByStep) {
        this.tokens = tokens.clone();
        this.stepByStep = stepByStep;
    }

    /** Positions of KV cache it takes while it is computed. */
    int length() {
        return tokens.length;
    }

    /** Waits for the logits, {@code [tokens x vocabulary]}. */
    float[] await() throws InterruptedException {
        try {
            return result.get();
        } catch (InterruptedException e) {
            // Nobody waits for the result any more, so the rest of it is not computed.
            result.cancel(false);
            throw e;
        } catch (ExecutionException e) {
            if (e.getCause() instanceof RuntimeException failure) {
                throw failure;
            }
            throw new IllegalStateException("computing logits failed: " + e.getCause(), e.getCause());
        }
    }

    void fail(Throwable failure) {
        result.completeExceptionally(failure);
    }

    /**
     * Computes the logits, or fails for whoever waits.
     *
     * @throws DeviceFailedException when the device is at fault: they can be computed elsewhere
     */
    void compute(Machine machine, Batch batch, int ubatch, int vocabularySize, BooleanSupplier closed) {
        try (KvCache cache = machine.kvPool.open(tokens.length)) {
            float[] logits = new float[tokens.length * vocabularySize];
            int step = stepByStep ? 1 : ubatch;
            for (int from = 0; from < tokens.length; from += step) {
                int first = from;
                cache.ensure(first, Math.min(first + step, tokens.length));
                batch.clear();
                if (stepByStep) {
                    batch.addDecode(cache, tokens[first], first);
                } else {
                    int count = Math.min(step, tokens.length - first);
                    batch.addPrefill(cache, tokens, first, count, Batch.Outputs.ALL);
                }
                boolean completed = machine.forward.run(
                        batch,
                        () -> closed.getAsBoolean() || result.isDone(),
                        (output, row) ->
                                System.arraycopy(row, 0, logits, (first + output) * vocabularySize, vocabularySize));
                if (!completed) {
                    throw new CancellationException(
                            "the engine was closed, or the caller interrupted, while the logits were computed");
                }
            }
            result.complete(logits);
        } catch (DeviceFailedException e) {
            throw e;
        } catch (RuntimeException | Error e) {
            fail(e);
        }
    }
}
