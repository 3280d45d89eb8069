package dev.prefetch.sample.web;

/** A conversation already has an answer under way. */
final class ConversationBusyException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    ConversationBusyException() {
        super("The last answer of this conversation is still being written: stop it first.");
    }
}
