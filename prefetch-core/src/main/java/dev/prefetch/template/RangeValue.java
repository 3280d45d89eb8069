package dev.prefetch.template;

import java.util.AbstractList;
import java.util.Iterator;
import java.util.List;

/** {@code range(start, stop, step)} with its length. */
record RangeValue(long start, long stop, long step, int size) implements Iterable<Object> {

    static RangeValue of(long start, long stop, long step, int maxItems) {
        if (step == 0) {
            throw TemplateFault.evaluation("range() needs a step other than 0");
        }
        // Doubles, since the span of two longs overflows; exact enough to tell whether it is within the limit.
        double span = Math.ceil(((double) stop - (double) start) / step);
        if (span > maxItems) {
            throw TemplateFault.limit("range() would exceed the limit of " + maxItems + " elements");
        }
        return new RangeValue(start, stop, step, span <= 0 ? 0 : (int) span);
    }

    long at(int index) {
        return start + index * step;
    }

    /** The elements as a list that computes them. */
    List<Object> asList() {
        return new AbstractList<>() {
            @Override
            public Object get(int index) {
                return at(index);
            }

            @Override
            public int size() {
                return size;
            }
        };
    }

    @Override
    public Iterator<Object> iterator() {
        return asList().iterator();
    }

    @Override
    public String toString() {
        return "range(" + start + ", " + stop + (step == 1 ? "" : ", " + step) + ")";
    }
}
