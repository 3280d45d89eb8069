package dev.prefetch.sample.cli;

import dev.prefetch.gguf.GgufFile;
import dev.prefetch.tokenizer.Tokenizer;
import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import dev.prefetch.tokenizer.Tokenizers;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.Option;

/** {@code tokenize}: text to token ids. Needs only the vocabulary of the file, so files without weights do. */
@Command(
        name = "tokenize",
        description = "Reads text from standard input and writes its token ids, separated by blanks: one line for each"
                + " line of input, whose line break is no part of it. No begin or end token is added.")
final class TokenizeCommand implements Callable<Integer> {

    private final CliContext context;

    @Option(names = "--model", paramLabel = "MODEL", required = true, description = ModelLocation.DESCRIPTION + ".")
    private ModelLocation model = new ModelLocation("");

    @Option(names = "--special", description = "Recognise special tokens, such as <|im_end|>, in the text.")
    private boolean special;

    @Option(names = "--whole", description = "Take the whole input, line breaks included, as one text.")
    private boolean whole;

    TokenizeCommand(CliContext context) {
        this.context = context;
    }

    @Override
    public Integer call() throws IOException {
        try (GgufFile file = GgufFile.open(context.modelFile(model))) {
            Tokenizer tokenizer = Tokenizers.from(file.metadata());
            String input = context.readInput();
            for (String text : whole ? List.of(input) : lines(input)) {
                int[] tokens = tokenizer.encode(List.of(new TextSpan(text, special)));
                context.out()
                        .println(Arrays.stream(tokens)
                                .mapToObj(Integer::toString)
                                .collect(Collectors.joining(" ")));
            }
        }
        return ExitCode.OK;
    }

    /** Splits at line feeds only: a carriage return is text that the tokenizer has to encode. */
    private static List<String> lines(String input) {
        if (input.isEmpty()) {
            return List.of();
        }
        String withoutLastBreak = input.endsWith("\n") ? input.substring(0, input.length() - 1) : input;
        return List.of(withoutLastBreak.split("\n", -1));
    }
}
