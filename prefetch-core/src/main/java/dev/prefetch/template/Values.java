package dev.prefetch.template;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The closed set of values a template can reach, and what they have in common. Variables are converted once per
 * rendering, so no Java object of the application is ever visible:
 *
 * <pre>
 * None  Boolean  Long  BigInteger  Double  Text
 * ListValue (list, tuple)  DictValue  DictView  RangeValue  Generator  Namespace  LoopState
 * CallableValue (macros, methods, functions)  Undefined
 * </pre>
 *
 * <p>{@code BigInteger} holds only integers of the variables beyond 64 bits; they can be printed and compared.
 */
final class Values {

    private static final BigInteger MIN_LONG = BigInteger.valueOf(Long.MIN_VALUE);
    private static final BigInteger MAX_LONG = BigInteger.valueOf(Long.MAX_VALUE);

    private Values() {}

    /** Converts the variables of one rendering and counts their characters. */
    static final class Importer {

        private static final int MAX_DEPTH = 200;

        private long chars;

        long chars() {
            return chars;
        }

        Object convert(String variable, @Nullable Object value) {
            return convert(variable, value, 0);
        }

        private Object convert(String variable, @Nullable Object value, int depth) {
            if (depth > MAX_DEPTH) {
                throw TemplateFault.limit(
                        "the variable '" + variable + "' nests deeper than the limit of " + MAX_DEPTH + " levels");
            }
            return switch (value) {
                case null -> None.NONE;
                case String string -> {
                    chars += string.length();
                    yield Text.of(string);
                }
                case InputText input -> {
                    chars += input.text().length();
                    yield Text.input(input.text());
                }
                case Boolean flag -> flag;
                case Number number -> number(variable, number);
                case Map<?, ?> map -> {
                    DictValue dict = new DictValue();
                    map.forEach((k, v) -> dict.put(convert(variable, k, depth + 1), convert(variable, v, depth + 1)));
                    chars += map.size();
                    yield dict;
                }
                case Collection<?> collection -> {
                    List<Object> items = new ArrayList<>(collection.size());
                    for (Object item : collection) {
                        items.add(convert(variable, item, depth + 1));
                    }
                    chars += items.size();
                    yield ListValue.list(items);
                }
                default -> throw unsupported(variable, value);
            };
        }

        private static Object number(String variable, Number number) {
            return switch (number) {
                case Long l -> l;
                case Integer i -> i.longValue();
                case Short s -> s.longValue();
                case Byte b -> b.longValue();
                case Double d -> d;
                // Through its text, so that 0.1f prints as 0.1.
                case Float f -> Double.valueOf(f.toString());
                case BigDecimal decimal -> decimal.doubleValue();
                case BigInteger big ->
                    big.compareTo(MIN_LONG) >= 0 && big.compareTo(MAX_LONG) <= 0 ? (Object) big.longValue() : big;
                default -> throw unsupported(variable, number);
            };
        }

        private static IllegalArgumentException unsupported(String variable, Object value) {
            return new IllegalArgumentException("the template variable '" + variable + "' contains a "
                    + value.getClass().getName()
                    + "; supported are String, InputText, Boolean, Number, Collection, Map and null");
        }
    }

    static boolean truth(Object value) {
        return switch (value) {
            case Boolean b -> b;
            case None _, Undefined _ -> false;
            case Text text -> !text.isEmpty();
            case Long number -> number != 0;
            case Double number -> number != 0;
            case ListValue list -> list.size() > 0;
            case DictValue dict -> dict.size() > 0;
            case DictView view -> view.dict().size() > 0;
            case RangeValue range -> range.size() > 0;
            default -> true;
        };
    }

    /** The name Python has for the type. */
    static String typeName(Object value) {
        return switch (value) {
            case None _ -> "NoneType";
            case Boolean _ -> "bool";
            case Long _, BigInteger _ -> "int";
            case Double _ -> "float";
            case Text _ -> "str";
            case ListValue list -> list.tuple() ? "tuple" : "list";
            case DictValue _ -> "dict";
            case DictView view -> "dict_" + view.kind().name().toLowerCase(java.util.Locale.ROOT);
            case RangeValue _ -> "range";
            case Generator _ -> "generator";
            case Namespace _ -> "namespace";
            case LoopState _ -> "loop";
            case CallableValue callable -> "function '" + callable.name() + "'";
            case Undefined _ -> "undefined";
            default -> value.getClass().getSimpleName();
        };
    }

    /** The length of a sized value, or -1. */
    static int length(Object value) {
        return switch (value) {
            case Text text -> text.length();
            case ListValue list -> list.size();
            case DictValue dict -> dict.size();
            case DictView view -> view.dict().size();
            case RangeValue range -> range.size();
            case LoopState loop -> loop.length();
            case Undefined _ -> 0;
            default -> -1;
        };
    }

    static boolean isIterable(Object value) {
        return value instanceof Iterable<?>
                || value instanceof Text
                || value instanceof DictValue
                || value instanceof Undefined;
    }

    /** Walks over a value: the characters of a string, the keys of a mapping. */
    static Iterator<Object> iterate(Object value) {
        return switch (value) {
            case ListValue list -> list.iterator();
            case DictValue dict -> dict.keys().iterator();
            case DictView view -> view.iterator();
            case RangeValue range -> range.iterator();
            case Generator generator -> generator.iterator();
            case Text text -> characters(text);
            case Undefined _ -> List.of().iterator();
            default -> throw TemplateFault.evaluation("a " + typeName(value) + " cannot be iterated over");
        };
    }

    /** The elements as a list of their own, charged to the budget. */
    static List<Object> toList(Object value, Budget budget) {
        Iterator<Object> iterator = iterate(value);
        List<Object> items = new ArrayList<>(Math.max(0, Math.min(length(value), 1024)));
        while (iterator.hasNext()) {
            budget.allocateElements(1);
            items.add(iterator.next());
        }
        return items;
    }

    private static Iterator<Object> characters(Text text) {
        return new Iterator<>() {
            private int index;

            @Override
            public boolean hasNext() {
                return index < text.units();
            }

            @Override
            public Object next() {
                int end = text.string().offsetByCodePoints(index, 1);
                Text character = text.substring(index, end);
                index = end;
                return character;
            }
        };
    }
}
