package dev.prefetch.prefetch;

/** A slot was not in the state its user believed: a fault of the engine, caught before it could give a wrong token. */
public final class SlotStateException extends IllegalStateException {

    private static final long serialVersionUID = 1L;

    SlotStateException(String message) {
        super(message);
    }
}
