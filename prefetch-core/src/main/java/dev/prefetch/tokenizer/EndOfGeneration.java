package dev.prefetch.tokenizer;

import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/**
 * Which tokens end a turn. Files name at most a few of them, so that the well-known texts count too; the set is the one
 * llama.cpp collects, so that both stop at the same token.
 */
final class EndOfGeneration {

    private static final List<String> KEYS = List.of(
            "tokenizer.ggml.eos_token_id",
            "tokenizer.ggml.eot_token_id",
            "tokenizer.ggml.eom_token_id",
            "tokenizer.ggml.fim_pad_token_id",
            "tokenizer.ggml.fim_rep_token_id",
            "tokenizer.ggml.fim_sep_token_id");

    /** End of text, turn, message or call, in the vocabularies of the known model families. */
    private static final List<String> TEXTS = List.of(
            "<|eot_id|>",
            "<|im_end|>",
            "<|end|>",
            "<|return|>",
            "<|call|>",
            "<|flush|>",
            "<|calls|>",
            "<end_of_turn>",
            "<|endoftext|>",
            "</s>",
            "<|eom_id|>",
            "<EOT>",
            "_<EOT>",
            "[EOT]",
            "[EOS]",
            "<|end_of_text|>",
            "<end_of_utterance>",
            "<eos>",
            "<turn|>",
            "<|tool_response>",
            "<｜end▁of▁sentence｜>",
            "[e~[");

    /** What code models emit when they go on to the next file: first one found of each row. */
    private static final List<List<String>> INFILL_TEXTS = List.of(
            List.of("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
            List.of("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
            List.of("<|file_sep|>"));

    private EndOfGeneration() {}

    /**
     * Collects the ids. A token found by its text becomes a control token whatever the file says: a file that gives it
     * another type is mistaken, and taken at its word a user could end the turn by writing it.
     */
    static Set<Integer> collect(Vocabulary vocabulary) {
        Set<Integer> ids = new TreeSet<>();
        for (String text : TEXTS) {
            addByText(vocabulary, text, ids);
        }
        for (List<String> row : INFILL_TEXTS) {
            for (String text : row) {
                if (addByText(vocabulary, text, ids)) {
                    break;
                }
            }
        }
        for (String key : KEYS) {
            int id = vocabulary.id(key, -1);
            if (id >= 0) {
                ids.add(id);
            }
        }
        if (vocabulary.end() >= 0) {
            ids.add(vocabulary.end());
        }
        removeTurnParts(vocabulary, ids);
        return Collections.unmodifiableSet(ids);
    }

    private static boolean addByText(Vocabulary vocabulary, String text, Set<Integer> ids) {
        int id = vocabulary.find(text);
        if (id < 0) {
            return false;
        }
        vocabulary.setType(id, TokenType.CONTROL);
        return ids.add(id);
    }

    /** Takes out texts that end a turn in most vocabularies, but only a part of it in some. */
    private static void removeTurnParts(Vocabulary vocabulary, Set<Integer> ids) {
        boolean harmony = has(vocabulary, "<|return|>") && has(vocabulary, "<|call|>");
        boolean solar = has(vocabulary, "<|flush|>") && (has(vocabulary, "<|calls|>") || has(vocabulary, "<|call|>"));
        if (harmony || solar) {
            ids.remove(vocabulary.find("<|end|>"));
        }
        if (has(vocabulary, "<|tool_response>")) {
            ids.remove(vocabulary.find("</s>"));
        }
    }

    private static boolean has(Vocabulary vocabulary, String text) {
        return vocabulary.find(text) >= 0;
    }
}
