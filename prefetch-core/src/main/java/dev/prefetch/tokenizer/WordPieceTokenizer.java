package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.nio.charset.StandardCharsets;
import java.text.Normalizer;

/**
 * WordPiece ({@code tokenizer.ggml.model = bert}), as BERT and most embedding models use it: text is cleaned, put into
 * lower case and without accents where the vocabulary is so, cut into words, and every word is written with the longest
 * tokens there are, from left to right. A word that cannot be written so becomes the unknown token as a whole.
 *
 * <p>GGUF writes a token that begins a word with U+2581 in front, and one that goes on without {@code ##}. Encoding is
 * not reversible: case, accents and white space are lost.
 *
 * @see <a href="https://arxiv.org/abs/1810.04805">Devlin et al., "BERT" (2018)</a>; the cleaning is that of its published
 *     {@code tokenization.py}
 */
final class WordPieceTokenizer extends VocabularyTokenizer {

    private static final char WORD_START = '▁';
    private static final Vocabulary.Defaults DEFAULTS = new Vocabulary.Defaults(101, 102, 100, true);

    /** {@code (bounds of the blocks of Chinese characters, which are words of their own)}; kana and hangul are not. */
    private static final CharacterClass CHINESE = CharacterClass.ranges(
            0x3400, 0x4DBF, 0x4E00, 0x9FFF, 0xF900, 0xFAFF, 0x20000, 0x2A6DF, 0x2A700, 0x2B73F, 0x2B740, 0x2B81F,
            0x2B920, 0x2CEAF, 0x2F800, 0x2FA1F);

    private static final CharacterClass ASCII_SYMBOL = c -> c < 0x80 && "$+<=>^`|~".indexOf(c) >= 0;
    private static final CharacterClass ACCENT = CharacterClass.categories(1 << Character.NON_SPACING_MARK);
    private static final CharacterClass CONTROL = CharacterClass.categories(
            1 << Character.CONTROL | 1 << Character.FORMAT | 1 << Character.PRIVATE_USE | 1 << Character.SURROGATE);
    private static final CharacterClass WORD_BY_ITSELF =
            CharacterClass.PUNCTUATION.or(ASCII_SYMBOL).or(CHINESE);

    private final boolean lowerCase;
    private final boolean stripAccents;
    private final TokenTrie pieces = new TokenTrie();

    /** @throws GgufFormatException when the vocabulary is broken, or has no unknown token */
    WordPieceTokenizer(GgufMetadata metadata) {
        Vocabulary vocabulary = new Vocabulary(metadata, DEFAULTS, "tokenizer.ggml.seperator_token_id");
        super(vocabulary);
        if (vocabulary.unknown() < 0) {
            throw vocabulary.failure(
                    "tokenizer.ggml.unknown_token_id",
                    "is missing, and the vocabulary has no token 100 to stand for it");
        }
        this.lowerCase = metadata.boolOr("tokenizer.ggml.normalizer.lowercase", true);
        this.stripAccents = metadata.boolOr("tokenizer.ggml.normalizer.strip_accents", lowerCase);
        for (int token = 0; token < vocabulary.size(); token++) {
            if (!vocabulary.type(token).isHidden() && !vocabulary.text(token).isEmpty()) {
                pieces.add(vocabulary.text(token), token);
            }
        }
    }

    @Override
    public boolean addsEndToken() {
        return vocabulary().end() >= 0;
    }

    @Override
    boolean addsSpacePrefix() {
        return true;
    }

    @Override
    byte[] bytes(int token) {
        String text = vocabulary().text(token);
        return (vocabulary().type(token).isText() ? text.replace(WORD_START, ' ') : text)
                .getBytes(StandardCharsets.UTF_8);
    }

    @Override
    FragmentEncoder newFragmentEncoder() {
        return new Encoder();
    }

    private final class Encoder implements FragmentEncoder {

        private final StringBuilder word = new StringBuilder();

        @Override
        public void encode(String text, int from, int to, boolean afterSpecial, IntList out) {
            String part = text.substring(from, to);
            if (stripAccents) {
                part = Normalizer.normalize(part, Normalizer.Form.NFD);
            }
            word.setLength(0);
            part.codePoints().forEach(c -> character(c, out));
            endWord(out);
        }

        private void character(int c, IntList out) {
            if (CharacterClass.isWhiteSpace(c)) {
                endWord(out);
            } else if (c == 0 || c == 0xFFFD || CONTROL.contains(c) || stripAccents && ACCENT.contains(c)) {
                // Dropped, and what stands around it is one word.
                return;
            } else if (WORD_BY_ITSELF.contains(c)) {
                endWord(out);
                word.appendCodePoint(c);
                endWord(out);
            } else {
                word.appendCodePoint(lowerCase ? Character.toLowerCase(c) : c);
            }
        }

        /** Appends the tokens of the word, if there is one, and starts the next. */
        private void endWord(IntList out) {
            if (word.isEmpty()) {
                return;
            }
            String text = WORD_START + word.toString();
            word.setLength(0);
            int before = out.size();
            int position = 0;
            while (position < text.length()) {
                int token = pieces.longestMatch(text, position, text.length());
                if (token < 0) {
                    out.truncate(before);
                    out.add(vocabulary().unknown());
                    return;
                }
                out.add(token);
                position += vocabulary().text(token).length();
            }
        }
    }
}
