package dev.prefetch.grammar;

import dev.prefetch.grammar.Expr.Rule;
import dev.prefetch.grammar.NumberRange.Bound;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Turns a JSON schema (draft 2020-12) into a grammar whose texts are all valid. What cannot be enforced is refused by name,
 * never left out silently.
 */
final class JsonSchemaCompiler {

    /** More repetitions than this are refused, since each is a rule. */
    private static final int MAX_REPETITIONS = 4096;

    /** A limit as large as this is none: no context holds as many. */
    private static final int UNREACHABLE = 1_000_000;

    private static final int MAX_DEPTH = 100;

    /** Say something about a value, and do not restrict it. */
    private static final Set<String> ANNOTATIONS = Set.of(
            "$anchor",
            "$comment",
            "$defs",
            "$id",
            "$schema",
            "$vocabulary",
            "contentEncoding",
            "contentMediaType",
            "contentSchema",
            "default",
            "definitions",
            "deprecated",
            "description",
            "example",
            "examples",
            "id",
            "readOnly",
            "title",
            "writeOnly");

    private static final Map<String, Set<String>> BY_TYPE = byType();

    private final Object root;
    private final Map<String, Rule> rules = new HashMap<>();
    private final List<Runnable> pending = new ArrayList<>();

    private JsonSchemaCompiler(Object root) {
        this.root = root;
    }

    private static Map<String, Set<String>> byType() {
        Map<String, Set<String>> keywords = new LinkedHashMap<>();
        keywords.put(
                "object", Set.of("properties", "required", "additionalProperties", "minProperties", "maxProperties"));
        keywords.put("array", Set.of("items", "prefixItems", "minItems", "maxItems", "uniqueItems"));
        keywords.put("string", Set.of("minLength", "maxLength", "format"));
        Set<String> numeric =
                Set.of("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "format");
        keywords.put("number", numeric);
        keywords.put("integer", numeric);
        keywords.put("boolean", Set.of());
        keywords.put("null", Set.of());
        return keywords;
    }

    static Expr compile(String schema) {
        Object root = Json.parse(schema);
        if (root == null) {
            throw new IllegalArgumentException("a JSON schema is an object or a boolean, but this is null");
        }
        JsonSchemaCompiler compiler = new JsonSchemaCompiler(root);
        Expr expr = compiler.schema(root, "#", 0);
        while (!compiler.pending.isEmpty()) {
            compiler.pending.removeLast().run();
        }
        return expr;
    }

    private Expr schema(@Nullable Object schema, String at, int depth) {
        if (depth > MAX_DEPTH) {
            throw refuse(at, "the schema nests deeper than " + MAX_DEPTH + " levels");
        }
        if (schema instanceof Boolean any) {
            if (!any) {
                throw refuse(at, "nothing is valid here");
            }
            return JsonTexts.ANY;
        }
        if (!(schema instanceof Map<?, ?>)) {
            throw refuse(at, "a schema is an object or a boolean, but this is " + schema);
        }
        Map<String, @Nullable Object> keywords = keywords(schema);
        if (keywords.containsKey("$ref") || keywords.containsKey("allOf")) {
            if (keywords.size() == 1 && keywords.get("$ref") instanceof String ref) {
                return new Expr.Ref(rule(ref, at));
            }
            return schema(flatten(keywords, at, depth), at, depth + 1);
        }
        return plain(keywords, at, depth);
    }

    /** The keywords of a schema that restrict values. */
    private static Map<String, @Nullable Object> keywords(Object schema) {
        Map<String, @Nullable Object> keywords = new LinkedHashMap<>();
        ((Map<?, ?>) schema).forEach((key, value) -> {
            if (!ANNOTATIONS.contains(key)) {
                keywords.put((String) key, value);
            }
        });
        return keywords;
    }

    private Rule rule(String ref, String at) {
        Rule known = rules.get(ref);
        if (known == null) {
            Object target = resolve(ref, at);
            Rule rule = new Rule(ref);
            rules.put(ref, rule);
            pending.add(() -> rule.define(schema(target, ref, 0)));
            return rule;
        }
        return known;
    }

    private Object resolve(String ref, String at) {
        if (!ref.startsWith("#")) {
            throw refuse(at, "$ref '" + ref + "' leads out of the schema: only references within it are supported");
        }
        Object target = root;
        for (String part : ref.substring(1).split("/")) {
            if (part.isEmpty()) {
                continue;
            }
            String name = java.net.URLDecoder.decode(part.replace("+", "%2B"), java.nio.charset.StandardCharsets.UTF_8)
                    .replace("~1", "/")
                    .replace("~0", "~");
            Object next = switch (target) {
                case Map<?, ?> map -> map.get(name);
                case List<?> list
                when name.matches("\\d{1,6}") && Integer.parseInt(name) < list.size() ->
                    list.get(Integer.parseInt(name));
                default -> null;
            };
            if (next == null) {
                throw refuse(at, "$ref '" + ref + "' leads nowhere");
            }
            target = next;
        }
        return target;
    }

    /** A schema with references and allOf as one without. */
    private Map<String, @Nullable Object> flatten(Map<String, @Nullable Object> schema, String at, int depth) {
        if (depth > MAX_DEPTH) {
            throw refuse(at, "references lead round in a circle");
        }
        Map<String, @Nullable Object> result = new LinkedHashMap<>(schema);
        List<Object> parts = new ArrayList<>();
        if (result.containsKey("$ref")) {
            parts.add(resolve(String.valueOf(result.remove("$ref")), at));
        }
        if (result.containsKey("allOf")) {
            parts.addAll(list(result.remove("allOf"), at + "/allOf"));
        }
        for (Object part : parts) {
            if (Boolean.TRUE.equals(part)) {
                continue;
            }
            if (!(part instanceof Map<?, ?>)) {
                throw refuse(at, "nothing is valid here");
            }
            Map<String, @Nullable Object> other = keywords(part);
            if (other.containsKey("$ref") || other.containsKey("allOf")) {
                other = flatten(other, at, depth + 1);
            }
            merge(result, other, at);
        }
        return result;
    }

    private void merge(Map<String, @Nullable Object> into, Map<String, @Nullable Object> from, String at) {
        boolean closed = Boolean.FALSE.equals(into.get("additionalProperties"))
                || Boolean.FALSE.equals(from.get("additionalProperties"));
        if (closed
                && !names(into).equals(names(from))
                && !names(into).isEmpty()
                && !names(from).isEmpty()) {
            throw refuse(at, "allOf with additionalProperties false and different properties is not supported");
        }
        from.forEach((keyword, value) -> {
            Object present = into.get(keyword);
            if (!into.containsKey(keyword) || Objects.equals(present, value)) {
                into.put(keyword, value);
                return;
            }
            switch (keyword) {
                case "properties" -> {
                    Map<String, @Nullable Object> both = new LinkedHashMap<>(object(present, at));
                    object(value, at)
                            .forEach((name, schema) -> both.merge(
                                    name,
                                    Objects.requireNonNull(schema),
                                    (a, b) -> a.equals(b) ? a : Map.of("allOf", List.of(a, b))));
                    into.put(keyword, both);
                }
                case "required" -> {
                    Set<Object> both = new LinkedHashSet<>(list(present, at));
                    both.addAll(list(value, at));
                    into.put(keyword, new ArrayList<>(both));
                }
                case "type" -> {
                    List<String> both = new ArrayList<>(types(present, at));
                    both.retainAll(types(value, at));
                    if (both.isEmpty()) {
                        throw refuse(at, "nothing can be both of type " + present + " and " + value);
                    }
                    into.put(keyword, both);
                }
                case "minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties" ->
                    into.put(keyword, decimal(present, at).max(decimal(value, at)));
                case "maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties" ->
                    into.put(keyword, decimal(present, at).min(decimal(value, at)));
                default ->
                    throw refuse(at, "the keyword '" + keyword + "' cannot be combined with another one by allOf");
            }
        });
    }

    private static Set<String> names(Map<String, @Nullable Object> schema) {
        return schema.get("properties") instanceof Map<?, ?> map
                ? map.keySet().stream().map(String::valueOf).collect(java.util.stream.Collectors.toSet())
                : Set.of();
    }

    private Expr plain(Map<String, @Nullable Object> schema, String at, int depth) {
        Map<String, @Nullable Object> left = new LinkedHashMap<>(schema);
        if (Boolean.TRUE.equals(left.remove("nullable"))) {
            return Expr.choice(plain(left, at, depth), JsonTexts.NULL);
        }
        if (left.isEmpty()) {
            return JsonTexts.ANY;
        }
        for (String alternatives : List.of("anyOf", "oneOf")) {
            if (left.containsKey(alternatives)) {
                return alternatives(left, alternatives, at, depth);
            }
        }
        if (left.containsKey("const") || left.containsKey("enum")) {
            return constants(left, at);
        }
        List<String> types = left.containsKey("type") ? types(left.remove("type"), at) : impliedTypes(left.keySet());
        for (String keyword : left.keySet()) {
            if (types.stream()
                    .noneMatch(type -> BY_TYPE.getOrDefault(type, Set.of()).contains(keyword))) {
                boolean known = BY_TYPE.values().stream().anyMatch(of -> of.contains(keyword));
                if (!known) {
                    throw refuse(at, "the keyword '" + keyword + "' is not supported");
                }
            }
        }
        if (types.contains("number")) {
            types = types.stream().filter(type -> !type.equals("integer")).toList();
        }
        return Expr.choice(
                types.stream().map(type -> ofType(type, left, at, depth)).toList());
    }

    /** A keyword of one type says nothing of the others; here the value is of that type. */
    private static List<String> impliedTypes(Set<String> keywords) {
        List<String> types = BY_TYPE.entrySet().stream()
                .filter(type -> !type.getKey().equals("integer"))
                .filter(type -> keywords.stream()
                        .anyMatch(keyword ->
                                !keyword.equals("format") && type.getValue().contains(keyword)))
                .map(Map.Entry::getKey)
                .toList();
        if (types.isEmpty()) {
            return keywords.contains("format")
                    ? List.of("string")
                    : List.of("object", "array", "string", "number", "boolean", "null");
        }
        return types;
    }

    /** Siblings hold for every alternative. */
    private Expr alternatives(Map<String, @Nullable Object> schema, String keyword, String at, int depth) {
        Map<String, @Nullable Object> siblings = new LinkedHashMap<>(schema);
        List<Object> options = list(siblings.remove(keyword), at + "/" + keyword);
        if (siblings.containsKey("anyOf") || siblings.containsKey("oneOf")) {
            throw refuse(at, "anyOf and oneOf together are not supported");
        }
        if (options.isEmpty()) {
            throw refuse(at, keyword + " has no alternatives");
        }
        if (keyword.equals("oneOf") && options.size() > 1) {
            requireDisjoint(options, at);
        }
        List<Expr> exprs = new ArrayList<>();
        for (int i = 0; i < options.size(); i++) {
            Object option = options.get(i);
            if (!siblings.isEmpty()) {
                option = Map.of("allOf", List.of(siblings, option));
            }
            exprs.add(schema(option, at + "/" + keyword + "/" + i, depth + 1));
        }
        return Expr.choice(exprs);
    }

    /** With oneOf a value must not be valid twice: that is certain for different types or different constants. */
    private void requireDisjoint(List<Object> options, String at) {
        List<Map<String, @Nullable Object>> flat = options.stream()
                .map(option -> option instanceof Map<?, ?> ? flatten(keywords(option), at, 0) : null)
                .map(option -> option == null ? Map.<String, @Nullable Object>of() : option)
                .toList();
        for (int i = 0; i < flat.size(); i++) {
            for (int j = 0; j < i; j++) {
                if (!disjoint(flat.get(i), flat.get(j), at)) {
                    throw refuse(
                            at,
                            "oneOf with alternatives that could both be valid is not supported: use anyOf, or give them"
                                    + " different types, or a required property with different constants");
                }
            }
        }
    }

    private boolean disjoint(Map<String, @Nullable Object> a, Map<String, @Nullable Object> b, String at) {
        if (a.containsKey("type") && b.containsKey("type")) {
            Set<String> types = new LinkedHashSet<>(types(a.get("type"), at));
            Set<String> others = new LinkedHashSet<>(types(b.get("type"), at));
            boolean numbers = types.contains("integer") && others.contains("number")
                    || types.contains("number") && others.contains("integer");
            types.retainAll(others);
            if (types.isEmpty() && !numbers) {
                return true;
            }
        }
        if (values(a) != null && values(b) != null) {
            Set<Object> both = new LinkedHashSet<>(Objects.requireNonNull(values(a)));
            both.retainAll(Objects.requireNonNull(values(b)));
            return both.isEmpty();
        }
        Set<Object> required = new LinkedHashSet<>(list(a.getOrDefault("required", List.of()), at));
        required.retainAll(list(b.getOrDefault("required", List.of()), at));
        for (Object name : required) {
            Object x = object(a.getOrDefault("properties", Map.of()), at).get(name);
            Object y = object(b.getOrDefault("properties", Map.of()), at).get(name);
            if (x instanceof Map<?, ?> && y instanceof Map<?, ?>) {
                List<Object> xs = values(keywords(x));
                List<Object> ys = values(keywords(y));
                if (xs != null && ys != null && xs.stream().noneMatch(ys::contains)) {
                    return true;
                }
            }
        }
        return false;
    }

    private static @Nullable List<Object> values(Map<String, @Nullable Object> schema) {
        if (schema.containsKey("const")) {
            List<Object> one = new ArrayList<>();
            one.add(schema.get("const"));
            return one;
        }
        return schema.get("enum") instanceof List<?> list ? new ArrayList<>(list) : null;
    }

    private Expr constants(Map<String, @Nullable Object> schema, String at) {
        Map<String, @Nullable Object> left = new LinkedHashMap<>(schema);
        boolean hasConstant = left.containsKey("const");
        Object constant = left.remove("const");
        List<Object> values = new ArrayList<>();
        if (left.containsKey("enum")) {
            values.addAll(list(left.remove("enum"), at + "/enum"));
            if (hasConstant) {
                values.removeIf(value -> !Objects.equals(value, constant));
            }
        } else {
            values.add(constant);
        }
        if (left.containsKey("type")) {
            List<String> types = types(left.remove("type"), at);
            values.removeIf(value -> types.stream().noneMatch(type -> isOfType(value, type)));
        }
        if (!left.isEmpty()) {
            throw refuse(
                    at, "the keyword '" + left.keySet().iterator().next() + "' beside enum or const is not supported");
        }
        if (values.isEmpty()) {
            throw refuse(at, "no value of the enumeration is valid");
        }
        return Expr.choice(values.stream().map(JsonTexts::value).toList());
    }

    private static boolean isOfType(@Nullable Object value, String type) {
        return switch (type) {
            case "object" -> value instanceof Map;
            case "array" -> value instanceof List;
            case "string" -> value instanceof String;
            case "number" -> value instanceof Number;
            case "integer" -> value instanceof Long || value instanceof Double d && d == Math.rint(d);
            case "boolean" -> value instanceof Boolean;
            default -> value == null;
        };
    }

    private Expr ofType(String type, Map<String, @Nullable Object> schema, String at, int depth) {
        return switch (type) {
            case "object" -> object(schema, at, depth);
            case "array" -> array(schema, at, depth);
            case "string" -> string(schema, at);
            case "integer" -> number(schema, true, at);
            case "number" -> number(schema, false, at);
            case "boolean" -> JsonTexts.BOOLEAN;
            case "null" -> JsonTexts.NULL;
            default -> throw refuse(at, "there is no type '" + type + "'");
        };
    }

    private Expr object(Map<String, @Nullable Object> schema, String at, int depth) {
        Map<String, @Nullable Object> properties =
                object(schema.getOrDefault("properties", Map.of()), at + "/properties");
        List<Object> required = list(schema.getOrDefault("required", List.of()), at + "/required");
        Object additional = schema.getOrDefault("additionalProperties", true);
        int min = count(schema, "minProperties", 0, at);
        int max = count(schema, "maxProperties", -1, at);
        Map<String, @Nullable Object> members = new LinkedHashMap<>(properties);
        for (Object name : required) {
            if (!members.containsKey(name)) {
                if (Boolean.FALSE.equals(additional)) {
                    throw refuse(at, "'" + name + "' is required, but no property, and no others are allowed");
                }
                members.put((String) name, additional);
            }
        }
        if (members.isEmpty()) {
            if (Boolean.FALSE.equals(additional)) {
                return JsonTexts.object(Expr.EMPTY);
            }
            if (min > 1) {
                throw refuse(at, "minProperties above 1 for names that are not given is not supported");
            }
            return JsonTexts.object(
                    JsonTexts.anyMembers(min, max, schema(additional, at + "/additionalProperties", depth + 1)));
        }
        if (min > required.size() || max >= 0 && max < members.size()) {
            throw refuse(at, "minProperties or maxProperties beside properties is not supported");
        }
        return JsonTexts.object(members(members, required, at, depth));
    }

    /** Members in the order of the schema; commas only between those that are there. */
    private Expr members(Map<String, @Nullable Object> members, List<Object> required, String at, int depth) {
        List<String> names = List.copyOf(members.keySet());
        // From the back: what may follow, when something stands in front of it and when nothing does.
        Expr afterSome = Expr.EMPTY;
        Expr afterNone = Expr.EMPTY;
        for (int i = names.size() - 1; i >= 0; i--) {
            String name = names.get(i);
            Expr member = Expr.ref(
                    name,
                    JsonTexts.member(
                            Expr.text(JsonTexts.quote(name)),
                            schema(members.get(name), at + "/properties/" + name, depth + 1)));
            Expr withThis = Expr.seq(JsonTexts.comma(), member, afterSome);
            Expr first = Expr.seq(member, afterSome);
            if (required.contains(name)) {
                afterNone = first;
                afterSome = Expr.ref("after " + name, withThis);
            } else {
                afterNone = Expr.ref("from " + name, Expr.choice(first, afterNone));
                afterSome = Expr.ref("after " + name, Expr.choice(withThis, afterSome));
            }
        }
        return afterNone;
    }

    private Expr array(Map<String, @Nullable Object> schema, String at, int depth) {
        int min = count(schema, "minItems", 0, at);
        int max = count(schema, "maxItems", -1, at);
        if (Boolean.TRUE.equals(schema.get("uniqueItems")) && (max < 0 || max > 1)) {
            throw refuse(at, "the keyword 'uniqueItems' is not supported");
        }
        Object items = schema.getOrDefault("items", true);
        List<Object> prefix = list(schema.getOrDefault("prefixItems", List.of()), at + "/prefixItems");
        if (max >= 0 && min > max) {
            throw refuse(at, "minItems is above maxItems");
        }
        if (prefix.isEmpty()) {
            if (max == 0 || Boolean.FALSE.equals(items)) {
                if (min > 0) {
                    throw refuse(at, "minItems is above 0, but no items are allowed");
                }
                return Expr.seq(Expr.text("["), JsonTexts.SPACE, Expr.text("]"));
            }
            return JsonTexts.array(schema(items, at + "/items", depth + 1), min, max);
        }
        return tuple(prefix, items, min, max, at, depth);
    }

    private Expr tuple(List<Object> prefix, @Nullable Object items, int min, int max, String at, int depth) {
        int count = max < 0 ? prefix.size() : Math.min(max, prefix.size());
        boolean more = !Boolean.FALSE.equals(items) && (max < 0 || max > prefix.size());
        if (min > count && !more) {
            throw refuse(at, "minItems is above the number of items that are allowed");
        }
        Expr rest = Expr.EMPTY;
        if (more) {
            Expr item = Expr.ref("item", Expr.seq(schema(items, at + "/items", depth + 1), JsonTexts.SPACE));
            rest = Expr.repeat(
                    Expr.ref("further", Expr.seq(JsonTexts.comma(), item)),
                    Math.max(0, min - prefix.size()),
                    max < 0 ? -1 : max - prefix.size());
        }
        for (int i = count - 1; i >= 0; i--) {
            Expr item = Expr.seq(schema(prefix.get(i), at + "/prefixItems/" + i, depth + 1), JsonTexts.SPACE);
            Expr here = i == 0 ? Expr.seq(item, rest) : Expr.seq(JsonTexts.comma(), item, rest);
            rest = Expr.ref("item " + i, i < min ? here : Expr.optional(here));
        }
        return Expr.seq(Expr.text("["), JsonTexts.SPACE, rest, Expr.text("]"));
    }

    private Expr string(Map<String, @Nullable Object> schema, String at) {
        int min = count(schema, "minLength", 0, at);
        int max = count(schema, "maxLength", -1, at);
        if (max >= 0 && min > max) {
            throw refuse(at, "minLength is above maxLength");
        }
        if (schema.get("format") instanceof String format) {
            if (StringFormats.isUnsupported(format)) {
                throw refuse(at, "the format '" + format + "' is not supported");
            }
            Expr content = StringFormats.content(format);
            if (content != null) {
                if (min > 0 || max >= 0) {
                    throw refuse(at, "minLength or maxLength beside the format '" + format + "' is not supported");
                }
                return JsonTexts.string(content);
            }
        }
        return JsonTexts.string(min, max);
    }

    private Expr number(Map<String, @Nullable Object> schema, boolean integer, String at) {
        if (schema.containsKey("multipleOf")
                && !(integer && decimal(schema.get("multipleOf"), at).compareTo(BigDecimal.ONE) == 0)) {
            throw refuse(at, "the keyword 'multipleOf' is not supported");
        }
        Bound lower = bound(schema, "minimum", "exclusiveMinimum", at);
        Bound upper = bound(schema, "maximum", "exclusiveMaximum", at);
        if (integer) {
            String format = String.valueOf(schema.get("format"));
            lower = lower != null || !format.equals("int32")
                    ? lower
                    : new Bound(BigDecimal.valueOf(Integer.MIN_VALUE), false);
            upper = upper != null || !format.equals("int32")
                    ? upper
                    : new Bound(BigDecimal.valueOf(Integer.MAX_VALUE), false);
        }
        if (lower == null && upper == null) {
            return integer ? JsonTexts.INTEGER : JsonTexts.NUMBER;
        }
        Expr range = integer ? NumberRange.integers(lower, upper) : NumberRange.numbers(lower, upper);
        if (range == null) {
            throw refuse(at, "no number lies between minimum and maximum");
        }
        return range;
    }

    private static @Nullable Bound bound(
            Map<String, @Nullable Object> schema, String inclusive, String exclusive, String at) {
        Bound bound = null;
        if (schema.containsKey(inclusive)) {
            bound = new Bound(decimal(schema.get(inclusive), at + "/" + inclusive), false);
        }
        if (schema.containsKey(exclusive)) {
            Bound strict = new Bound(decimal(schema.get(exclusive), at + "/" + exclusive), true);
            if (bound == null) {
                return strict;
            }
            int order = strict.value().compareTo(bound.value());
            boolean tighter = inclusive.equals("minimum") ? order >= 0 : order <= 0;
            return tighter ? strict : bound;
        }
        return bound;
    }

    private static int count(Map<String, @Nullable Object> schema, String keyword, int fallback, String at) {
        if (!schema.containsKey(keyword)) {
            return fallback;
        }
        BigDecimal value = decimal(schema.get(keyword), at + "/" + keyword);
        boolean limit = keyword.startsWith("max");
        if (limit && value.compareTo(BigDecimal.valueOf(UNREACHABLE)) >= 0) {
            return -1;
        }
        if (value.signum() < 0 || value.compareTo(BigDecimal.valueOf(MAX_REPETITIONS)) > 0) {
            throw refuse(at, keyword + " must be between 0 and " + MAX_REPETITIONS + " but is " + value);
        }
        return value.intValue();
    }

    private static List<String> types(@Nullable Object type, String at) {
        return switch (type) {
            case String one -> List.of(one);
            case List<?> several
            when !several.isEmpty() -> several.stream().map(String::valueOf).toList();
            case null, default -> throw refuse(at, "type must be a name or a list of names but is " + type);
        };
    }

    private static List<Object> list(@Nullable Object value, String at) {
        if (value instanceof List<?> list) {
            return new ArrayList<>(list);
        }
        throw refuse(at, "this must be a list but is " + value);
    }

    private static Map<String, @Nullable Object> object(@Nullable Object value, String at) {
        if (value instanceof Map<?, ?> map) {
            Map<String, @Nullable Object> copy = new LinkedHashMap<>();
            map.forEach((key, item) -> copy.put((String) key, item));
            return copy;
        }
        throw refuse(at, "this must be an object but is " + value);
    }

    private static BigDecimal decimal(@Nullable Object value, String at) {
        return switch (value) {
            case BigDecimal number -> number;
            case Long number -> BigDecimal.valueOf(number);
            case Double number when Double.isFinite(number) -> new BigDecimal(number.toString());
            case null, default -> throw refuse(at, "this must be a number but is " + value);
        };
    }

    private static UnsupportedSchemaException refuse(String at, String what) {
        return new UnsupportedSchemaException("JSON schema at " + at + ": " + what);
    }
}
