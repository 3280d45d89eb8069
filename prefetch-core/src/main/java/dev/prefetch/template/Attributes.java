package dev.prefetch.template;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** {@code a.b}, {@code a[b]} and {@code a[b:c]}. What does not exist is {@link Undefined}, as long as {@code a} does. */
final class Attributes {

    private Attributes() {}

    /** {@code target.name}: methods come before the keys of a mapping, so {@code d.items} is the method. */
    static Object attribute(Object target, String name) {
        Object method = member(target, name);
        if (method != null) {
            return method;
        }
        if (target instanceof DictValue dict) {
            Object value = dict.get(name);
            if (value != null) {
                return value;
            }
        }
        return Undefined.attribute(target, name);
    }

    /** {@code target[index]}: keys come before methods. */
    static Object subscript(Object target, Object index) {
        Object element = element(target, index);
        if (element == null && index instanceof Text name) {
            element = member(target, name.string());
        }
        return element == null ? Undefined.element(target, index) : element;
    }

    private static @Nullable Object element(Object target, Object index) {
        if (target instanceof Undefined undefined) {
            throw undefined.fault();
        }
        if (target instanceof DictValue dict) {
            return dict.get(index);
        }
        if (!(Operators.number(index) instanceof Long wanted)) {
            return null;
        }
        int length = target instanceof Generator ? -1 : Values.length(target);
        long position = wanted < 0 ? wanted + length : wanted;
        if (position < 0 || position >= length) {
            return null;
        }
        int i = (int) position;
        return switch (target) {
            case ListValue list -> list.items().get(i);
            case RangeValue range -> range.at(i);
            case Text text -> {
                int begin = text.string().offsetByCodePoints(0, i);
                yield text.substring(begin, text.string().offsetByCodePoints(begin, 1));
            }
            default -> null;
        };
    }

    private static @Nullable Object member(Object target, String name) {
        return switch (target) {
            case Undefined undefined -> throw undefined.fault();
            case Text text -> StringMethods.find(text, name);
            case DictValue dict -> CollectionMethods.find(dict, name);
            case ListValue list -> CollectionMethods.find(list, name);
            case Namespace namespace -> namespace.attributes().get(name);
            case LoopState loop -> loop.attribute(name);
            case Cycler cycler -> cycler.attribute(name);
            case Macro macro when name.equals("name") -> Text.of(macro.name());
            default -> null;
        };
    }

    /** Python's slices: bounds beyond the ends are moved to them, a negative step walks backwards. */
    static Object slice(Budget budget, Object target, Object start, Object stop, Object step) {
        Operators.requireDefined(target);
        int length = target instanceof LoopState ? -1 : Values.length(target);
        if (length < 0 || target instanceof DictValue || target instanceof DictView) {
            throw TemplateFault.evaluation("a " + Values.typeName(target) + " cannot be sliced");
        }
        long stride = bound(step, 1);
        if (stride == 0) {
            throw TemplateFault.evaluation("a slice needs a step other than 0");
        }
        boolean forward = stride > 0;
        int from = clamp(bound(start, forward ? 0 : Long.MAX_VALUE), length, forward);
        int to = stop == None.NONE && !forward ? -1 : clamp(bound(stop, Long.MAX_VALUE), length, forward);
        int count = count(from, to, stride);
        return switch (target) {
            case Text text -> sliceText(budget, text, from, count, stride);
            case ListValue list -> {
                budget.allocateElements(count);
                List<Object> items = new ArrayList<>(count);
                for (int i = 0; i < count; i++) {
                    items.add(list.items().get((int) (from + i * stride)));
                }
                yield new ListValue(items, list.tuple());
            }
            case RangeValue range -> {
                long first = range.start() + from * range.step();
                long by = range.step() * stride;
                yield new RangeValue(first, first + count * by, by, count);
            }
            default -> throw TemplateFault.evaluation("a " + Values.typeName(target) + " cannot be sliced");
        };
    }

    private static long bound(Object value, long fallback) {
        if (value == None.NONE) {
            return fallback;
        }
        if (Operators.number(value) instanceof Long number) {
            return number;
        }
        Operators.requireDefined(value);
        throw TemplateFault.evaluation("a slice needs integers, got " + Values.typeName(value));
    }

    private static int clamp(long index, int length, boolean forward) {
        long position = index < 0 ? index + length : index;
        long low = forward ? 0 : -1;
        long high = forward ? length : length - 1;
        return (int) Math.max(low, Math.min(high, position));
    }

    private static int count(int from, int to, long stride) {
        if (stride > 0) {
            return from >= to ? 0 : (int) ((to - from - 1) / stride) + 1;
        }
        // Not negated: -Long.MIN_VALUE is itself.
        return from <= to ? 0 : (int) ((to - from + 1) / stride) + 1;
    }

    private static Text sliceText(Budget budget, Text text, int from, int count, long stride) {
        budget.scan(text.units());
        if (count == 0) {
            return Text.EMPTY;
        }
        String string = text.string();
        boolean basic = text.units() == text.length();
        if (stride == 1) {
            int begin = basic ? from : string.offsetByCodePoints(0, from);
            int end = basic ? from + count : string.offsetByCodePoints(begin, count);
            budget.allocateString(end - begin);
            return text.substring(begin, end);
        }
        int[] offsets = codePointOffsets(budget, string);
        TextBuilder out = new TextBuilder(budget);
        for (int i = 0; i < count; i++) {
            int at = (int) (from + i * stride);
            out.append(text, offsets[at], offsets[at + 1]);
        }
        return out.toText().withMarkup(text.isMarkup());
    }

    private static int[] codePointOffsets(Budget budget, String string) {
        budget.allocateString(string.length());
        int[] offsets = new int[string.codePointCount(0, string.length()) + 1];
        int offset = 0;
        for (int i = 0; i + 1 < offsets.length; i++) {
            offsets[i] = offset;
            offset += Character.charCount(string.codePointAt(offset));
        }
        offsets[offsets.length - 1] = offset;
        return offsets;
    }
}
