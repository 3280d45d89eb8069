package dev.prefetch.api;

import dev.prefetch.gguf.GgufMetadata;
import dev.prefetch.grammar.Json;
import dev.prefetch.template.ChatTemplate;
import dev.prefetch.template.InputText;
import dev.prefetch.template.RenderedText;
import dev.prefetch.template.TemplateException;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Turns prompts into token ids. Everything that comes from messages, tools and their results is marked as input on its
 * way through the chat template, so special tokens are recognised only where the template itself wrote them.
 */
final class PromptEncoder {

    private static final String ADD_END_KEY = "tokenizer.ggml.add_eos_token";
    private static final String TEMPLATE_KEY = "tokenizer.chat_template";

    private final Tokenizer tokenizer;
    private final @Nullable ChatTemplate template;
    private final @Nullable String templateProblem;
    private final boolean addsEndToken;

    PromptEncoder(GgufMetadata metadata, Tokenizer tokenizer) {
        this.tokenizer = tokenizer;
        ChatTemplate parsed = null;
        String problem = "the model file has no chat template (key '" + TEMPLATE_KEY + "')";
        String source = metadata.string(TEMPLATE_KEY).orElse(null);
        if (source != null) {
            try {
                parsed = ChatTemplate.parse(source);
            } catch (TemplateException e) {
                // Not fatal: text prompts still work.
                problem = "the model's chat template cannot be read: " + e.getMessage();
            }
        }
        addsEndToken = tokenizer.endToken() >= 0 && metadata.boolOr(ADD_END_KEY, tokenizer.addsEndToken());
        template = parsed;
        templateProblem = parsed == null ? problem : null;
    }

    /** Why chat prompts cannot be encoded, or null when they can. */
    @Nullable
    String templateProblem() {
        return templateProblem;
    }

    int[] encode(Prompt prompt) {
        return switch (prompt) {
            case Prompt.Chat chat -> encodeChat(chat);
            case Prompt.Text text -> withBeginToken(tokenizer.encode(text.text()));
            case Prompt.Tokens tokens -> checked(tokens.tokens());
        };
    }

    /** A text that is not continued: with begin and end token where the file asks for them. */
    int[] encodeText(String text) {
        int[] tokens = tokenizer.encode(text);
        if (tokens.length == 0) {
            return tokens;
        }
        int[] begun = withBeginToken(tokens);
        if (!addsEndToken) {
            return begun;
        }
        int[] ended = Arrays.copyOf(begun, begun.length + 1);
        ended[begun.length] = tokenizer.endToken();
        return ended;
    }

    /** The chat template as it stands in the file. */
    Optional<String> templateSource() {
        return Optional.ofNullable(template).map(ChatTemplate::source);
    }

    /** The text a conversation becomes. */
    RenderedText render(Prompt.Chat chat) {
        if (template == null) {
            throw new IllegalStateException(templateProblem + ": use a text prompt, or a model made for chat");
        }
        return template.render(variables(chat));
    }

    private int[] encodeChat(Prompt.Chat chat) {
        List<TextSpan> spans = render(chat).spans().stream()
                .map(span -> new TextSpan(span.text(), !span.fromInput()))
                .toList();
        int[] tokens = tokenizer.encode(spans);
        boolean hasBegin = tokens.length > 0 && tokens[0] == tokenizer.beginToken();
        return hasBegin ? tokens : withBeginToken(tokens);
    }

    private int[] withBeginToken(int[] tokens) {
        if (!tokenizer.addsBeginToken() || tokenizer.beginToken() < 0) {
            return tokens;
        }
        int[] result = new int[tokens.length + 1];
        result[0] = tokenizer.beginToken();
        System.arraycopy(tokens, 0, result, 1, tokens.length);
        return result;
    }

    private int[] checked(List<Integer> tokens) {
        for (int token : tokens) {
            if (token < 0 || token >= tokenizer.vocabularySize()) {
                throw new IllegalArgumentException(
                        "token " + token + " is outside the vocabulary of " + tokenizer.vocabularySize());
            }
        }
        return tokens.stream().mapToInt(Integer::intValue).toArray();
    }

    private Map<String, @Nullable Object> variables(Prompt.Chat chat) {
        Map<String, @Nullable Object> variables = new LinkedHashMap<>(chat.templateVariables());
        variables.put(
                "messages", chat.messages().stream().map(PromptEncoder::message).toList());
        if (!chat.tools().isEmpty()) {
            variables.put(
                    "tools", chat.tools().stream().map(PromptEncoder::tool).toList());
        }
        variables.put("add_generation_prompt", true);
        variables.put("bos_token", specialText(tokenizer.beginToken()));
        variables.put("eos_token", specialText(tokenizer.endToken()));
        return variables;
    }

    private String specialText(int token) {
        return token < 0 ? "" : tokenizer.tokenText(token);
    }

    private static Map<String, @Nullable Object> message(ChatMessage message) {
        Map<String, @Nullable Object> map = new LinkedHashMap<>();
        map.put("role", message.role());
        map.put("content", new InputText(message.content()));
        if (!message.toolCalls().isEmpty()) {
            List<Object> calls = new ArrayList<>();
            for (ChatMessage.ToolCall call : message.toolCalls()) {
                Map<String, @Nullable Object> function = new LinkedHashMap<>();
                function.put("name", new InputText(call.name()));
                function.put("arguments", json(call.arguments(), "arguments of tool call " + call.name()));
                calls.add(Map.of("id", new InputText(call.id()), "type", "function", "function", function));
            }
            map.put("tool_calls", calls);
        }
        if (message.reasoning() != null) {
            map.put("reasoning_content", new InputText(message.reasoning()));
        }
        if (message.toolCallId() != null) {
            map.put("tool_call_id", new InputText(message.toolCallId()));
        }
        if (message.name() != null) {
            map.put("name", new InputText(message.name()));
        }
        return map;
    }

    private static Map<String, Object> tool(ToolDefinition tool) {
        Map<String, @Nullable Object> function = new LinkedHashMap<>();
        function.put("name", new InputText(tool.name()));
        function.put("description", new InputText(tool.description()));
        function.put("parameters", json(tool.parametersSchema(), "parameters schema of tool " + tool.name()));
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("type", "function");
        map.put("function", function);
        return map;
    }

    private static @Nullable Object json(String text, String what) {
        if (text.isBlank()) {
            return Map.of();
        }
        try {
            return asInput(Json.parse(text));
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException("the " + what + " is not JSON: " + e.getMessage(), e);
        }
    }

    private static @Nullable Object asInput(@Nullable Object value) {
        return switch (value) {
            case String s -> new InputText(s);
            case List<?> list -> {
                List<@Nullable Object> copy = new ArrayList<>();
                list.forEach(item -> copy.add(asInput(item)));
                yield copy;
            }
            case Map<?, ?> map -> {
                Map<String, @Nullable Object> copy = new LinkedHashMap<>();
                map.forEach((key, item) -> copy.put((String) key, asInput(item)));
                yield copy;
            }
            case null, default -> value;
        };
    }
}
