package dev.prefetch.template;

/** Counts what one rendering uses and ends it when a limit is reached. */
final class Budget {

    private static final int CHARS_PER_STEP = 64;
    private static final int CHARS_PER_ELEMENT = 8;
    private static final long ALLOWANCE_PER_INPUT_CHAR = 1024;
    private static final long MAX_ALLOWANCE = 1L << 29;

    private final TemplateLimits limits;
    private final long maxAllocatedChars;
    private long steps;
    private long allocatedChars;
    private int depth;

    Budget(TemplateLimits limits, long inputChars) {
        this.limits = limits;
        this.maxAllocatedChars =
                limits.maxAllocatedChars() + Math.min(ALLOWANCE_PER_INPUT_CHAR * inputChars, MAX_ALLOWANCE);
    }

    TemplateLimits limits() {
        return limits;
    }

    void step() {
        if (++steps > limits.maxSteps()) {
            throw tooManySteps();
        }
    }

    void steps(long count) {
        steps += count;
        if (steps > limits.maxSteps()) {
            throw tooManySteps();
        }
    }

    /** Charges the time of walking over that many characters. */
    void scan(long chars) {
        if (chars >= CHARS_PER_STEP) {
            steps(chars / CHARS_PER_STEP);
        }
    }

    /** Charges a string of that length; call it before the string is made. */
    void allocateString(long chars) {
        if (chars > limits.maxStringChars()) {
            throw TemplateFault.limit("a string would exceed the limit of " + limits.maxStringChars() + " characters");
        }
        allocate(chars);
        scan(chars);
    }

    /** Charges a string that is being built and grows from {@code length}. */
    void growString(int length, int more) {
        if ((long) length + more > limits.maxStringChars()) {
            throw TemplateFault.limit("a string would exceed the limit of " + limits.maxStringChars() + " characters");
        }
        allocate(more);
        scan(more);
    }

    /** Charges a list or mapping of that many elements; call it before it is made. */
    void allocateElements(long count) {
        steps(count);
        allocate(count * CHARS_PER_ELEMENT);
    }

    /** Enters a nested expression, block or macro; {@link #leave()} is not needed after a failure, which ends all. */
    void enter() {
        if (++depth > limits.maxDepth()) {
            throw TemplateFault.limit("the template nests deeper than the limit of " + limits.maxDepth() + " levels");
        }
    }

    void leave() {
        depth--;
    }

    private void allocate(long chars) {
        allocatedChars += chars;
        if (allocatedChars > maxAllocatedChars) {
            throw TemplateFault.limit(
                    "the template makes more text than the limit of " + maxAllocatedChars + " characters in all");
        }
    }

    private TemplateFault tooManySteps() {
        return TemplateFault.limit("the template takes more than the limit of " + limits.maxSteps() + " steps");
    }
}
