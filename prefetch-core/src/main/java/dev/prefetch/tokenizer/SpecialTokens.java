package dev.prefetch.tokenizer;

import dev.prefetch.tokenizer.Tokenizer.TextSpan;
import java.util.List;

/**
 * Takes the special tokens out of a text before it is split and merged.
 *
 * <p>Control and unknown tokens are matched first, and only where they lie wholly inside text that allows them;
 * user-defined tokens are text and are matched in everything that is left. So a user-defined token can never eat a part
 * of a control token, whatever text stands next to it. In both passes the leftmost match wins, and the longest of those.
 */
final class SpecialTokens {

    /** Receives the parts of a text in order. */
    interface Sink {

        /** Ordinary text: {@code text[from, to)}, never empty. */
        void text(String text, int from, int to);

        /** A special token. */
        void special(int token);
    }

    private static final List<String> KEEPS_SPACE = List.of("<unk>", "<s>", "<|endoftext|>");

    private final Vocabulary vocabulary;
    private final TokenTrie hidden = new TokenTrie();
    private final TokenTrie userDefined = new TokenTrie();

    SpecialTokens(Vocabulary vocabulary) {
        this.vocabulary = vocabulary;
        for (int token = 0; token < vocabulary.size(); token++) {
            TokenType type = vocabulary.type(token);
            String text = vocabulary.text(token);
            if (text.isEmpty()) {
                continue;
            }
            if (type.isHidden()) {
                hidden.add(text, token);
            } else if (type == TokenType.USER_DEFINED) {
                userDefined.add(text, token);
            }
        }
    }

    /** Cuts the joined text of the spans into ordinary text and special tokens. */
    void partition(List<TextSpan> spans, Sink sink) {
        StringBuilder joined = new StringBuilder();
        IntList allowed = allowedRanges(spans, joined);
        String text = joined.toString();
        int done = 0;
        for (int i = 0; i < allowed.size() && !hidden.isEmpty(); i += 2) {
            int to = allowed.get(i + 1);
            int position = Math.max(done, allowed.get(i));
            while (position < to) {
                int token = hidden.longestMatch(text, position, to);
                if (token < 0) {
                    position++;
                    continue;
                }
                plain(text, done, position, sink);
                sink.special(token);
                done = position = end(token, text, position, text.length());
            }
        }
        plain(text, done, text.length(), sink);
    }

    /** Joins the texts; returns begin and end of each maximal range in which special tokens are allowed. */
    private static IntList allowedRanges(List<TextSpan> spans, StringBuilder joined) {
        IntList ranges = new IntList(2 * spans.size());
        boolean open = false;
        for (TextSpan span : spans) {
            // Neighbouring ranges are one: the template may have written a token in two pieces.
            if (!span.text().isEmpty() && span.specialTokensAllowed() != open) {
                ranges.add(joined.length());
                open = !open;
            }
            joined.append(span.text());
        }
        if (open) {
            ranges.add(joined.length());
        }
        return ranges;
    }

    private void plain(String text, int from, int to, Sink sink) {
        int done = from;
        int position = from;
        while (position < to && !userDefined.isEmpty()) {
            int token = userDefined.longestMatch(text, position, to);
            if (token < 0) {
                position++;
                continue;
            }
            if (done < position) {
                sink.text(text, done, position);
            }
            sink.special(token);
            done = position = end(token, text, position, to);
        }
        if (done < to) {
            sink.text(text, done, to);
        }
    }

    /** Where the text goes on behind a token that starts at {@code position}. */
    private int end(int token, String text, int position, int limit) {
        String tokenText = vocabulary.text(token);
        int end = position + tokenText.length();
        if (vocabulary.specialTokensStripRight() && !KEEPS_SPACE.contains(tokenText)) {
            while (end < limit && (text.charAt(end) == ' ' || text.charAt(end) >= '\t' && text.charAt(end) <= '\r')) {
                end++;
            }
        }
        return end;
    }
}
