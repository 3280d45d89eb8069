package dev.prefetch.api;

import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A model by the name it is published under, for example {@code hf:Qwen/Qwen3-4B-GGUF:Q4_K_M} or
 * {@code ollama:qwen3:4b}. {@link ModelCaches} finds the file where a download tool has put it.
 *
 * <p>Forms:
 *
 * <ul>
 *   <li>{@code hf:OWNER/REPOSITORY}, {@code hf:OWNER/REPOSITORY:QUANTISATION}, {@code hf:OWNER/REPOSITORY/FILE.gguf};
 *       {@code hf.co/}, {@code huggingface.co/} and their {@code https://} addresses may stand for {@code hf:}
 *   <li>{@code ollama:NAME}, {@code ollama:NAME:TAG}, {@code ollama:OWNER/NAME:TAG}
 *   <li>any of them followed by {@code @sha256:} and 64 hexadecimal digits, which the file must have; of a split model those
 *       of all its files in order, with commas between
 * </ul>
 */
public sealed interface ModelReference {

    /** SHA-256 that the model's files must have, one for each in order, in lower-case hexadecimal digits; or none. */
    List<String> sha256();

    /** The command that downloads the model to where {@link ModelCaches} looks. */
    String downloadCommand();

    /**
     * A model of the Hugging Face hub.
     *
     * @param owner user or organisation
     * @param repository name of the repository
     * @param file path of the file in the repository, or null for the one of the quantisation
     * @param quantisation as file names spell it, for example {@code Q4_K_M}, or null for the only or the usual one
     */
    record HuggingFace(
            String owner,
            String repository,
            @Nullable String file,
            @Nullable String quantisation,
            List<String> sha256) implements ModelReference {

        public HuggingFace {
            sha256 = List.copyOf(sha256);
        }

        @Override
        public String downloadCommand() {
            String what = file != null
                    ? " " + file
                    : " --include '*" + (quantisation == null ? ModelCaches.USUAL_QUANTISATION : quantisation)
                            + "*.gguf'";
            return "hf download " + owner + "/" + repository + what;
        }

        @Override
        public String toString() {
            return "hf:" + owner + "/" + repository
                    + (file != null ? "/" + file : quantisation != null ? ":" + quantisation : "");
        }
    }

    /**
     * A model of the Ollama library.
     *
     * @param name name, with its owner in front unless it is Ollama's own, for example {@code qwen3}
     * @param tag which variant, for example {@code 4b}
     */
    record Ollama(String name, String tag, List<String> sha256) implements ModelReference {

        public Ollama {
            sha256 = List.copyOf(sha256);
        }

        @Override
        public String downloadCommand() {
            return "ollama pull " + name + ":" + tag;
        }

        @Override
        public String toString() {
            return "ollama:" + name + ":" + tag;
        }
    }

    /**
     * Reads a reference; empty when the text has none of the forms and so must be a path.
     *
     * @throws IllegalArgumentException when it begins like a reference and is none; the message says what is wrong
     */
    static Optional<ModelReference> parse(String text) {
        return Optional.ofNullable(Parser.parse(text.strip()));
    }

    /** The grammar above. */
    final class Parser {

        private static final Pattern HUGGING_FACE = Pattern.compile(
                "(?:hf:(?://)?|(?:https://)?(?:hf\\.co|huggingface\\.co)/)(.*)", Pattern.CASE_INSENSITIVE);
        private static final Pattern OLLAMA = Pattern.compile("ollama:(?://)?(.*)", Pattern.CASE_INSENSITIVE);
        private static final Pattern CHECKSUM = Pattern.compile("(.*)@sha256:([^@]*)", Pattern.CASE_INSENSITIVE);

        /** No name begins with a dot, so that none leads out of a cache folder. */
        private static final String NAME = "[A-Za-z0-9_][A-Za-z0-9._-]*";

        private static final Pattern REPOSITORY = Pattern.compile("(" + NAME + ")/(" + NAME + ")" + "(?::(" + NAME
                + ")|/(?:(?:blob|resolve)/main/)?((?:" + NAME + "/)*" + NAME + "\\.gguf))?");
        private static final Pattern LIBRARY = Pattern.compile("((?:" + NAME + "/)?" + NAME + ")(?::(" + NAME + "))?");

        private Parser() {}

        private static @Nullable ModelReference parse(String text) {
            Matcher huggingFace = HUGGING_FACE.matcher(text);
            Matcher ollama = OLLAMA.matcher(text);
            if (!huggingFace.matches() && !ollama.matches()) {
                return null;
            }
            String rest = huggingFace.matches() ? huggingFace.group(1) : ollama.group(1);
            List<String> sha256 = List.of();
            Matcher checksum = CHECKSUM.matcher(rest);
            if (checksum.matches()) {
                rest = checksum.group(1);
                sha256 = List.of(checksum.group(2).toLowerCase(Locale.ROOT).split(",", -1));
                if (!sha256.stream().allMatch(digits -> digits.matches("[0-9a-f]{64}"))) {
                    throw new IllegalArgumentException("The model reference '" + text
                            + "' ends in a checksum that does not have 64 hexadecimal digits");
                }
            }
            return huggingFace.matches() ? huggingFace(text, rest, sha256) : ollama(text, rest, sha256);
        }

        private static ModelReference huggingFace(String text, String rest, List<String> sha256) {
            Matcher repository = REPOSITORY.matcher(rest);
            if (!repository.matches()) {
                throw new IllegalArgumentException("The model reference '" + text
                        + "' is not of the form hf:OWNER/REPOSITORY, hf:OWNER/REPOSITORY:QUANTISATION or"
                        + " hf:OWNER/REPOSITORY/FILE.gguf");
            }
            return new HuggingFace(
                    repository.group(1), repository.group(2), repository.group(4), repository.group(3), sha256);
        }

        private static ModelReference ollama(String text, String rest, List<String> sha256) {
            Matcher library = LIBRARY.matcher(rest);
            if (!library.matches()) {
                throw new IllegalArgumentException(
                        "The model reference '" + text + "' is not of the form ollama:NAME or ollama:NAME:TAG");
            }
            return new Ollama(library.group(1), library.group(2) == null ? "latest" : library.group(2), sha256);
        }
    }
}
