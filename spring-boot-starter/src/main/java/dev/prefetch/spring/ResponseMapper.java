package dev.prefetch.spring;

import dev.prefetch.api.FinishReason;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.prefetch.PrefetchStatistics;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.UUID;
import org.springframework.ai.chat.messages.AssistantMessage;
import org.springframework.ai.chat.metadata.ChatGenerationMetadata;
import org.springframework.ai.chat.metadata.ChatResponseMetadata;
import org.springframework.ai.chat.metadata.DefaultUsage;
import org.springframework.ai.chat.model.ChatResponse;
import org.springframework.ai.chat.model.Generation;

/**
 * Makes the responses of one request: they share an identifier. The metadata keys are those of Spring AI's Ollama
 * model where it has one for the same thing, so that what reads them works with both.
 */
final class ResponseMapper {

    /** Key of the metadata that holds the time from the request to the first token, a {@link Duration}. */
    static final String TIME_TO_FIRST_TOKEN = "time-to-first-token";

    private final String id = UUID.randomUUID().toString();
    private final Instant createdAt = Instant.now();
    private final String model;
    private final long seed;
    private final ToolCallIds callIds;

    ResponseMapper(String model, long seed, ToolCallIds callIds) {
        this.model = model;
        this.seed = seed;
        this.callIds = callIds;
    }

    /** A part of a streamed answer. */
    ChatResponse chunk(OutputParser.Part part) {
        AssistantMessage message = AssistantMessage.builder()
                .content(part.content())
                .properties(properties(part.thinking()))
                .build();
        return new ChatResponse(
                List.of(new Generation(message)),
                ChatResponseMetadata.builder().id(id).model(model).build());
    }

    /** The end of a streamed answer: no text, and everything that is known only at the end. */
    ChatResponse last(GenerationResult result, OutputParser output) {
        return complete("", result, output);
    }

    /** A whole answer. */
    ChatResponse whole(GenerationResult result, OutputParser output) {
        return complete(output.content(), result, output);
    }

    private ChatResponse complete(String text, GenerationResult result, OutputParser output) {
        List<AssistantMessage.ToolCall> calls = callIds.complete(output.calls());
        String finishReason = finishReason(result.finishReason(), calls);
        AssistantMessage message = AssistantMessage.builder()
                .content(text)
                .properties(properties(output.thinking()))
                .toolCalls(calls)
                .build();
        ChatGenerationMetadata.Builder ended = ChatGenerationMetadata.builder().finishReason(finishReason);
        if (!output.thinking().isEmpty()) {
            ended.metadata(PrefetchChatModel.THINKING, output.thinking());
        }
        Generation generation = new Generation(message, ended.build());
        GenerationResult.Timings timings = result.timings();
        // A generation that was cancelled early has no first token: its time is what was waited and computed.
        long totalNanos = timings.firstTokenNanos() > 0
                ? timings.firstTokenNanos() + timings.decodeNanos()
                : timings.queueNanos() + timings.prefillNanos();
        ChatResponseMetadata.Builder metadata = ChatResponseMetadata.builder()
                .id(id)
                .model(model)
                .usage(usage(result))
                .keyValue("created-at", createdAt)
                .keyValue("queue-duration", Duration.ofNanos(timings.queueNanos()))
                .keyValue("prompt-eval-duration", Duration.ofNanos(timings.prefillNanos()))
                .keyValue("prompt-eval-count", result.promptTokens())
                .keyValue("prompt-tokens-per-second", result.promptTokensPerSecond())
                .keyValue("eval-duration", Duration.ofNanos(timings.decodeNanos()))
                .keyValue("eval-count", result.completionTokens())
                .keyValue("tokens-per-second", result.decodeTokensPerSecond())
                .keyValue("total-duration", Duration.ofNanos(totalNanos))
                .keyValue("seed", seed)
                .keyValue("done", true);
        addTransfers(metadata, result.transfers());
        if (timings.firstTokenNanos() > 0) {
            metadata.keyValue(TIME_TO_FIRST_TOKEN, Duration.ofNanos(timings.firstTokenNanos()));
        }
        return new ChatResponse(List.of(generation), metadata.build());
    }

    private static Map<String, Object> properties(String thinking) {
        return thinking.isEmpty() ? Map.of() : Map.of(PrefetchChatModel.THINKING, thinking);
    }

    private static String finishReason(FinishReason reason, List<AssistantMessage.ToolCall> calls) {
        return reason == FinishReason.STOP && !calls.isEmpty()
                ? "tool_calls"
                : reason.name().toLowerCase(Locale.ROOT);
    }

    /** What moved for this request and the others of its sweeps; nothing when all weights were resident. */
    private static DefaultUsage usage(GenerationResult result) {
        return new DefaultUsage(
                result.promptTokens(),
                result.completionTokens(),
                result.promptTokens() + result.completionTokens(),
                null,
                (long) result.cachedPromptTokens(),
                null);
    }

    private static void addTransfers(ChatResponseMetadata.Builder metadata, PrefetchStatistics transfers) {
        if (transfers.diskBytes() == 0 && transfers.linkBytes() == 0) {
            return;
        }
        metadata.keyValue("bytes-by-tier", transfers.bytesByTier())
                .keyValue("stall-duration", Duration.ofNanos(transfers.stallNanos()))
                .keyValue("overlap-efficiency", transfers.overlapEfficiency())
                .keyValue("roofline-fraction", transfers.rooflineFraction())
                .keyValue("expert-hit-rate", transfers.expertHitRate());
    }
}
