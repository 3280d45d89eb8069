package dev.prefetch.gguf;

/** A file is not a valid GGUF file. The message names the file, the byte offset and the field. */
public class GgufFormatException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    public GgufFormatException(String message) {
        super(message);
    }

    public GgufFormatException(String message, Throwable cause) {
        super(message, cause);
    }
}
