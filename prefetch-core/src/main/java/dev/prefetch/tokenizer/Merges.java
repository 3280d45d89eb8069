package dev.prefetch.tokenizer;

import dev.prefetch.gguf.GgufFormatException;
import dev.prefetch.gguf.GgufMetadata;
import java.util.List;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Reads the list of merges of a byte-pair vocabulary. */
final class Merges {

    private static final Logger LOG = LoggerFactory.getLogger(Merges.class);
    private static final String MERGES_KEY = "tokenizer.ggml.merges";

    private Merges() {}

    /**
     * By pair of tokens: {@code rank << 32 | merged token}.
     *
     * @throws GgufFormatException when the list is missing or malformed
     */
    static PairMap read(GgufMetadata metadata, Vocabulary vocabulary) {
        List<String> lines = metadata.requireStrings(MERGES_KEY);
        PairMap result = new PairMap(lines.size());
        int ignored = 0;
        for (int rank = 0; rank < lines.size(); rank++) {
            String line = lines.get(rank);
            int space = line.indexOf(' ', 1);
            if (space < 0 || space == line.length() - 1) {
                throw vocabulary.failure(
                        MERGES_KEY, "has '" + line + "' at index " + rank + ", expected two texts and a space");
            }
            String left = line.substring(0, space);
            String right = line.substring(space + 1);
            int leftToken = vocabulary.find(left);
            int rightToken = vocabulary.find(right);
            int merged = vocabulary.find(left + right);
            if (leftToken < 0
                    || rightToken < 0
                    || merged < 0
                    || vocabulary.type(merged).isHidden()) {
                // Nothing the model knows could come of it. A control token is never made out of text.
                ignored++;
            } else {
                result.putIfAbsent(leftToken, rightToken, (long) rank << 32 | merged);
            }
        }
        if (ignored > 0) {
            LOG.warn(
                    "{}: {} of {} merges name tokens the vocabulary has not, and are ignored",
                    metadata.source(),
                    ignored,
                    lines.size());
        }
        return result;
    }
}
