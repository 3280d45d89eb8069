package dev.prefetch.tokenizer;

import org.jspecify.annotations.Nullable;

/** What a token of the vocabulary is, numbered as in {@code tokenizer.ggml.token_type}. */
enum TokenType {
    /** Not said by the file; treated as text. */
    UNDEFINED,
    /** Text. */
    NORMAL,
    /** Stands for text the vocabulary cannot express; never produced from text where bytes can be. */
    UNKNOWN,
    /** Structure of a prompt, not text: recognised only where special tokens are allowed. */
    CONTROL,
    /** Text that is taken out before anything else is split, for example a run of spaces. */
    USER_DEFINED,
    /** Text that the model was not trained on. */
    UNUSED,
    /** One byte, written {@code <0xHH>}. */
    BYTE;

    private static final TokenType[] VALUES = values();

    /** The type with that number, or null when there is none. */
    static @Nullable TokenType ofNumber(long number) {
        return number >= 0 && number < VALUES.length ? VALUES[(int) number] : null;
    }

    /** Whether the token is structure rather than text: hidden from output and never made out of untrusted text. */
    boolean isHidden() {
        return this == CONTROL || this == UNKNOWN;
    }

    /** Whether the token's text is a stretch of ordinary text in the vocabulary's own spelling. */
    boolean isText() {
        return this == NORMAL || this == UNDEFINED || this == UNUSED;
    }
}
