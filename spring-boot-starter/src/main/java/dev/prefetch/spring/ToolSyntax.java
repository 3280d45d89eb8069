package dev.prefetch.spring;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * The syntaxes in which models write tool calls. A syntax reads the text from the first {@link #openings() opening} to the
 * end of the answer. What is no well-formed call of an offered tool stays text: a model may write anything.
 */
enum ToolSyntax {
    /** {@code <tool_call>{"name": ..., "arguments": {...}}</tool_call>}: Hermes, Qwen 2.5, Qwen 3. */
    HERMES(List.of("<tool_call>"), false) {
        @Override
        @Nullable
        Match match(String text, int at, OfferedTools tools) {
            int body = skip(text, at, "<tool_call>");
            JsonText.Value json = body < 0 ? null : JsonText.read(text, skipSpace(text, body));
            WrittenCall call = json == null ? null : named(json.node(), tools, "arguments", "parameters");
            return call == null ? null : new Match(List.of(call), optional(text, json.end(), "</tool_call>"));
        }
    },

    /**
     * {@code <tool_call><function=name><parameter=key>value</parameter></function></tool_call>}: Qwen 3 Coder and others.
     * The values are bare text; the tool's schema says what they are.
     */
    TAGGED(List.of("<tool_call>", "<function="), false) {
        @Override
        @Nullable
        Match match(String text, int at, OfferedTools tools) {
            Matcher function = FUNCTION.matcher(text);
            if (!function.region(optional(text, at, "<tool_call>"), text.length())
                    .lookingAt()) {
                return null;
            }
            String name = function.group(1);
            int body = function.end();
            int end = text.indexOf("</function>", body);
            if (end < 0 || !tools.has(name)) {
                return null;
            }
            ObjectNode arguments = JsonText.object();
            Matcher parameter = PARAMETER.matcher(text).region(body, end);
            while (parameter.lookingAt()) {
                arguments.set(parameter.group(1), tools.value(name, parameter.group(1), parameter.group(2)));
                parameter.region(parameter.end(), end);
            }
            if (!text.substring(parameter.regionStart(), end).isBlank()) {
                return null;
            }
            WrittenCall call = new WrittenCall(null, name, arguments.toString());
            return new Match(List.of(call), optional(text, end + "</function>".length(), "</tool_call>"));
        }
    },

    /** {@code {"name": ..., "parameters": {...}}} and nothing else, in front of it perhaps a tag: Llama 3.1 to 3.3. */
    LLAMA(List.of("<|python_tag|>", "{"), true) {
        @Override
        @Nullable
        Match match(String text, int at, OfferedTools tools) {
            int body = optional(text, at, "<|python_tag|>");
            JsonText.Value json = JsonText.read(text, body);
            WrittenCall call = json == null ? null : named(json.node(), tools, "parameters", "arguments");
            return call == null ? null : new Match(List.of(call), optional(text, json.end(), ";"));
        }
    },

    /**
     * {@code [TOOL_CALLS][{"name": ..., "arguments": {...}, "id": ...}]} or
     * {@code [TOOL_CALLS]name[CALL_ID]id[ARGS]{...}}: Mistral.
     */
    MISTRAL(List.of("[TOOL_CALLS]"), false) {
        @Override
        @Nullable
        Match match(String text, int at, OfferedTools tools) {
            int body = skip(text, at, "[TOOL_CALLS]");
            if (body < 0) {
                return null;
            }
            body = skipSpace(text, body);
            return body < text.length() && text.charAt(body) == '['
                    ? list(text, body, tools)
                    : named(text, body, tools);
        }

        private @Nullable Match named(String text, int at, OfferedTools tools) {
            Matcher head = MISTRAL_HEAD.matcher(text).region(at, text.length());
            if (!head.lookingAt() || !tools.has(head.group(1))) {
                return null;
            }
            JsonText.Value json = JsonText.read(text, head.end());
            return json == null || !json.node().isObject()
                    ? null
                    : new Match(
                            List.of(new WrittenCall(
                                    head.group(2), head.group(1), json.node().toString())),
                            json.end());
        }
    },

    /** {@code <|tool_call|>[{"name": ..., "arguments": {...}}]}: Granite 3. */
    GRANITE(List.of("<|tool_call|>"), false) {
        @Override
        @Nullable
        Match match(String text, int at, OfferedTools tools) {
            int body = skip(text, at, "<|tool_call|>");
            return body < 0 ? null : list(text, skipSpace(text, body), tools);
        }
    },

    /** {@code <｜tool▁call▁begin｜>function<｜tool▁sep｜>name} and a fenced JSON object: DeepSeek R1 and its distillates. */
    DEEPSEEK(List.of("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"), false) {
        @Override
        @Nullable
        Match match(String text, int at, OfferedTools tools) {
            Matcher head =
                    DEEPSEEK_HEAD.matcher(text).region(optional(text, at, "<｜tool▁calls▁begin｜>"), text.length());
            if (!head.lookingAt() || !tools.has(head.group(1))) {
                return null;
            }
            JsonText.Value json = JsonText.read(text, head.end());
            if (json == null || !json.node().isObject()) {
                return null;
            }
            int end = optional(text, json.end(), "```");
            end = optional(text, end, "<｜tool▁call▁end｜>");
            return new Match(
                    List.of(new WrittenCall(null, head.group(1), json.node().toString())),
                    optional(text, end, "<｜tool▁calls▁end｜>"));
        }
    };

    private static final Pattern FUNCTION = Pattern.compile("<function=([^>\\s]+)>\\s*");
    private static final Pattern PARAMETER =
            Pattern.compile("\\s*<parameter=([^>]+)>\\n?(.*?)\\n?</parameter>\\s*", Pattern.DOTALL);
    private static final Pattern MISTRAL_HEAD =
            Pattern.compile("([\\w.-]+)(?:\\[CALL_ID]([^\\[]+))?(?:\\[ARGS])?\\s*(?=\\{)");
    private static final Pattern DEEPSEEK_HEAD =
            Pattern.compile("<｜tool▁call▁begin｜>(?:function)?<｜tool▁sep｜>(\\S+)\\s*(?:```json)?\\s*(?=\\{)");

    private final List<String> openings;
    private final boolean wholeAnswer;

    ToolSyntax(List<String> openings, boolean wholeAnswer) {
        this.openings = openings;
        this.wholeAnswer = wholeAnswer;
    }

    /** Texts with which calls begin. */
    List<String> openings() {
        return openings;
    }

    /** Whether calls are recognised at the beginning of the answer only, and only when nothing else follows. */
    boolean wholeAnswer() {
        return wholeAnswer;
    }

    /** The call that stands at a place, or null when none that is well-formed does. */
    abstract @Nullable Match match(String text, int at, OfferedTools tools);

    /**
     * Reads calls and the text between them.
     *
     * @param text from the first opening to the end of the answer
     */
    Reading read(String text, OfferedTools tools) {
        List<WrittenCall> calls = new ArrayList<>();
        StringBuilder rest = new StringBuilder();
        int at = 0;
        while (at < text.length()) {
            Match match = match(text, at, tools);
            if (match != null) {
                calls.addAll(match.calls());
                at = match.end();
                continue;
            }
            if (wholeAnswer && !text.substring(at).isBlank()) {
                return new Reading(List.of(), text);
            }
            int next = nextOpening(text, at + 1);
            rest.append(text, at, next);
            at = next;
        }
        return calls.isEmpty()
                ? new Reading(List.of(), text)
                : new Reading(calls, rest.toString().strip());
    }

    private int nextOpening(String text, int from) {
        return openings.stream()
                .mapToInt(opening -> text.indexOf(opening, from))
                .filter(index -> index >= 0)
                .min()
                .orElse(text.length());
    }

    /** {@code {"name": ..., <one of the keys>: {...}}} as a call of an offered tool, or null. */
    static @Nullable WrittenCall named(JsonNode json, OfferedTools tools, String... argumentKeys) {
        JsonNode name = json.get("name");
        if (name == null || !name.isString() || !tools.has(name.asString())) {
            return null;
        }
        JsonNode id = json.get("id");
        for (String key : argumentKeys) {
            JsonNode arguments = json.get(key);
            if (arguments != null && arguments.isString()) {
                JsonText.Value inner = JsonText.read(arguments.asString(), 0);
                arguments = inner == null ? null : inner.node();
            }
            if (arguments != null && arguments.isObject()) {
                return new WrittenCall(
                        id != null && id.isString() ? id.asString() : null, name.asString(), arguments.toString());
            }
        }
        // A tool without parameters is often called without arguments.
        boolean none = List.of(argumentKeys).stream().noneMatch(json::has);
        return none ? new WrittenCall(null, name.asString(), "{}") : null;
    }

    /** A list of calls in JSON, or null. */
    private static @Nullable Match list(String text, int at, OfferedTools tools) {
        JsonText.Value json = JsonText.read(text, at);
        if (json == null || !json.node().isArray() || json.node().isEmpty()) {
            return null;
        }
        List<WrittenCall> calls = new ArrayList<>();
        for (JsonNode item : json.node()) {
            WrittenCall call = named(item, tools, "arguments", "parameters");
            if (call == null) {
                return null;
            }
            calls.add(call);
        }
        return new Match(calls, json.end());
    }

    private static int skip(String text, int at, String expected) {
        return text.startsWith(expected, at) ? at + expected.length() : -1;
    }

    /** Behind a text and the space around it, if it stands there. */
    private static int optional(String text, int at, String expected) {
        int from = skipSpace(text, at);
        return text.startsWith(expected, from) ? skipSpace(text, from + expected.length()) : at;
    }

    private static int skipSpace(String text, int at) {
        int i = at;
        while (i < text.length() && Character.isWhitespace(text.charAt(i))) {
            i++;
        }
        return i;
    }

    /**
     * A call as the model wrote it.
     *
     * @param id the model's own identifier, or null
     * @param name an offered tool
     * @param arguments a JSON object
     */
    record WrittenCall(@Nullable String id, String name, String arguments) {}

    /**
     * @param calls at least one
     * @param end where the text goes on
     */
    record Match(List<WrittenCall> calls, int end) {}

    /**
     * @param calls in the order in which they were written
     * @param text what is not part of a call
     */
    record Reading(List<WrittenCall> calls, String text) {}

    /** The tools of a request: their names, and what their parameters are. */
    record OfferedTools(Map<String, JsonNode> parametersByName) {

        static final OfferedTools NONE = new OfferedTools(Map.of());

        boolean has(String name) {
            return parametersByName.containsKey(name);
        }

        boolean isEmpty() {
            return parametersByName.isEmpty();
        }

        /** A bare value as JSON: text where the schema says so or where it is no JSON. */
        JsonNode value(String tool, String parameter, String text) {
            JsonNode schema = parametersByName.get(tool).path("properties").path(parameter);
            JsonText.Value json = isText(schema) ? null : JsonText.readAll(text.strip());
            return json == null ? JsonText.string(text) : json.node();
        }

        private static boolean isText(JsonNode schema) {
            JsonNode type = schema.path("type");
            return type.isString() && type.asString().equals("string");
        }
    }
}
