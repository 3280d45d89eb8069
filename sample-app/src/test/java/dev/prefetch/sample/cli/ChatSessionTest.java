package dev.prefetch.sample.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.prefetch.api.ChatMessage;
import dev.prefetch.api.EngineOptions;
import dev.prefetch.api.FinishReason;
import dev.prefetch.api.GenerationRequest;
import dev.prefetch.api.GenerationResult;
import dev.prefetch.api.PrefetchEngine;
import dev.prefetch.api.Prompt;
import dev.prefetch.inference.SamplingOptions;
import dev.prefetch.sample.DemoModel;
import dev.prefetch.sample.GoldenCases;
import dev.prefetch.sample.GoldenCases.GoldenCase;
import dev.prefetch.sample.ObservedEngine;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class ChatSessionTest {

    private static final String QUESTION = "What is GGUF?";

    @SuppressWarnings("NullAway.Init")
    private ObservedEngine engine;

    @BeforeEach
    void openEngine() {
        engine = new ObservedEngine(PrefetchEngine.open(EngineOptions.of(DemoModel.asFile())));
    }

    @AfterEach
    void closeEngine() {
        engine.close();
    }

    @Test
    void streamsTheRecordedAnswerAndItsTimings() throws InterruptedException {
        GoldenCase golden = GoldenCases.surestQuestion();
        ScriptedConsole console = new ScriptedConsole(golden.question());

        assertThat(session(console, null).run()).isZero();

        assertThat(console.text()).isEqualTo(golden.answer() + System.lineSeparator());
        assertThat(console.printed).hasSizeGreaterThan(3);
        assertThat(console.statuses)
                .singleElement()
                .asString()
                .matches(
                        "\\[prompt %d tokens, [0-9.]+ t/s \\| answer %d tokens, [0-9.]+ t/s \\| first token \\d+ ms \\| context %d/%d\\]"
                                .formatted(
                                        golden.promptIds().size(),
                                        golden.answerIds().size(),
                                        golden.promptIds().size()
                                                + golden.answerIds().size(),
                                        engine.info().contextLength()));
    }

    @Test
    void keepsTheConversationUntilANewOne() throws InterruptedException {
        ScriptedConsole console = new ScriptedConsole("Hello!", QUESTION, "/new", QUESTION, "/exit", "unread");

        assertThat(session(console, "You are kind.").run()).isZero();

        assertThat(roles(engine.nextRequest())).containsExactly("system", "user");
        String firstAnswer = engine.nextResult().text();
        List<ChatMessage> second = messages(engine.nextRequest());
        assertThat(second)
                .containsExactly(
                        ChatMessage.system("You are kind."),
                        ChatMessage.user("Hello!"),
                        ChatMessage.assistant(firstAnswer),
                        ChatMessage.user(QUESTION));
        assertThat(messages(engine.nextRequest()))
                .containsExactly(ChatMessage.system("You are kind."), ChatMessage.user(QUESTION));
        assertThat(console.remaining()).containsExactly("unread");
    }

    @Test
    void stopsTheAnswerOnInterrupt() throws InterruptedException {
        ScriptedConsole console = new ScriptedConsole("Could you write me a story about a parrot called Lucia.");
        console.interruptAtPiece = 3;
        engine.holdNextAfter(4);

        assertThat(session(console, null).run()).isZero();

        GenerationResult result = engine.nextResult();
        assertThat(result.finishReason()).isEqualTo(FinishReason.CANCELLED);
        assertThat(console.text()).startsWith(result.text());
        assertThat(console.statuses).singleElement().asString().endsWith("| stopped]");
    }

    @Test
    void goesOnAfterAMessageThatDoesNotFit() throws InterruptedException {
        ScriptedConsole console = new ScriptedConsole("word ".repeat(5000), QUESTION);

        assertThat(session(console, null).run()).isEqualTo(1);

        assertThat(console.statuses.getFirst())
                .startsWith("prefetch: ")
                .contains(" " + engine.info().contextLength());
        assertThat(console.text()).isNotBlank();
        assertThat(console.statuses).hasSize(2);
    }

    @Test
    void namesUnknownCommands() throws InterruptedException {
        ScriptedConsole console = new ScriptedConsole("/quit", "   ");

        assertThat(session(console, null).run()).isZero();

        assertThat(console.statuses).containsExactly("There is no command /quit; there are /new and /exit.");
        assertThat(console.printed).isEmpty();
    }

    @Test
    void answersThePipeOfTheCommand() {
        GoldenCase golden = GoldenCases.surestQuestion();

        CliRun run = CliRun.withInput(golden.question() + "\n", "chat");

        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).isEqualTo(golden.answer() + System.lineSeparator());
        assertThat(run.err()).contains("answer " + golden.answerIds().size() + " tokens");
    }

    @Test
    void limitsTheAnswer() {
        CliRun run = CliRun.withInput(QUESTION + "\n", "chat", "--max-tokens", "3");

        assertThat(run.err()).contains("answer 3 tokens").contains("cut off");
    }

    @Test
    void refusesImpossibleSampling() {
        CliRun run = CliRun.withInput("", "chat", "--temperature", "-1");

        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("temperature must be at least 0");
    }

    private ChatSession session(ChatConsole console, @Nullable String system) {
        return new ChatSession(engine, console, system, SamplingOptions.GREEDY, 0);
    }

    private static List<ChatMessage> messages(GenerationRequest request) {
        return ((Prompt.Chat) request.prompt()).messages();
    }

    private static List<String> roles(GenerationRequest request) {
        return messages(request).stream().map(ChatMessage::role).toList();
    }

    /** Types the given lines, and presses Ctrl-C at a given moment. */
    private static final class ScriptedConsole implements ChatConsole {

        private final Deque<String> lines;
        private final List<String> printed = new ArrayList<>();
        private final List<String> statuses = new ArrayList<>();
        private int interruptAtPiece = -1;
        private Runnable interrupt = () -> {};

        ScriptedConsole(String... lines) {
            this.lines = new ArrayDeque<>(List.of(lines));
        }

        @Override
        public @Nullable String readLine() {
            return lines.poll();
        }

        @Override
        public void print(String text) {
            printed.add(text);
            if (printed.size() == interruptAtPiece) {
                interrupt.run();
            }
        }

        @Override
        public void status(String line) {
            statuses.add(line);
        }

        @Override
        public void onInterrupt(Runnable action) {
            interrupt = action;
        }

        @Override
        public void close() {}

        String text() {
            return String.join("", printed);
        }

        List<String> remaining() {
            return List.copyOf(lines);
        }
    }
}
