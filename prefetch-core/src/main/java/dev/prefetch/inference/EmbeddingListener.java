package dev.prefetch.inference;

/** Hears what becomes of a text. Called by the compute thread, which must not be blocked; exactly one method, once. */
public interface EmbeddingListener {

    /** The vector; it is the listener's to keep. */
    void onVector(float[] vector);

    /** The text was cancelled, or the loop closed. */
    void onCancelled();

    /** Computing failed. */
    void onFailure(RuntimeException failure);
}
