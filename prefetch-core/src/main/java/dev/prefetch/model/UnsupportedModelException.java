package dev.prefetch.model;

import dev.prefetch.gguf.GgufFormatException;

/**
 * A well-formed file needs something that is not supported, lacks something a model needs, or contradicts itself. The
 * message names the file and the key or tensor.
 */
public final class UnsupportedModelException extends GgufFormatException {

    private static final long serialVersionUID = 1L;

    public UnsupportedModelException(String message) {
        super(message);
    }
}
