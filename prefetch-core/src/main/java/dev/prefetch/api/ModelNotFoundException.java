package dev.prefetch.api;

/**
 * A model that was asked for by reference lies in no cache folder, or is not the right one. {@link #remedy()} says what to
 * do.
 */
public final class ModelNotFoundException extends RuntimeException {

    private static final long serialVersionUID = 1L;

    private final String remedy;

    /**
     * @param problem what is missing and where it was looked for, as a sentence
     * @param remedy what to do, as a sentence
     */
    ModelNotFoundException(String problem, String remedy) {
        super(problem + " " + remedy);
        this.remedy = remedy;
    }

    /** What to do, with the exact command where there is one. */
    public String remedy() {
        return remedy;
    }
}
