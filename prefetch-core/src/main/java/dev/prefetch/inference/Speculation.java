package dev.prefetch.inference;

/**
 * Whether the next tokens of an answer are guessed from what stands in its prompt and in the answer so far, and verified
 * together in one sweep (prompt look-up: Saxena 2023; speculative decoding: Leviathan et al. 2023, arXiv 2211.17192, whose
 * draft model it does without). The answer is the same in every case.
 */
public enum Speculation {
    /** One token per sweep. */
    OFF,
    /** Where measured times and hits say that it pays, as it does where sweeps wait for weights. */
    AUTO,
    /** Whenever there is a guess. */
    ON
}
