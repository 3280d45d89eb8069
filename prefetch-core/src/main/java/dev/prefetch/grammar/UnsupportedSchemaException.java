package dev.prefetch.grammar;

/** A JSON schema that asks for something that cannot be enforced. The message names the keyword and where it stands. */
public final class UnsupportedSchemaException extends IllegalArgumentException {

    private static final long serialVersionUID = 1L;

    UnsupportedSchemaException(String message) {
        super(message);
    }
}
