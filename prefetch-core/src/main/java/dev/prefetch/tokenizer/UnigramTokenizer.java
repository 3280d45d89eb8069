package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * SentencePiece's unigram language model ({@code tokenizer.ggml.model = t5}), as T5 and XLM-RoBERTa use it: of all ways to
 * write the normalised text with tokens, the one with the highest sum of scores (log probabilities), found by Viterbi's
 * algorithm. A character that no token writes costs more than any token, and neighbouring ones become one unknown token.
 *
 * @see <a href="https://arxiv.org/abs/1804.10959">Kudo, "Subword Regularization" (2018)</a>
 */
final class UnigramTokenizer extends VocabularyTokenizer {

    private static final char SPACE = '▁';
    private static final Vocabulary.Defaults DEFAULTS = new Vocabulary.Defaults(-1, 1, 2, false);

    /** How much worse than the worst token an unknown character is; SentencePiece's constant. */
    private static final double UNKNOWN_PENALTY = 10;

    private final boolean addsSpacePrefix;
    private final boolean removesExtraSpaces;
    private final boolean addsEndToken;
    private final CharacterMap characterMap;
    private final TokenTrie pieces = new TokenTrie();

    /** By token: its score; user-defined ones 0, which is better than any probability. */
    private final double[] scores;

    private final double unknownScore;

    /** @throws GgufFormatException when the vocabulary is broken, or has no unknown token */
    UnigramTokenizer(GgufMetadata metadata) {
        Vocabulary vocabulary = new Vocabulary(metadata, DEFAULTS);
        super(vocabulary);
        if (vocabulary.unknown() < 0) {
            throw vocabulary.failure(
                    "tokenizer.ggml.unknown_token_id", "is missing, and the vocabulary has no token 2 to stand for it");
        }
        this.addsSpacePrefix = metadata.boolOr("tokenizer.ggml.add_space_prefix", false);
        this.removesExtraSpaces = metadata.boolOr("tokenizer.ggml.remove_extra_whitespaces", false);
        this.addsEndToken = metadata.boolOr("tokenizer.ggml.add_eos_token", true) && vocabulary.end() >= 0;
        this.characterMap = CharacterMap.of(metadata);
        float[] given = vocabulary.scores();
        this.scores = new double[given.length];
        double worst = Double.POSITIVE_INFINITY;
        for (int token = 0; token < scores.length; token++) {
            TokenType type = vocabulary.type(token);
            if (Float.isInfinite(given[token])) {
                throw vocabulary.failure("tokenizer.ggml.scores", "is infinite at index " + token);
            }
            if (type == TokenType.NORMAL || type == TokenType.UNDEFINED) {
                worst = Math.min(worst, given[token]);
            }
            scores[token] = type == TokenType.USER_DEFINED ? 0 : given[token];
            if ((type.isText() || type == TokenType.USER_DEFINED)
                    && !vocabulary.text(token).isEmpty()) {
                pieces.add(vocabulary.text(token), token);
            }
        }
        this.unknownScore = (Double.isInfinite(worst) ? 0 : worst) - UNKNOWN_PENALTY;
    }

    @Override
    public boolean addsEndToken() {
        return addsEndToken;
    }

    @Override
    boolean addsSpacePrefix() {
        return addsSpacePrefix || removesExtraSpaces;
    }

    @Override
    byte[] bytes(int token) {
        String text = vocabulary().text(token);
        return (vocabulary().type(token).isText() ? text.replace(SPACE, ' ') : text).getBytes(StandardCharsets.UTF_8);
    }

    @Override
    FragmentEncoder newFragmentEncoder() {
        return (text, from, to, _, out) -> encode(normalise(text, from, to), out);
    }

    /** The text as the model saw it in training: characters replaced, spaces written U+2581 and, if asked, merged. */
    private String normalise(String text, int from, int to) {
        StringBuilder result = new StringBuilder(to - from + 1);
        boolean prefixed = false;
        boolean inWord = false;
        String mapped = characterMap.apply(text, from, to);
        for (int i = 0; i < mapped.length(); i++) {
            char c = mapped.charAt(i);
            if (c == ' ') {
                inWord = false;
                if (!removesExtraSpaces) {
                    result.append(SPACE);
                }
                continue;
            }
            if (!inWord) {
                inWord = true;
                if (addsSpacePrefix && !prefixed || removesExtraSpaces) {
                    result.append(SPACE);
                    prefixed = true;
                }
            }
            result.append(c);
        }
        return result.toString();
    }

    private void encode(String text, IntList out) {
        int length = text.length();
        // By position: the best score of the text before it, and the token and start of the last step there.
        double[] best = new double[length + 1];
        int[] tokens = new int[length + 1];
        int[] starts = new int[length + 1];
        Arrays.fill(best, 1, length + 1, Double.NEGATIVE_INFINITY);
        int unknown = vocabulary().unknown();
        int next;
        for (int position = 0; position < length; position = next) {
            next = position + Character.charCount(text.codePointAt(position));
            boolean characterFound = false;
            int node = TokenTrie.ROOT;
            for (int end = position + 1; end <= length; end++) {
                node = pieces.child(node, text.charAt(end - 1));
                if (node < 0) {
                    break;
                }
                int token = pieces.token(node);
                if (token >= 0) {
                    characterFound |= end == next;
                    improve(best, tokens, starts, position, end, token, scores[token]);
                }
            }
            if (!characterFound) {
                improve(best, tokens, starts, position, next, unknown, unknownScore);
            }
        }
        int before = out.size();
        boolean unknownBehind = false;
        for (int end = length; end > 0; end = starts[end]) {
            if (!(unknownBehind && tokens[end] == unknown)) {
                out.add(tokens[end]);
            }
            unknownBehind = tokens[end] == unknown;
        }
        out.reverse(before);
    }

    private static void improve(
            double[] best, int[] tokens, int[] starts, int start, int end, int token, double score) {
        double challenger = best[start] + score;
        if (challenger > best[end]) {
            best[end] = challenger;
            tokens[end] = token;
            starts[end] = start;
        }
    }
}
