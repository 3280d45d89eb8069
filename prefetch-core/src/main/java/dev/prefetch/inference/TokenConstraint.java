package dev.prefetch.inference;

/** Restricts which tokens a sequence may consist of. Used by the compute thread only. */
public interface TokenConstraint {

    /**
     * Takes out the tokens that must not come next.
     *
     * @param logits one per token of the vocabulary, or more; set to negative infinity for tokens that are not allowed. At
     *     least one stays
     */
    void mask(float[] logits);

    /** Notes the token that was chosen. */
    void accept(int token);
}
