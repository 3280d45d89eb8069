package dev.prefetch.template;

/**
 * What one rendering may use. Templates come from model files, so they are not trusted: a rendering that exceeds a
 * limit ends with a {@link TemplateException} of kind {@link TemplateException.Kind#LIMIT} that names it.
 *
 * @param maxSteps evaluated expressions and statements, plus the elements and characters that filters and methods walk
 *     over (64 characters count as one step)
 * @param maxStringChars length of any one string, the rendered text included, in UTF-16 units
 * @param maxAllocatedChars characters of all strings made during one rendering together, in UTF-16 units, where a list
 *     element counts as 8; each character of the variables adds 1024 (up to 512 Mi in all), because templates that
 *     build their text in a variable copy it once for every message
 * @param maxDepth nested expressions, blocks and macro calls
 * @param maxRangeItems elements of one {@code range}
 */
public record TemplateLimits(
        long maxSteps, int maxStringChars, long maxAllocatedChars, int maxDepth, int maxRangeItems) {

    private static final TemplateLimits DEFAULTS = new TemplateLimits(20_000_000, 1 << 24, 1 << 26, 600, 100_000);

    public TemplateLimits {
        if (maxSteps < 1 || maxStringChars < 1 || maxAllocatedChars < 1 || maxDepth < 1 || maxRangeItems < 1) {
            throw new IllegalArgumentException("every template limit must be positive: " + maxSteps + ", "
                    + maxStringChars + ", " + maxAllocatedChars + ", " + maxDepth + ", " + maxRangeItems);
        }
    }

    /**
     * Far above what a real chat template needs, and low enough that a hostile one ends within seconds: 20 million
     * steps, strings of 16 Mi characters, 64 Mi characters in all, a depth of 600 (which fits a thread stack of
     * 512 KiB), ranges of 100,000 (as in the Jinja sandbox).
     */
    public static TemplateLimits defaults() {
        return DEFAULTS;
    }
}
