package dev.prefetch.grammar;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.random.RandomGenerator;

/** Makes JSON schemas of the supported keywords up, each of which some value is valid for. */
final class SchemaGenerator {

    private static final List<String> NAMES =
            List.of("name", "age", "naïve key", "a\"b", "city", "items", "x", "long property name");

    private final RandomGenerator random;
    private final Map<String, Object> definitions = new LinkedHashMap<>();

    SchemaGenerator(RandomGenerator random) {
        this.random = random;
    }

    Map<String, Object> generate() {
        definitions.clear();
        int count = random.nextInt(3);
        for (int i = 0; i < count; i++) {
            definitions.put("D" + i, schema(2));
        }
        // A list that may hold itself: recursion with an end.
        definitions.put(
                "Node",
                map(
                        "type",
                        "object",
                        "properties",
                        map(
                                "value",
                                schema(3),
                                "next",
                                map("anyOf", List.of(map("$ref", "#/$defs/Node"), map("type", "null")))),
                        "required",
                        List.of("value")));
        Map<String, Object> root = schema(0);
        root.put("$defs", definitions);
        return root;
    }

    private Map<String, Object> schema(int depth) {
        int kinds = depth >= 3 ? 6 : 12;
        return switch (random.nextInt(kinds)) {
            case 0 -> string();
            case 1 -> integer();
            case 2 -> number();
            case 3 -> map("type", random.nextBoolean() ? "boolean" : "null");
            case 4 -> enumeration();
            case 5 -> map("type", new ArrayList<>(List.of("string", "null", "integer")), "description", "one of three");
            case 6 -> array(depth);
            case 7 -> map("anyOf", List.of(schema(depth + 1), schema(depth + 1)));
            case 8 -> reference();
            case 9 -> mapOf(depth);
            default -> object(depth);
        };
    }

    private Map<String, Object> string() {
        Map<String, Object> schema = map("type", "string");
        switch (random.nextInt(4)) {
            case 0 -> schema.put("minLength", random.nextInt(4));
            case 1 -> {
                int min = random.nextInt(3);
                schema.put("minLength", min);
                schema.put("maxLength", min + random.nextInt(9));
            }
            case 2 ->
                schema.put(
                        "format",
                        List.of("date", "time", "date-time", "uuid", "ipv4", "email")
                                .get(random.nextInt(6)));
            default -> {}
        }
        return schema;
    }

    private Map<String, Object> integer() {
        Map<String, Object> schema = map("type", "integer");
        long low = random.nextLong(-3000, 3000);
        if (random.nextBoolean()) {
            schema.put(random.nextBoolean() ? "minimum" : "exclusiveMinimum", low);
        }
        if (random.nextBoolean()) {
            schema.put(random.nextBoolean() ? "maximum" : "exclusiveMaximum", low + 2 + random.nextLong(5000));
        }
        return schema;
    }

    private Map<String, Object> number() {
        Map<String, Object> schema = map("type", "number");
        double low = random.nextLong(-3000, 3000) / 100.0;
        if (random.nextBoolean()) {
            schema.put(random.nextBoolean() ? "minimum" : "exclusiveMinimum", low);
        }
        if (random.nextBoolean()) {
            schema.put(
                    random.nextBoolean() ? "maximum" : "exclusiveMaximum",
                    Math.round(low * 100 + 1 + random.nextLong(900)) / 100.0);
        }
        return schema;
    }

    private Map<String, Object> enumeration() {
        return random.nextBoolean()
                ? map("enum", new ArrayList<>(List.of("red", "grün", "say \"hi\"\n", 7L, 1.5, true)))
                : map("const", random.nextBoolean() ? "only" : map("k", List.of(1L, "two")));
    }

    private Map<String, Object> array(int depth) {
        Map<String, Object> schema = map("type", "array");
        switch (random.nextInt(4)) {
            case 0 -> {
                schema.put("prefixItems", List.of(schema(depth + 1), schema(depth + 1)));
                schema.put("items", random.nextBoolean() ? false : schema(depth + 1));
                schema.put("minItems", random.nextInt(3));
            }
            case 1 -> {
                int min = random.nextInt(3);
                schema.put("items", schema(depth + 1));
                schema.put("minItems", min);
                schema.put("maxItems", min + random.nextInt(3));
            }
            case 2 -> {
                schema.put("items", schema(depth + 1));
                schema.put("maxItems", 3);
            }
            default -> schema.put("items", schema(depth + 1));
        }
        return schema;
    }

    private Map<String, Object> reference() {
        List<String> names = List.copyOf(definitions.keySet());
        String name = names.isEmpty() ? "Node" : names.get(random.nextInt(names.size()));
        return map("$ref", "#/$defs/" + name);
    }

    private Map<String, Object> mapOf(int depth) {
        return map("type", "object", "additionalProperties", random.nextBoolean() ? true : schema(depth + 1));
    }

    private Map<String, Object> object(int depth) {
        Map<String, Object> properties = new LinkedHashMap<>();
        List<Object> required = new ArrayList<>();
        int count = random.nextInt(5);
        for (int i = 0; i < count; i++) {
            String name = NAMES.get(random.nextInt(NAMES.size()));
            properties.put(name, schema(depth + 1));
            if (random.nextBoolean() && !required.contains(name)) {
                required.add(name);
            }
        }
        Map<String, Object> schema = map("type", "object", "properties", properties);
        if (random.nextBoolean()) {
            schema.put("required", required);
        }
        if (random.nextBoolean()) {
            schema.put("additionalProperties", false);
        }
        return schema;
    }

    private static Map<String, Object> map(Object... pairs) {
        Map<String, Object> map = new LinkedHashMap<>();
        for (int i = 0; i < pairs.length; i += 2) {
            map.put((String) pairs[i], pairs[i + 1]);
        }
        return map;
    }
}
