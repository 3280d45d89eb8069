package dev.prefetch.template;

/** Python's {@code None}; the evaluator never sees a Java {@code null}. */
enum None {
    NONE
}
