package dev.prefetch.sample.cli;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.Generation;
import dev.prefetch.api.GenerationListener;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.inference.SamplingOptions;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ExitCode;

/** A conversation with a model on a console, turn by turn. */
final class ChatSession {

    private static final int EXIT_CODE_INTERRUPTED = 130;

    private final PrefetchEngine engine;
    private final ChatConsole console;
    private final @Nullable String system;
    private final SamplingOptions sampling;
    private final int maxTokens;
    private final List<ChatMessage> conversation = new ArrayList<>();
    private final Interruption interruption = new Interruption();

    ChatSession(
            PrefetchEngine engine,
            ChatConsole console,
            @Nullable String system,
            SamplingOptions sampling,
            int maxTokens) {
        this.engine = engine;
        this.console = console;
        this.system = system;
        this.sampling = sampling;
        this.maxTokens = maxTokens;
    }

    /**
     * Answers until the input ends.
     *
     * @return exit status: 1 when an answer failed
     */
    int run() throws InterruptedException {
        console.onInterrupt(interruption::request);
        startConversation();
        int exitCode = ExitCode.OK;
        for (String line = console.readLine(); line != null; line = console.readLine()) {
            String text = line.strip();
            if (text.equals("/exit")) {
                break;
            } else if (text.equals("/new")) {
                startConversation();
                console.status("New conversation.");
            } else if (text.matches("/\\w+")) {
                console.status("There is no command " + text + "; there are /new and /exit.");
            } else if (!text.isEmpty() && !answer(text)) {
                exitCode = ExitCode.SOFTWARE;
            }
        }
        return exitCode;
    }

    private void startConversation() {
        conversation.clear();
        if (system != null) {
            conversation.add(ChatMessage.system(system));
        }
    }

    private boolean answer(String text) throws InterruptedException {
        conversation.add(ChatMessage.user(text));
        interruption.answerStarts();
        try {
            Generation generation = engine.generate(
                    new GenerationRequest(new Prompt.Chat(conversation), sampling, maxTokens, List.of()),
                    new GenerationListener() {
                        @Override
                        public void onText(String piece) {
                            console.print(piece);
                        }
                    });
            interruption.cancels(generation);
            GenerationResult result = generation.await();
            console.print(System.lineSeparator());
            console.status(timings(result));
            // What was shown is part of the conversation, also when the answer was stopped half-way.
            conversation.add(ChatMessage.assistant(result.text()));
            return true;
        } catch (RuntimeException e) {
            // Without the message, so that one that is too long does not make every later turn fail too.
            conversation.removeLast();
            console.status("prefetch: " + Errors.describe(e));
            return false;
        } finally {
            interruption.answerEnded();
        }
    }

    private String timings(GenerationResult result) {
        String ending = switch (result.finishReason()) {
            case STOP -> "";
            case LENGTH -> " | cut off: no more tokens allowed or no room in the context";
            case CANCELLED -> " | stopped";
        };
        return String.format(
                Locale.ROOT,
                "[prompt %d tokens, %.1f t/s | answer %d tokens, %.1f t/s | first token %.0f ms | context %d/%d%s]",
                result.promptTokens(),
                result.promptTokensPerSecond(),
                result.completionTokens(),
                result.decodeTokensPerSecond(),
                result.timings().firstTokenNanos() / 1e6,
                result.promptTokens() + result.completionTokens(),
                engine.info().contextLength(),
                ending);
    }

    /** What Ctrl-C does. It may come at any moment, also between asking the engine and getting the generation. */
    private static final class Interruption {

        private boolean answering;
        private boolean requested;
        private @Nullable Generation generation;

        synchronized void answerStarts() {
            answering = true;
            requested = false;
        }

        synchronized void cancels(Generation started) {
            generation = started;
            if (requested) {
                started.cancel();
            }
        }

        synchronized void answerEnded() {
            answering = false;
            generation = null;
        }

        /** The first one stops the answer. Another one before it has ended, or without an answer, ends the process. */
        synchronized void request() {
            if (!answering || requested) {
                Runtime.getRuntime().exit(EXIT_CODE_INTERRUPTED);
            }
            requested = true;
            if (generation != null) {
                generation.cancel();
            }
        }
    }
}
