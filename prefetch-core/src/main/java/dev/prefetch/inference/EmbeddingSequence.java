package dev.prefetch.inference;

import org.jspecify.annotations.Nullable;

/**
 * A text on its way to a vector: a prompt that is never continued. Hidden states are added up in the order of their
 * positions, so the vector does not depend on how the text was cut into sweeps.
 */
final class EmbeddingSequence extends Sequence {

    private final EmbeddingRequest request;
    private double @Nullable [] sum;
    private int states;

    EmbeddingSequence(EmbeddingRequest request) {
        super(request.tokens(), request.tokens().length, request.tokens().length, 0);
        this.request = request;
    }

    /** Takes the hidden state of one of the rows asked for; rows come in the order of their positions. */
    void takeHidden(float[] state) {
        if (sum == null) {
            sum = new double[state.length];
        }
        for (int i = 0; i < state.length; i++) {
            sum[i] += state[i];
        }
        states++;
    }

    @Override
    void forget() {
        sum = null;
        states = 0;
    }

    @Override
    Batch.Hidden hidden(int from, int count) {
        return switch (request.pooling()) {
            case MEAN -> Batch.Hidden.ALL;
            case CLS -> from == 0 ? Batch.Hidden.FIRST : Batch.Hidden.NONE;
            case LAST -> from + count == length() ? Batch.Hidden.LAST : Batch.Hidden.NONE;
        };
    }

    /** Texts are embedded once, and would push out prompts that come again. */
    @Override
    boolean keepsPrompt() {
        return false;
    }

    @Override
    boolean hasEnded() {
        return !prefilling();
    }

    @Override
    void end(StopCause cause) {
        release();
        double[] total = sum;
        float[] vector = total == null || prefilling() ? null : vector(total);
        told = true;
        if (vector == null) {
            request.listener().onCancelled();
        } else {
            request.listener().onVector(vector);
        }
    }

    private float[] vector(double[] total) {
        double squares = 0;
        for (double value : total) {
            squares += value / states * (value / states);
        }
        if (!Double.isFinite(squares)) {
            throw new IllegalStateException("a hidden state is not a number: the model or its file is broken");
        }
        // A vector of zeros has no direction and stays as it is.
        double divisor = request.normalize() && squares > 0 ? states * Math.sqrt(squares) : states;
        float[] vector = new float[total.length];
        for (int i = 0; i < vector.length; i++) {
            vector[i] = (float) (total[i] / divisor);
        }
        return vector;
    }

    @Override
    void fail(RuntimeException failure) {
        release();
        told = true;
        request.listener().onFailure(failure);
    }
}
